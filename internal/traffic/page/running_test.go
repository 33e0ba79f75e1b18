package page

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"squall/internal/browsertest"
	"squall/internal/traffic/store"
)

const afterwards = "The run has ended. Its traffic is in reports/r1/traffic.html.\nBye <b>."

// begun is the page of a run that has no store yet.
func begun(t *testing.T, opts Options) (*Running, *httptest.Server) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	opts.Name, opts.Every, opts.Ended = "run demo", 20*time.Millisecond, afterwards
	r, err := Start(t.Context(), l, opts)
	must(t, err)
	t.Cleanup(func() { _ = r.End(context.WithoutCancel(t.Context())) })
	return r, &httptest.Server{URL: "http://" + l.Addr().String()}
}

// events are what /events says: event names and data, until its end.
func events(t *testing.T, s *httptest.Server) <-chan [2]string {
	t.Helper()
	a := ask(t, s, http.MethodGet, "/events", nil)
	if a.StatusCode != http.StatusOK {
		t.Fatal(a.Status)
	}
	out := make(chan [2]string, 100)
	go func() {
		defer close(out)
		name := ""
		for lines := bufio.NewScanner(a.Body); lines.Scan(); {
			if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = n
			}
			if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				out <- [2]string{name, d}
			}
		}
	}()
	return out
}

// TestRunning shows a run from before it has a store until after it: 503, then records as they come, then the end of the stream.
func TestRunning(t *testing.T) {
	r, s := begun(t, Options{Loopback: true, Run: "demo"})
	early := events(t, s)
	for _, path := range []string{"/", "/graph?run=demo", "/api/services"} {
		a := ask(t, s, http.MethodGet, path, header("Accept", "text/html"))
		b, err := io.ReadAll(a.Body)
		must(t, err)
		html := strings.Contains(string(b), `<meta http-equiv="refresh" content="2">`)
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") != "2" || html == strings.HasPrefix(path, "/api/") || !strings.Contains(string(b), "is not there yet") {
			t.Errorf("%s without a store: %d %v\n%s", path, a.StatusCode, a.Header, b)
		}
	}
	db := opened(t)
	r.Use(db)
	if code, text := get(t, s, "/"); code != http.StatusOK || !strings.Contains(text, "No requests are known yet") || strings.Contains(text, "refresh") {
		t.Error(code, text)
	}
	records, seen := bookinfo(300, time.Minute), uint64(0)
	for from := 0; from < len(records); from += 200 {
		put(t, db, records[from:from+200])
		if e := <-early; e[0] != "records" {
			t.Fatal(e)
		}
		got := fromJSON[Services](t, s, "/api/services?run=demo").Total.Requests
		if got <= seen {
			t.Errorf("%d requests after %d", got, seen)
		}
		seen = got
	}
	late := bookinfo(400, time.Minute)[600:]
	began := time.Now()
	put(t, db, late)
	must(t, r.End(t.Context()))
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the end took %s", took)
	}
	var last [2]string
	for e := range early {
		last = e
	}
	if want := `"The run has ended. Its traffic is in reports/r1/traffic.html.\nBye \u003cb\u003e."`; last != [2]string{"ended", want} {
		t.Errorf("the stream ends with %q", last)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://")); err == nil {
		t.Error("the page is served after its end")
	}
	must(t, r.End(t.Context()))
	w := httptest.NewRecorder()
	r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/", nil))
	if text := w.Body.String(); w.Code != http.StatusGone || !strings.Contains(text, "reports/r1/traffic.html") || unescaped(text) != "" {
		t.Error(w.Code, text)
	}
	w = httptest.NewRecorder()
	r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/events", nil))
	if text := w.Body.String(); !strings.HasPrefix(text, "event: ended\n") {
		t.Error(w.Code, text)
	}
}

// TestRunningWithoutStore is a run that ends before it has a store, and one that has no page.
func TestRunningWithoutStore(t *testing.T) {
	r, s := begun(t, Options{Token: secret})
	for token, want := range map[string]int{"": http.StatusUnauthorized, secret: http.StatusServiceUnavailable} {
		if a := ask(t, s, http.MethodGet, "/api/services", header("Authorization", "Bearer "+token)); a.StatusCode != want {
			t.Errorf("with the token %q: %d, want %d", token, a.StatusCode, want)
		}
	}
	must(t, r.End(t.Context()))
	if why := r.page.live.why; !strings.Contains(why, "before it had a store") {
		t.Error(why)
	}
	r = nil
	r.Use(opened(t))
	must(t, r.End(t.Context()))
}

// stuck is a store whose lists end with their context, or with it.
type stuck struct {
	store.Reader
	asked chan struct{}
	end   <-chan struct{} // nil: with the context
}

func (s *stuck) List(ctx context.Context, f store.Filter, p store.Page) (store.Listing, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	if s.end != nil {
		<-s.end
		return s.Reader.List(ctx, f, p)
	}
	<-ctx.Done()
	return store.Listing{}, ctx.Err()
}

// TestRunningHangs has stores that do not answer and clients that do not read: the end of the run does not wait for them.
func TestRunningHangs(t *testing.T) {
	db, end := opened(t), make(chan struct{})
	for name, s := range map[string]*stuck{"heeds": {db, make(chan struct{}, 1), nil}, "deaf": {db, make(chan struct{}, 1), end}} {
		r, srv := begun(t, Options{Loopback: true})
		r.Use(s)
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(srv.URL, "http://"))
		must(t, err)
		defer c.Close()
		_, err = io.WriteString(c, "GET /api/requests HTTP/1.1\r\nHost: localhost\r\n\r\n")
		must(t, err)
		<-s.asked
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		err = r.End(ctx)
		if took := time.Since(began); took > stopWithin+2*time.Second {
			t.Errorf("%s: the end took %s", name, took)
		}
		if deaf := s.end != nil; deaf != (err != nil) || deaf && (!errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not end")) {
			t.Errorf("%s: %v", name, err)
		}
		r.late.mu.Lock()
		if n := len(r.late.under); (n > 0) != (s.end != nil) {
			t.Errorf("%s: %d questions are under way", name, n)
		}
		r.late.mu.Unlock()
	}
	close(end)
}

// TestRunningInBrowser looks at a run from before it has a store: the page comes by itself, updates, and shows the last state and where to go
// on when the run has ended, which waits no longer than the browser needs.
func TestRunningInBrowser(t *testing.T) {
	r, s := begun(t, Options{Loopback: true, Run: "demo"})
	b := &tab{t, browsertest.Open(t), s.URL}
	b.size(390)
	b.open("/?run=demo")
	if got := is[string](b, `document.querySelector("[role=alert]").innerText`); !strings.Contains(got, "is not there yet") {
		t.Error(got)
	}
	db, records := opened(t), bookinfo(400, time.Minute)
	put(t, db, records[:200])
	r.Use(db)
	const total, status = `document.querySelector(".facts dd").innerText`, `document.querySelector("#status").innerText`
	b.until(`document.querySelector(".facts") !== null && ` + total + ` === "100" && ` + status + ` === "Live"`)
	put(t, db, records[200:600])
	b.until(total + ` === "300"`)
	put(t, db, records[600:])
	began := time.Now()
	must(t, r.End(t.Context()))
	t.Logf("the end took %s", time.Since(began))
	b.until(status + `.includes("reports/r1/traffic.html")`)
	if got := is[string](b, total); got != "400" {
		t.Errorf("%s requests at the end", got)
	}
	if over := is[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
		t.Errorf("%d pixels wider than the screen", over)
	}
	if *shots != "" {
		b.shot(filepath.Join(*shots, "ended.png"))
	}
}
