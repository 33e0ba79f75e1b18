package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fortio.org/fortio/fgrpc"
	"fortio.org/fortio/fhttp"

	"squall/internal/record"
)

func TestEveryCallIsAccountedFor(t *testing.T) {
	noLeak(t)
	for _, c := range []Spec{
		{Connections: 1, Requests: 1},
		{Connections: 1, Requests: 1, QPS: 5},
		{Connections: 3, Requests: 100, WarmUp: 7},
		{Connections: 4, Requests: 41, QPS: 400, Jitter: true, WarmUp: 1},
		{Connections: 4, Requests: 40, QPS: 400, Uniform: true},
		{Connections: 4, Duration: 150 * time.Millisecond, WarmUp: 10},
		{Connections: 4, Duration: 200 * time.Millisecond, QPS: 100},
		{Connections: 2, Duration: 200 * time.Millisecond, QPS: 100, NoCatchUp: true},
		{Connections: 3, Requests: 30, NewConnectionPerRequest: true, WarmUp: 3},
		{Connections: 3, Requests: 30, Method: "POST", Body: []byte("hello")},
		{Connections: 3, Requests: 30, Method: "HEAD"},
	} {
		for _, p := range []Protocol{HTTP1, H2} {
			c.Protocol = p
			t.Run(fmt.Sprintf("%s %+v", p, c), func(t *testing.T) {
				url, received := counted(t, ok)
				c.URL = url + "/get?a=b"
				l, all := run(t.Context(), t, c)
				if got := received.Load(); got != l.Count+l.WarmUp || l.Cut != 0 || l.WarmUp != c.WarmUp || l.Interrupted != "" {
					t.Errorf("the server received %d calls, the load says %+v", got, l)
				}
				if c.Requests > 0 && l.Count != c.Requests {
					t.Errorf("%d calls instead of %d", l.Count, c.Requests)
				}
				if c.Duration > 0 && c.QPS > 0 && l.Count > int64(c.QPS*c.Duration.Seconds()) {
					t.Errorf("%d calls at %v qps in %v", l.Count, c.QPS, c.Duration)
				}
				conns := map[int]bool{}
				for _, q := range all {
					conns[q.Conn] = true
					if q.Code != 200 || q.Error != "" || (q.Bytes != 2 && c.Method != "HEAD") {
						t.Fatalf("got %+v", q)
					}
				}
				if len(conns) != c.Connections {
					t.Errorf("%d connections of %d made calls", len(conns), c.Connections)
				}
			})
		}
	}
}

func TestWhatTheServerSees(t *testing.T) {
	for _, p := range []Protocol{HTTP1, H2} {
		for _, fresh := range []bool{false, true} {
			var mu sync.Mutex
			remotes, requests := map[string]bool{}, []*http.Request{}
			var body string
			url, _ := counted(t, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				b, _ := io.ReadAll(r.Body)
				body = string(b)
				remotes[r.RemoteAddr], requests = true, append(requests, r)
				w.Header().Set("X-Version", "v2")
				w.WriteHeader(http.StatusServiceUnavailable)
			})
			l, all := run(t.Context(), t, Spec{
				URL: "http://httpbin.squall:8000/a%2Fb?c=d", Dial: strings.TrimPrefix(url, "http://"), Protocol: p,
				Method: "PUT", Body: []byte("payload"), Connections: 2, Requests: 10, VersionHeader: "x-version", RequestID: true,
				NewConnectionPerRequest: fresh,
				Headers:                 []Header{{"X-A", "1"}, {"x-a", "2"}, {"User-Agent", "me"}},
			})
			r := requests[0]
			if r.Host != "httpbin.squall:8000" || r.RequestURI != "/a%2Fb?c=d" || r.Method != "PUT" || body != "payload" ||
				!slices.Equal(r.Header["X-A"], []string{"1", "2"}) || r.UserAgent() != "me" || r.ContentLength != 7 {
				t.Errorf("%s: the server saw %+v with %q", p, r, body)
			}
			if want := map[bool]int{false: 2, true: 10}[fresh]; len(remotes) != want {
				t.Errorf("%s: %d connections, want %d", p, len(remotes), want)
			}
			ids := map[string]bool{}
			for _, r := range requests {
				ids[r.Header.Get("X-Request-Id")] = true
			}
			for _, q := range all {
				if q.Code != 503 || q.Version != "v2" || !ids[q.ID] {
					t.Errorf("%s: got %+v", p, q)
				}
			}
			if len(ids) != 10 || l.Errors != nil {
				t.Errorf("%s: %d request ids, errors %v", p, len(ids), l.Errors)
			}
		}
	}
}

func TestHostAndAnsweredRequestID(t *testing.T) {
	for _, p := range []Protocol{HTTP1, H2} {
		url, _ := counted(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", "of "+r.Host+" for "+r.Header.Get("X-Request-Id"))
		})
		_, all := run(t.Context(), t, Spec{URL: url, Protocol: p, Connections: 1, Requests: 1, RequestID: true,
			Headers: []Header{{"host", "other:1"}, {"X-Request-ID", "mine"}}})
		if all[0].ID != "of other:1 for mine" {
			t.Errorf("%s: id %q", p, all[0].ID)
		}
	}
}

func TestTLS(t *testing.T) {
	noLeak(t)
	srv, cfg := tlsServer(t)
	for _, p := range []Protocol{HTTP1, H2} {
		_, all := run(t.Context(), t, Spec{URL: srv, Protocol: p, TLS: cfg, Connections: 2, Requests: 4})
		if all[0].Code != 200 || all[0].Version != "" {
			t.Errorf("%s: got %+v", p, all[0])
		}
		l, all := run(t.Context(), t, Spec{URL: srv, Protocol: p, Connections: 1, Requests: 1})
		if all[0].Error != "tls" || !strings.Contains(l.Errors["tls"], "certificate") {
			t.Errorf("%s: without the authority: %+v, %v", p, all[0], l.Errors)
		}
		_, all = run(t.Context(), t, Spec{URL: strings.Replace(srv, "https", "http", 1), Protocol: p, Connections: 1, Requests: 1})
		if all[0].Code != 400 && all[0].Error == "" {
			t.Errorf("%s: plain text to a TLS port: %+v", p, all[0])
		}
	}
	url, _ := counted(t, ok)
	_, all := run(t.Context(), t, Spec{URL: strings.Replace(url, "http", "https", 1), TLS: cfg, Connections: 1, Requests: 1})
	if all[0].Error != "tls" {
		t.Errorf("TLS to a plain port: %+v", all[0])
	}
}

func TestGRPC(t *testing.T) {
	noLeak(t)
	port := fgrpc.PingServerTCP("0", "", 0, &fhttp.TLSOptions{})
	spec := Spec{URL: "http://ping.squall:79", Dial: fmt.Sprintf("127.0.0.1:%d", port), Protocol: GRPC, Connections: 2, Requests: 20,
		WarmUp: 3, Body: []byte("hello"), Headers: []Header{{"x-a", "b"}, {"host", "h"}, {"user-agent", "u"}}}
	for _, fresh := range []bool{false, true} {
		spec.NewConnectionPerRequest = fresh
		l, all := run(t.Context(), t, spec)
		for _, q := range all {
			if q.Code != 0 || q.Error != "" || q.Bytes != 5 {
				t.Errorf("got %+v", q)
			}
		}
		if l.Count != 20 || l.WarmUp != 3 {
			t.Errorf("got %+v", l)
		}
	}
	url, _ := counted(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("X-Version", "v3")
		w.Header().Set("X-Request-Id", "for "+r.Header.Get("X-A"))
		w.Header().Set("Grpc-Status", "14")
	})
	_, all := run(t.Context(), t, Spec{URL: url, Protocol: GRPC, Connections: 1, Requests: 1, VersionHeader: "X-Version",
		Headers: []Header{{"x-a", "b"}}})
	if q := all[0]; q.Code != 14 || q.Error != "" || q.Version != "v3" || q.ID != "for b" {
		t.Errorf("an answer of UNAVAILABLE: %+v", q)
	}
}

func TestRunRefusesWhatIsNotValid(t *testing.T) {
	l, err := Run(t.Context(), Spec{}, Output{})
	if err == nil || !reflect.DeepEqual(l, record.Load{}) {
		t.Errorf("an empty spec: %+v, %v", l, err)
	}
}

func TestPacing(t *testing.T) {
	url, _ := counted(t, ok)
	l, all := run(t.Context(), t, Spec{URL: url, Connections: 2, QPS: 50, Requests: 20})
	if l.Seconds < 0.3 || l.QPS > 65 {
		t.Errorf("20 calls at 50 qps took %.3f s, %v qps", l.Seconds, l.QPS)
	}
	slices.SortFunc(all, func(a, b record.Request) int { return int(1e9 * (a.Start - b.Start)) })
	if span := all[19].Start - all[0].Start; span < 0.3 {
		t.Errorf("the calls started within %.3f s", span)
	}
}

func TestOutOfPortsBreaksTheLoadOff(t *testing.T) {
	s, err := newSession(Spec{URL: "http://127.0.0.1:1", Connections: 1, Requests: 5}, Output{})
	must(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	s.cancel = cancel
	if kind := s.failed(fmt.Errorf("dial: %w", errPortsGone)); kind != kindOther {
		t.Errorf("the kind is %q", kind)
	}
	if s.ours == nil || !errors.Is(context.Cause(ctx), errPortsGone) {
		t.Errorf("the load goes on: %v", s.ours)
	}
	s.close()
}

// Fortio's own client, asked for the same, spreads its calls over its connections in the same way.
func TestCallsAreSpreadAsFortioDoes(t *testing.T) {
	for _, c := range []struct {
		connections int
		calls       int64
	}{{3, 20}, {2, 20}, {1, 5}, {4, 41}, {7, 7}} {
		var mu sync.Mutex
		byRemote := map[string]int{}
		url, received := counted(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			byRemote[r.RemoteAddr]++
			ok(w, r)
		})
		shares := func() []int {
			mu.Lock()
			defer mu.Unlock()
			out := slices.Sorted(maps.Values(byRemote))
			clear(byRemote)
			return out
		}
		fortio(t, url+"/", c.connections, c.calls)
		want, wanted := shares(), received.Swap(0)
		l, all := run(t.Context(), t, Spec{URL: url, Connections: c.connections, Requests: c.calls})
		got := shares()
		if !slices.Equal(got, want) || wanted != c.calls || received.Load() != c.calls || l.Count != c.calls {
			t.Errorf("%d calls on %d connections: %v, %+v, and Fortio %v", c.calls, c.connections, got, l, want)
		}
		byConn := map[int]int{}
		for _, q := range all {
			byConn[q.Conn]++
		}
		if of := slices.Sorted(maps.Values(byConn)); !slices.Equal(of, want) {
			t.Errorf("%d calls on %d connections: the records say %v, and Fortio %v", c.calls, c.connections, of, want)
		}
	}
}
