package browsertest

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// watch collects all that a page must not do.
type watch struct {
	home func(url string) bool

	mu  sync.Mutex
	bad []string
}

// Behaves fails the test at its end when a page did what it must not do: errors, console output, dialogs, and requests for what is neither
// its home's nor in itself.
func Behaves(ctx context.Context, t testing.TB, home func(url string) bool) {
	t.Helper()
	w := &watch{home: home}
	if err := chromedp.Listen(ctx, w.event); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.bad) > 0 {
			t.Errorf("the page did what a page must not do:\n%s", strings.Join(w.bad, "\n"))
		}
	})
}

func (w *watch) event(ev any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		w.bad = append(w.bad, "exception: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		w.bad = append(w.bad, "console: "+string(e.Type))
	case *log.EventEntryAdded:
		w.bad = append(w.bad, "log: "+e.Entry.Text)
	case *page.EventJavascriptDialogOpening:
		w.bad = append(w.bad, "dialog: "+e.Message)
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, "data:") && !w.home(u) {
			w.bad = append(w.bad, "request: "+u)
		}
	}
}
