package load

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"squall/internal/record"
)

// records is a sink that keeps everything.
type records struct {
	mu  sync.Mutex
	all []record.Request
}

func (r *records) Request(q record.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, q)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noLeak fails the test when goroutines of this module's or Fortio's code outlive it.
func noLeak(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var left []string
		for range 200 {
			if left = leaked(); len(left) == 0 {
				return
			}
			<-tick.C
		}
		t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

func leaked() []string {
	buf := make([]byte, 1<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	return slices.DeleteFunc(all, func(stack string) bool {
		return strings.Contains(stack, "load.leaked") || !slices.ContainsFunc(
			[]string{"squall/internal/load.(", "fortio.org/fortio/periodic", "net/http.(*Transport", "net/http.(*http2ClientConn", "grpc.(*ClientConn", "transport.(*http2Client"},
			func(s string) bool { return strings.Contains(stack, s) })
	})
}

// counted is a server that counts what it receives.
func counted(t testing.TB, h http.HandlerFunc) (url string, received *atomic.Int64) {
	t.Helper()
	received = new(atomic.Int64)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received.Add(1)
		h(w, r)
	}))
	srv.Config.Protocols = &protocols
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL, received
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }

// pong answers HTTP, and a gRPC ping with an empty message.
func pong(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") != "application/grpc" {
		ok(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(make([]byte, 5))
	w.Header().Set("Grpc-Status", "0")
}

// stall answers never, and ends when the client is gone.
func stall() (h http.HandlerFunc, arrived chan struct{}) {
	arrived = make(chan struct{}, 1000)
	return func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not watch the client
		arrived <- struct{}{}
		<-r.Context().Done()
	}, arrived
}

// raw serves each connection of a loopback listener by f, and closes it then.
func raw(t testing.TB, f func(c *net.TCPConn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		must(t, l.Close())
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				f(c.(*net.TCPConn))
				_ = c.Close()
			})
		}
	})
	return l.Addr().String()
}

// run runs a load and checks what holds for each: the records are as many as it says, and lie within its time.
func run(ctx context.Context, t *testing.T, spec Spec) (record.Load, []record.Request) {
	t.Helper()
	var sink records
	var progress Progress
	l, err := Run(ctx, spec, Output{Base: time.Now().Add(-time.Second), Sink: &sink, Progress: &progress})
	must(t, err)
	if snap := progress.Snapshot(); int64(len(sink.all)) != l.Count || snap.Count != l.Count {
		t.Errorf("%d records, a count of %d and a progress of %+v", len(sink.all), l.Count, snap)
	}
	for _, q := range sink.all {
		if q.Start < l.Start || q.Start+q.Latency > l.Start+l.Seconds || q.Latency <= 0 || q.Conn < 0 || q.Conn >= spec.Connections {
			t.Fatalf("%+v is not in %+v", q, l)
		}
		if q.Error != "" && q.Code != 0 {
			t.Fatalf("%+v has an error and a code", q)
		}
	}
	return l, sink.all
}
