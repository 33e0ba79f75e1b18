package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

const errPortsGone = syscall.EADDRNOTAVAIL

func tlsServer(t testing.TB) (url string, client *TLS) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL, &TLS{CA: inPEM("CERTIFICATE", srv.Certificate().Raw)}
}

// readRequest reads the head of a request.
func readRequest(c net.Conn) bool {
	_, err := http.ReadRequest(bufio.NewReader(c))
	return err == nil
}

func answer(text string) func(c *net.TCPConn) {
	return func(c *net.TCPConn) {
		if readRequest(c) {
			_, _ = io.WriteString(c, text)
		}
	}
}

// goAway is an HTTP/2 server that is shutting down: it takes no call of the connection, says so and closes it.
func goAway(c *net.TCPConn) {
	in := bufio.NewReader(c)
	if _, err := in.Discard(len(http2.ClientPreface)); err != nil {
		return
	}
	f := http2.NewFramer(c, in)
	_ = f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		if frame.Header().Type == http2.FrameHeaders {
			_ = f.WriteGoAway(frame.Header().StreamID, http2.ErrCodeInternal, nil)
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, in) // unread bytes would make closing a reset
			return
		}
	}
}

func TestFailedCallsAreRecordsWithTheirKind(t *testing.T) {
	noLeak(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	refusing := l.Addr().String()
	must(t, l.Close())
	cases := []struct {
		name, addr string
		protocols  []Protocol
		kind       string
	}{
		{"refuses", refusing, []Protocol{HTTP1, H2, GRPC}, "refused"},
		{"resets", raw(t, func(c *net.TCPConn) { readRequest(c); _ = c.SetLinger(0) }), []Protocol{HTTP1, H2, GRPC}, "reset"},
		{"hangs up", raw(t, func(c *net.TCPConn) { readRequest(c) }), []Protocol{HTTP1}, "eof"},
		{"says nothing", raw(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }), []Protocol{HTTP1, H2, GRPC}, "timeout"},
		{"stops in the head", raw(t, answer("HTTP/1.1 200 OK\r\nContent-Le")), []Protocol{HTTP1}, "eof"},
		{"stops in the body", raw(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")), []Protocol{HTTP1}, "eof"},
		{"stops in a chunk", raw(t, answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n12345")), []Protocol{HTTP1}, "eof"},
		{"stalls in the body", raw(t, func(c *net.TCPConn) {
			answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")(c)
			_, _ = io.Copy(io.Discard, c)
		}), []Protocol{HTTP1}, "timeout"},
		{"garbage", raw(t, answer("\x00\xff rubbish\r\n\r\n")), []Protocol{HTTP1}, "other"},
		{"garbage status", raw(t, answer("HTTP/1.1 2xx OK\r\n\r\n")), []Protocol{HTTP1}, "other"},
		{"goes away", raw(t, goAway), []Protocol{H2}, "eof"},
		{"no name", "no-such-host.invalid:80", []Protocol{HTTP1, H2, GRPC}, "dns"},
	}
	for _, c := range cases {
		for _, p := range c.protocols {
			t.Run(c.name+" "+string(p), func(t *testing.T) {
				timeout := 150 * time.Millisecond
				if c.kind != "timeout" {
					timeout = 5 * time.Second
				}
				l, all := run(t.Context(), t, Spec{URL: "http://x/", Dial: c.addr, Protocol: p, Connections: 2, Requests: 4, Timeout: timeout})
				if l.Count != 4 || l.Errors[c.kind] == "" || len(l.Errors) != 1 {
					t.Errorf("got %+v", l)
				}
				for _, q := range all {
					if q.Error != c.kind {
						t.Errorf("got %+v", q)
					}
					if c.kind == "timeout" && (q.Latency < 0.14 || q.Latency > 2) {
						t.Errorf("a timeout of 150 ms took %v s", q.Latency)
					}
				}
			})
		}
	}
}

func TestAnswersThatCloseTheConnection(t *testing.T) {
	cases := []struct {
		name, text string
		code       int
		bytes      int64
	}{
		{"unavailable", "HTTP/1.1 503 No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy", 503, 4},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, 13},
		{"HTTP/1.0", "HTTP/1.0 404 No\r\n\r\n", 404, 0},
		{"continue first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nConnection: close\r\n\r\n", 204, 0},
		{"early hints first", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", 200, 1},
		{"more than asked for", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 500 Surprise\r\n\r\n", 200, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var n atomic.Int64
			addr := raw(t, func(conn *net.TCPConn) {
				n.Add(1)
				answer(c.text)(conn)
			})
			_, all := run(t.Context(), t, Spec{URL: "http://" + addr, Connections: 1, Requests: 5})
			for _, q := range all {
				if q.Code != c.code || q.Error != "" || q.Bytes != c.bytes {
					t.Errorf("got %+v", q)
				}
			}
			if n.Load() != 5 {
				t.Errorf("%d connections", n.Load())
			}
		})
	}
}

// A kept connection that the target closed while it was idle is replaced before the next call, and no call is made twice.
func TestIdleConnectionClosedByTheTarget(t *testing.T) {
	var received atomic.Int64
	closed := make(chan struct{}, 100)
	addr := raw(t, func(c *net.TCPConn) {
		answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")(c)
		received.Add(1)
		_ = c.Close()
		closed <- struct{}{}
	})
	tgt, err := newTarget(Spec{URL: "http://" + addr})
	must(t, err)
	h := newHTTP1(tgt)
	defer h.close()
	start := time.Now()
	for i := range 20 {
		if o := h.call(t.Context(), start.Add(time.Duration(i)*idle)); o.code != 200 {
			t.Fatalf("got %+v", o)
		}
		<-closed
	}
	if received.Load() != 20 {
		t.Errorf("the server received %d calls of 20", received.Load())
	}
}

// An answer that comes before the whole request was read is an answer.
func TestAnswerBeforeTheRequestIsRead(t *testing.T) {
	addr := raw(t, func(c *net.TCPConn) {
		if readRequest(c) {
			_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}
	})
	_, all := run(t.Context(), t, Spec{URL: "http://" + addr, Connections: 1, Requests: 2, Body: make([]byte, 1<<20)})
	if all[0].Code != 413 || all[1].Code != 413 {
		t.Errorf("got %+v", all)
	}
}

// endsIn200ms runs a load, which is cancelled at the time that run returns, until it has ended within 200 ms once: a
// machine that is busy with other things may take longer now and then, and one that always does has a fault.
func endsIn200ms(t *testing.T, run func() (cancelled time.Time)) {
	t.Helper()
	var took time.Duration
	for range 5 {
		cancelled := run()
		if took = time.Since(cancelled); took < 200*time.Millisecond {
			return
		}
	}
	t.Errorf("the load took %v to end", took)
}

// cancelWhen cancels a context for the reason "enough" after as many calls have arrived, and gives the time of it.
func cancelWhen(ctx context.Context, calls int, arrived <-chan struct{}) (context.Context, func() time.Time) {
	ctx, cancel := context.WithCancelCause(ctx)
	at := make(chan time.Time, 1)
	go func() {
		for range calls {
			<-arrived
		}
		at <- time.Now()
		cancel(errors.New("enough"))
	}()
	return ctx, func() time.Time { return <-at }
}

func TestCancelWhileTheTargetStalls(t *testing.T) {
	noLeak(t)
	specs := map[string]Spec{
		"requests":          {Connections: 5, Requests: 1000},
		"duration":          {Connections: 5, Duration: time.Minute},
		"behind schedule":   {Connections: 5, QPS: 1000, Duration: time.Minute},
		"uniform":           {Connections: 5, QPS: 1000, Duration: time.Minute, Uniform: true},
		"leaving out":       {Connections: 5, QPS: 1000, Duration: time.Minute, NoCatchUp: true},
		"warm-up":           {Connections: 5, Requests: 1000, WarmUp: 100},
		"connection each":   {Connections: 5, Requests: 1000, NewConnectionPerRequest: true},
		"a body to be sent": {Connections: 5, Requests: 1000, Body: []byte("x")},
	}
	for name, spec := range specs {
		for _, p := range []Protocol{HTTP1, H2, GRPC} {
			t.Run(name+" "+string(p), func(t *testing.T) {
				h, arrived := stall()
				url, received := counted(t, h)
				spec.URL, spec.Protocol = url, p
				endsIn200ms(t, func() time.Time {
					received.Store(0)
					ctx, at := cancelWhen(t.Context(), spec.Connections, arrived)
					l, _ := run(ctx, t, spec)
					if l.Interrupted != "enough" || l.Count != 0 || l.Cut+l.WarmUp != received.Load() || received.Load() != 5 {
						t.Errorf("the server received %d calls, the load says %+v", received.Load(), l)
					}
					return at()
				})
			})
		}
	}
}

// A call on a schedule that is far behind is not made after the cancellation, and waiting for the next one ends.
func TestCancelWhileWaiting(t *testing.T) {
	noLeak(t)
	arrived := make(chan struct{}, 10)
	url, received := counted(t, func(w http.ResponseWriter, r *http.Request) {
		ok(w, r)
		arrived <- struct{}{}
	})
	endsIn200ms(t, func() time.Time {
		received.Store(0)
		ctx, at := cancelWhen(t.Context(), 2, arrived)
		l, _ := run(ctx, t, Spec{URL: url, Connections: 2, QPS: 0.1, Requests: 4})
		if l.Interrupted != "enough" || received.Load() != 2 || l.Count+l.Cut != 2 {
			t.Errorf("the server received %d calls, the load says %+v", received.Load(), l)
		}
		return at()
	})
}

func TestCancelWhileConnecting(t *testing.T) {
	noLeak(t)
	accepted := make(chan struct{}, 100)
	silent := raw(t, func(c *net.TCPConn) {
		accepted <- struct{}{}
		_, _ = io.Copy(io.Discard, c) // speaks no TLS
	})
	for _, p := range []Protocol{HTTP1, H2, GRPC} {
		endsIn200ms(t, func() time.Time {
			ctx, at := cancelWhen(t.Context(), 2, accepted)
			l, _ := run(ctx, t, Spec{URL: "https://x", Dial: silent, Protocol: p, Connections: 2, Requests: 10})
			if l.Count != 0 || l.Cut != 0 || l.Interrupted != "enough" {
				t.Errorf("%s: no call was sent, the load says %+v", p, l)
			}
			return at()
		})
	}
}

func TestCancelInFullFlight(t *testing.T) {
	noLeak(t)
	for _, p := range []Protocol{HTTP1, H2, GRPC} {
		for _, qps := range []float64{0, 200} {
			t.Run(fmt.Sprint(p, qps), func(t *testing.T) {
				arrived := make(chan struct{}, 1<<16)
				url, received := counted(t, func(w http.ResponseWriter, r *http.Request) {
					pong(w, r)
					select {
					case arrived <- struct{}{}:
					default:
					}
				})
				endsIn200ms(t, func() time.Time {
					received.Store(0)
					ctx, at := cancelWhen(t.Context(), 30, arrived)
					l, all := run(ctx, t, Spec{URL: url, Protocol: p, Connections: 4, Duration: time.Minute, QPS: qps})
					if l.Interrupted != "enough" || l.Count == 0 || l.Errors != nil {
						t.Errorf("got %+v", l)
					}
					if got := received.Load(); got < l.Count || got > l.Count+l.Cut {
						t.Errorf("the server received %d calls, the load says %+v", got, l)
					}
					for _, q := range all {
						if q.Error != "" {
							t.Fatalf("got %+v", q)
						}
					}
					return at()
				})
			})
		}
	}
}

// The load's deadline is not each call's: gRPC would take it for one, and report time-outs of the target.
func TestADeadlineCutsCallsOff(t *testing.T) {
	noLeak(t)
	h, _ := stall()
	url, received := counted(t, h)
	for _, p := range []Protocol{HTTP1, H2, GRPC} {
		received.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		l, _ := run(ctx, t, Spec{URL: url, Protocol: p, Connections: 2, Duration: time.Minute})
		cancel()
		if l.Interrupted != context.DeadlineExceeded.Error() || l.Count != 0 || l.Cut != received.Load() || l.Cut != 2 {
			t.Errorf("%s: the server received %d calls, the load says %+v", p, received.Load(), l)
		}
	}
}

func TestCancelBeforeTheStart(t *testing.T) {
	url, received := counted(t, ok)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l, _ := run(ctx, t, Spec{URL: url, Connections: 2, Requests: 10, WarmUp: 2})
	if received.Load() != 0 || l.Count+l.Cut+l.WarmUp != 0 || !strings.Contains(l.Interrupted, "canceled") {
		t.Errorf("the server received %d calls, the load says %+v", received.Load(), l)
	}
}

// Calls under way when the duration is over are finished: cutting them off would leave out the slow ones.
func TestSlowCallsOutliveTheDuration(t *testing.T) {
	url, received := counted(t, func(_ http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(300 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	})
	l, all := run(t.Context(), t, Spec{URL: url, Connections: 3, Duration: 100 * time.Millisecond})
	if l.Count != 3 || received.Load() != 3 || l.Interrupted != "" || all[0].Latency < 0.3 || l.Seconds < 0.3 {
		t.Errorf("the server received %d calls, the load says %+v", received.Load(), l)
	}
}
