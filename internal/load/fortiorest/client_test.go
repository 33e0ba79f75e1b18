package fortiorest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fortio.org/fortio/rapi"
	"fortio.org/log"

	"squall/internal/load"
	"squall/internal/load/worker"
)

func TestMain(m *testing.M) {
	log.SetLogLevelQuiet(log.Critical)
	os.Exit(m.Run())
}

// fortio is Fortio's own REST server.
func fortio(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	rapi.AddHandlers(mux, "", "/fortio/", t.TempDir())
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

func clientOf(t *testing.T, srv *httptest.Server) *Client {
	t.Helper()
	c := NewClient("load-1", func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", srv.Listener.Addr().String())
	})
	t.Cleanup(c.Close)
	return c
}

// seen is a target that keeps what it got.
type seen struct {
	mu   sync.Mutex
	all  []*http.Request
	body string
}

func target(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) (string, *seen) {
	t.Helper()
	s := &seen{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 100)
		n, _ := r.Body.Read(b)
		s.mu.Lock()
		s.all = append(s.all, r)
		s.body = string(b[:n])
		n = len(s.all)
		s.mu.Unlock()
		answer(n, w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, s
}

func TestRun(t *testing.T) {
	url, got := target(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n%5 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	c := clientOf(t, fortio(t))
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	r, err := c.Run(t.Context(), load.Spec{
		URL: url + "/a?b=c", Method: "PUT", Body: []byte("some: \"text\""), Connections: 4, Requests: 50, QPS: 500, Jitter: true,
		Headers: []load.Header{{Name: "Host", Value: "shop.test"}, {Name: "X-A", Value: "one: two"}, {Name: "X-A", Value: "three"}},
	}, "mark-1")
	if err != nil {
		t.Fatal(err)
	}
	if r.Count != 50 || r.Codes[200] != 40 || r.Codes[503] != 10 || len(r.Codes) != 2 {
		t.Errorf("%+v", r)
	}
	if r.Version == "" || r.Start.Before(before) || r.Took <= 0 || r.Took > time.Since(before) || r.Mean <= 0 || r.Max < r.Mean || r.Sockets < 4 {
		t.Errorf("%+v", r)
	}
	q := got.all[0]
	if len(got.all) != 50 || q.Method != "PUT" || q.Host != "shop.test" || q.URL.String() != "/a?b=c" || got.body != "some: \"text\"" {
		t.Errorf("%d calls, %s %s %s %q", len(got.all), q.Method, q.Host, q.URL, got.body)
	}
	if q.Header.Get(markHeader) != "mark-1" || fmt.Sprint(q.Header["X-A"]) != "[one: two three]" {
		t.Errorf("%v", q.Header)
	}
}

func TestRunOfADuration(t *testing.T) {
	url, got := target(t, func(int, http.ResponseWriter, *http.Request) {})
	r, err := clientOf(t, fortio(t)).Run(t.Context(), load.Spec{URL: url, Connections: 2, QPS: 100, Duration: 500 * time.Millisecond}, "m")
	if err != nil || r.Count != 50 || len(got.all) != 50 {
		t.Errorf("%+v %v, %d calls", r, err, len(got.all))
	}
	if r.Took < 400*time.Millisecond || r.Took > 5*time.Second {
		t.Errorf("it took %s", r.Took)
	}
}

func TestCallsWithoutAnAnswer(t *testing.T) {
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	url, _ := target(t, func(n int, _ http.ResponseWriter, r *http.Request) {
		if n <= 2 {
			select {
			case <-stall:
			case <-r.Context().Done():
			}
		}
	})
	r, err := clientOf(t, fortio(t)).Run(t.Context(), load.Spec{URL: url, Connections: 2, Requests: 10, Timeout: 200 * time.Millisecond}, "m")
	if err != nil || r.Codes[socketError] != 2 || r.Codes[200] != 8 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestRunThatIsStopped(t *testing.T) {
	cause := errors.New("halted")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var n atomic.Int64
	url, _ := target(t, func(int, http.ResponseWriter, *http.Request) {
		if n.Add(1) == 20 {
			cancel(cause)
		}
	})
	start := time.Now()
	r, err := clientOf(t, fortio(t)).Run(ctx, load.Spec{URL: url, Connections: 1, QPS: 100, Requests: 100000}, "m")
	if err != nil || r.Count < 20 || r.Count != n.Load() || r.Codes[200] != r.Count {
		t.Errorf("%+v %v, %d calls", r, err, n.Load())
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestRunThatIsNotWantedAnyMore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	url, got := target(t, func(int, http.ResponseWriter, *http.Request) {})
	r, err := clientOf(t, fortio(t)).Run(ctx, load.Spec{URL: url, Connections: 1, QPS: 50, Requests: 100000}, "m")
	var refused *refusedError
	if err == nil && r.Count != int64(len(got.all)) || err != nil && !errors.As(err, &refused) {
		t.Errorf("%+v %v", r, err)
	}
}

func TestRunThatFortioRefuses(t *testing.T) {
	_, err := clientOf(t, fortio(t)).Run(t.Context(), load.Spec{URL: "http://no-such-host.invalid/", Connections: 1, Requests: 10}, "m")
	var lost *worker.LostError
	if err == nil || errors.As(err, &lost) || !strings.Contains(err.Error(), "no-such-host.invalid") || !strings.Contains(err.Error(), "load-1") {
		t.Errorf("%v", err)
	}
}

func TestRunWhoseServerDies(t *testing.T) {
	srv := fortio(t)
	var n atomic.Int64
	url, _ := target(t, func(int, http.ResponseWriter, *http.Request) {
		if n.Add(1) == 5 {
			srv.CloseClientConnections()
		}
	})
	_, err := clientOf(t, srv).Run(t.Context(), load.Spec{URL: url, Connections: 1, QPS: 100, Requests: 100}, "m")
	var lost *worker.LostError
	if !errors.As(err, &lost) || lost.Worker != "load-1" {
		t.Errorf("%v", err)
	}
}

func TestRunWithoutAServer(t *testing.T) {
	c := NewClient("load-1", func(context.Context) (net.Conn, error) { return nil, errors.New("no such pod") })
	_, err := c.Run(t.Context(), load.Spec{URL: "http://a/", Connections: 1, Requests: 10}, "m")
	var lost *worker.LostError
	if !errors.As(err, &lost) || !strings.Contains(err.Error(), "no such pod") {
		t.Errorf("%v", err)
	}
	if _, err := c.Sync(t.Context()); !errors.As(err, &lost) {
		t.Errorf("%v", err)
	}
}

func TestRunOfWhatIsNotSupported(t *testing.T) {
	c := clientOf(t, fortio(t))
	if _, err := c.Run(t.Context(), load.Spec{URL: "https://a/", Connections: 1, Requests: 10}, "m"); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("%v", err)
	}
	if _, err := c.Run(t.Context(), load.Spec{URL: "http://a/", Connections: 0, Requests: 10}, "m"); err == nil || !strings.Contains(err.Error(), "connections") {
		t.Errorf("%v", err)
	}
	if _, err := c.Run(t.Context(), load.Spec{URL: "http://a:1/", Dial: "127.0.0.1:2", Connections: 1, Requests: 10}, "m"); err == nil || !strings.Contains(err.Error(), "dial") {
		t.Errorf("%v", err)
	}
}

func TestRunAtAnotherAddress(t *testing.T) {
	url, got := target(t, func(int, http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	r, err := clientOf(t, fortio(t)).Run(t.Context(), load.Spec{URL: "http://httpbin.invalid:" + port + "/get", Dial: "127.0.0.1:" + port, Connections: 1, Requests: 3}, "m")
	if err != nil || r.Codes[200] != 3 || got.all[0].Host != "httpbin.invalid:"+port {
		t.Errorf("%+v %v", r, err)
	}
}

func TestSync(t *testing.T) {
	k, err := clientOf(t, fortio(t)).Sync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The server is this process: its clock is this one.
	if k.least > 0 || k.most < 0 || k.most < k.least || k.Uncertainty() > time.Second {
		t.Errorf("%+v", k)
	}
	now := time.Now()
	if d := k.local(now).Sub(now).Abs(); d > k.Uncertainty() {
		t.Errorf("it is %s off, and says %s", d, k.Uncertainty())
	}
}

func TestLongAnswer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		line := []byte(strings.Repeat(" ", 1<<20))
		for range 9 {
			_, _ = w.Write(line)
		}
	}))
	defer srv.Close()
	if err := clientOf(t, srv).Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

func TestAnswerOfAnotherServer(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	var lost *worker.LostError
	if err := clientOf(t, srv).Ready(t.Context()); !errors.As(err, &lost) || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v", err)
	}
}

// Fortio's server echoes whatever it is sent for a moment, before its REST API is there.
func TestReadyBeforeTheAPI(t *testing.T) {
	var there atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if there.Load() {
			fmt.Fprint(w, `{"Statuses":{}}`)
			return
		}
		_, _ = io.Copy(w, r.Body)
	}))
	defer srv.Close()
	c := clientOf(t, srv)
	if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "REST API") {
		t.Errorf("the echo of nothing is taken for a status: %v", err)
	}
	there.Store(true)
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	o, err := newOrder(load.Spec{URL: "http://a/", Connections: 2, Requests: 10}, "m")
	if err != nil {
		t.Fatal(err)
	}
	good := func() map[string]any {
		return map[string]any{
			"RunType": "HTTP", "Labels": "m", "Version": "1.75.3", "StartTime": "2026-01-01T00:00:00.5Z", "ActualDuration": 1500000000,
			"NumThreads": 2, "Exactly": 10, "RetCodes": map[string]any{"200": 9, "-1": 1}, "SocketCount": 3, "New": "field",
			"DurationHistogram": map[string]any{"Count": 10, "Avg": 0.1, "Max": 0.2},
		}
	}
	text := func(m map[string]any) []byte {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r, err := parse(text(good()), o, false)
	if err != nil || r.Count != 10 || r.Codes[-1] != 1 || r.Took != 1500*time.Millisecond || r.Sockets != 3 || r.Mean != 0.1 {
		t.Errorf("%+v %v", r, err)
	}
	for _, c := range []struct {
		field string
		value any
		want  string
	}{
		{"RunType", "GRPC Ping", "GRPC"},
		{"Labels", "other", `load "other"`},
		{"Version", "", "none of an HTTP load"},
		{"StartTime", nil, "none of an HTTP load"},
		{"StartTime", "yesterday", "cannot be read"},
		{"ActualDuration", -1, "no time"},
		{"ActualDuration", "1s", "cannot be read"},
		{"NumThreads", 1, "2 connections and made 1"},
		{"Exactly", 0, "asked for 10 calls and understood 0"},
		{"RetCodes", nil, "none of an HTTP load"},
		{"RetCodes", map[string]any{"200": 9}, "timed 10 calls and counted the statuses of 9"},
		{"RetCodes", map[string]any{"200": 11, "503": -1}, "-1 calls"},
		{"RetCodes", map[string]any{"200": 9, "-2": 1}, `"-2"`},
		{"RetCodes", map[string]any{"200": 9, "ok": 1}, `"ok"`},
		{"RetCodes", map[string]any{"200": 9.5}, "cannot be read"},
		{"DurationHistogram", map[string]any{}, "none of an HTTP load"},
		{"DurationHistogram", map[string]any{"Count": 11}, "timed 11"},
		{"error", true, ""},
		{"exception", "boom", "boom"},
	} {
		m := good()
		m[c.field] = c.value
		if _, err := parse(text(m), o, false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v", c.field, c.value, err)
		}
	}
	short := good()
	short["RetCodes"], short["DurationHistogram"] = map[string]any{"200": 4}, map[string]any{"Count": 4}
	if _, err := parse(text(short), o, false); err == nil || !strings.Contains(err.Error(), "asked for 10 calls and counted 4") {
		t.Errorf("%v", err)
	}
	if r, err := parse(text(short), o, true); err != nil || r.Count != 4 {
		t.Errorf("%+v %v", r, err)
	}
	long := good()
	long["RetCodes"], long["DurationHistogram"] = map[string]any{"200": 11}, map[string]any{"Count": 11}
	if _, err := parse(text(long), o, true); err == nil {
		t.Error("more calls than were asked for are taken")
	}
	for _, broken := range []string{"", "{", "[]", "null", "{}", string(text(good())[:50])} {
		if _, err := parse([]byte(broken), o, false); err == nil {
			t.Errorf("%q is taken", broken)
		}
	}
}
