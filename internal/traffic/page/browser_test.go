package page

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"squall/internal/browsertest"
)

// watch collects all that a page must not do: errors, console output, dialogs, and requests to elsewhere.
type watch struct {
	mu   sync.Mutex
	home string
	bad  []string
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
	case *cdpage.EventJavascriptDialogOpening:
		w.bad = append(w.bad, "dialog: "+e.Message)
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, w.home) && !strings.HasPrefix(u, "data:") {
			w.bad = append(w.bad, "request: "+u)
		}
	}
}

// tab is a browser that looks at a page.
type tab struct {
	t    *testing.T
	ctx  context.Context
	home string
}

func browse(t *testing.T, home string) *tab {
	t.Helper()
	b := &tab{t, browsertest.Open(t), home}
	w := &watch{home: home}
	must(t, chromedp.Listen(b.ctx, w.event))
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.bad) > 0 {
			t.Errorf("the page did what a page must not do:\n%s", strings.Join(w.bad, "\n"))
		}
	})
	b.size(1200)
	return b
}

func (b *tab) size(width int64) {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx, chromedp.EmulateViewport(width, 800)))
}

func (b *tab) open(path string) {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx, chromedp.Navigate(b.home+path)))
}

func (b *tab) key(keys string) {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx, chromedp.KeyEvent(keys)))
}

// is evaluates an expression.
func is[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression holds.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("never: %s (%v)", expression, err)
		case <-tick.C:
		}
	}
}

func (b *tab) scheme(name string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	must(b.t, err)
}

func (b *tab) shot(file string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	must(b.t, err)
	must(b.t, os.WriteFile(file, picture, 0o644))
}

const aService, anInterface = "/service?namespace=bookinfo&service=reviews", "/requests?namespace=bookinfo&service=reviews&method=GET&interface=%2Freviews%2F%7Bid%7D&limit=12"

// TestLooks opens all views, light and dark, broad and narrow.
func TestLooks(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Name: "run demo", Loopback: true})
	b := browse(t, s.URL)
	for name, path := range map[string]string{"services": "/", "service": aService, "interface": anInterface, "graph": "/graph"} {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1200, 390} {
				b.scheme(scheme)
				b.size(width)
				b.open(path)
				at := fmt.Sprintf("%s, %s, %d", name, scheme, width)
				if got, want := is[string](b, `getComputedStyle(document.body).backgroundColor`), map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]; got != want {
					t.Errorf("%s: the background is %s, want %s", at, got, want)
				}
				if over := is[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
					t.Errorf("%s: %d pixels wider than the screen", at, over)
				}
				if *shots != "" {
					b.shot(filepath.Join(*shots, strings.NewReplacer(", ", "-").Replace(at)+".png"))
				}
			}
		}
	}
	if !*update {
		return
	}
	b.scheme("light")
	b.size(1200)
	for name, path := range map[string]string{"services": "/", "interface": anInterface} {
		b.open(path)
		b.shot(filepath.Join("..", "..", "..", "docs", "images", "traffic-"+name+".png"))
	}
}
