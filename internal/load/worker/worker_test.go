package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"squall/internal/load"
	"squall/internal/record"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// calls is a sink that keeps everything.
type calls struct {
	mu  sync.Mutex
	all []record.Request
}

func (c *calls) Request(q record.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, q)
}

// serve starts a worker in this process.
func serve(t testing.TB, buffer int) (*Client, *Server) {
	t.Helper()
	s := NewServer(buffer)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	c := clientOf(t, "w", srv.Listener.Addr().String())
	must(t, c.Ready(t.Context()))
	return c, s
}

func clientOf(t testing.TB, name, addr string) *Client {
	c := NewClient(name, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	})
	t.Cleanup(c.Close)
	return c
}

// target answers by the number of the call: each seventh is a 503.
func target(t testing.TB) (url string, received *atomic.Int64) {
	t.Helper()
	received = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if received.Add(1)%7 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(srv.Close)
	return srv.URL, received
}

// soon is a start that leaves time for the order.
func soon(t testing.TB, c *Client) Start {
	t.Helper()
	k, err := c.Sync(t.Context())
	must(t, err)
	return Start{Clock: k, At: time.Now().Add(50 * time.Millisecond)}
}

func TestClock(t *testing.T) {
	c, s := serve(t, 0)
	k, err := c.Sync(t.Context())
	must(t, err)
	off := k.zero.Sub(s.started)
	t.Logf("off by %s, uncertain by %s", off, k.Uncertainty)
	if off.Abs() > k.Uncertainty || k.Uncertainty <= 0 || k.Uncertainty > 100*time.Millisecond {
		t.Errorf("the clock is off by %s, and said to be uncertain by %s", off, k.Uncertainty)
	}
}

// What a load by a worker leaves is what the same load leaves here, on the driver's time axis.
func TestALoadByAWorker(t *testing.T) {
	c, _ := serve(t, 0)
	url, received := target(t)
	base := time.Now().Add(-time.Hour)
	var sink calls
	var progress load.Progress
	start := soon(t, c)
	l, err := c.Run(t.Context(), start, load.Spec{
		URL: url, Connections: 3, Requests: 700, RequestID: true, Headers: []load.Header{{Name: "a", Value: "b"}},
		Find: []load.Find{{Name: "fine", Text: "ok"}}, Timeout: 5 * time.Second,
	}, load.Output{Base: base, Sink: &sink, Progress: &progress})
	must(t, err)
	if l.Count != 700 || len(sink.all) != 700 || received.Load() != 700 || l.Interrupted != "" || progress.Snapshot().Codes[503] != 100 {
		t.Errorf("%d calls, %d records, %d received, %+v", l.Count, len(sink.all), received.Load(), progress.Snapshot())
	}
	begins := start.At.Sub(base).Seconds()
	for _, q := range sink.all {
		if q.Start < begins-0.001 || q.Start > begins+5 || q.Found != "fine=1" || q.ID == "" {
			t.Fatalf("%+v, and the load began at %v", q, begins)
		}
	}
	if l.Start < begins-0.001 || l.Start > begins+0.1 {
		t.Errorf("the load began at %v instead of %v", l.Start, begins)
	}
}

func TestTwoWorkersStartTogether(t *testing.T) {
	url, _ := target(t)
	a, _ := serve(t, 0)
	b, _ := serve(t, 0)
	at := time.Now().Add(200 * time.Millisecond)
	first := make(chan float64, 2)
	for _, c := range []*Client{a, b} {
		k, err := c.Sync(t.Context())
		must(t, err)
		go func() {
			l, err := c.Run(t.Context(), Start{k, at}, load.Spec{URL: url, Connections: 1, Requests: 10}, load.Output{Base: at})
			if err != nil {
				t.Error(err)
			}
			first <- l.Start
		}()
	}
	if x, y := <-first, <-first; x < -0.001 || y < -0.001 || x > 0.1 || y > 0.1 {
		t.Errorf("they began %v s and %v s after the time", x, y)
	}
}

func TestOneLoadAtATime(t *testing.T) {
	c, _ := serve(t, 0)
	url, received := target(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan record.Load, 1)
	start := soon(t, c)
	var sink calls
	go func() {
		l, err := c.Run(ctx, start, load.Spec{URL: url, Connections: 1, Duration: time.Minute}, load.Output{Sink: &sink})
		if err != nil {
			t.Error(err)
		}
		done <- l
	}()
	for received.Load() == 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("nothing came")
		}
	}
	_, err := c.Run(t.Context(), soon(t, c), load.Spec{URL: url, Connections: 1, Requests: 1}, load.Output{})
	if err == nil || !strings.Contains(err.Error(), "worker w: it drives another load") {
		t.Errorf("the second load: %v", err)
	}
	var lost *LostError
	if errors.As(err, &lost) {
		t.Error("a worker that is busy is not lost")
	}
	at := time.Now()
	cancel(errors.New("enough"))
	l := <-done
	if took := time.Since(at); took > 500*time.Millisecond {
		t.Errorf("it took %s to end", took)
	}
	if l.Interrupted != "enough" || l.Count != int64(len(sink.all)) || l.Count > received.Load() || l.Count+l.Cut < received.Load() {
		t.Errorf("%d records, %d received, %+v", len(sink.all), received.Load(), l)
	}
	// The worker is free again.
	l, err = c.Run(t.Context(), soon(t, c), load.Spec{URL: url, Connections: 1, Requests: 1}, load.Output{})
	if err != nil || l.Count != 1 {
		t.Errorf("%+v, %v", l, err)
	}
}

// A worker that may keep little breaks its load off instead of slowing it down, when nobody takes its calls.
func TestAClientThatIsTooSlow(t *testing.T) {
	c, _ := serve(t, 64<<10)
	url, received := target(t)
	blocked := make(chan struct{})
	slow := &blocking{until: blocked}
	go func() { // until the load is broken off, so that no more calls come
		defer close(blocked)
		for last := int64(0); ; last = received.Load() {
			select {
			case <-time.After(500 * time.Millisecond):
			case <-t.Context().Done():
				return
			}
			if last > 0 && received.Load() == last {
				return
			}
		}
	}()
	// Long records fill what the kernel keeps for the connection, however much that is.
	l, err := c.Run(t.Context(), soon(t, c), load.Spec{
		URL: url, Connections: 8, Duration: time.Minute, RequestID: true, Find: []load.Find{{Name: strings.Repeat("x", 4000), Text: "ok"}},
	}, load.Output{Sink: slow})
	if err == nil || !strings.Contains(err.Error(), "were not taken as fast as they were made") || l.Count != slow.n {
		t.Errorf("%d calls, %+v, %v", slow.n, l, err)
	}
}

type blocking struct {
	until chan struct{}
	n     int64
}

func (b *blocking) Request(record.Request) {
	b.n++
	if b.n > 100 {
		<-b.until
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	c, s := serve(t, 0)
	start := soon(t, c)
	for want, edit := range map[string]func(*Start, *load.Spec){
		"connections: must be at least 1": func(_ *Start, l *load.Spec) { l.Connections = 0 },
		"the order came too late":         func(k *Start, _ *load.Spec) { k.At = time.Now().Add(-time.Second) },
		"a worker waits 1m0s at most":     func(k *Start, _ *load.Spec) { k.At = time.Now().Add(time.Hour) },
		"the worker was started anew":     func(k *Start, _ *load.Spec) { k.Clock.process = "another" },
		"ca: it holds no certificate":     func(_ *Start, l *load.Spec) { l.TLS = &load.TLS{CA: []byte("x")} },
	} {
		k, l := start, load.Spec{URL: "http://127.0.0.1:1", Connections: 1, Requests: 1}
		k.At = time.Now().Add(20 * time.Millisecond)
		edit(&k, &l)
		_, err := c.Run(t.Context(), k, l, load.Output{})
		if err == nil || !strings.Contains(err.Error(), "worker w: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want …%s…", err, want)
		}
	}
	if !s.busy.TryLock() {
		t.Error("the worker is still busy")
	}
}

func TestSignInAtTheWorker(t *testing.T) {
	c, _ := serve(t, 0)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: r.FormValue("user")})
	}))
	defer srv.Close()
	in := load.SignIn{URL: srv.URL, Form: map[string]string{"user": "me"}, TLS: &load.TLS{Insecure: true}}
	got, err := c.SignIn(t.Context(), in, load.Spec{URL: srv.URL + "/x"})
	if err != nil || !slices.Equal(got, []load.Header{{Name: "Cookie", Value: "session=me"}}) {
		t.Errorf("%v, %v", got, err)
	}
	in.URL += "/no"
	if _, err = c.SignIn(t.Context(), in, load.Spec{URL: srv.URL}); err == nil || !strings.Contains(err.Error(), "worker w: sign in at "+in.URL+": it answered 403") {
		t.Errorf("%v", err)
	}
}

// process starts the real worker and returns its address.
func process(t *testing.T, program string) (addr string, cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.Command(program, "-port", "0")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return strings.TrimSpace(strings.TrimPrefix(line, "listening at ")), cmd
}

func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "squall-worker")
	if out, err := exec.Command("go", "build", "-o", path, "squall/cmd/squall-worker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// A worker that is killed, or told to stop, in the middle of a load is lost, and what it told of before is there.
func TestAWorkerThatEnds(t *testing.T) {
	exe := program(t)
	for signal, want := range map[os.Signal]string{os.Kill: "EOF", os.Interrupt: "the worker was told to stop"} {
		t.Run(signal.String(), func(t *testing.T) {
			addr, cmd := process(t, exe)
			c := clientOf(t, "squall-load-1", addr)
			url, received := target(t)
			ended := make(chan time.Time, 1)
			go func() {
				for received.Load() < 500 {
					<-time.After(time.Millisecond)
				}
				ended <- time.Now()
				_ = cmd.Process.Signal(signal)
			}()
			var sink calls
			l, err := c.Run(t.Context(), soon(t, c), load.Spec{URL: url, Connections: 2, Requests: 1e6}, load.Output{Sink: &sink})
			took := time.Since(<-ended)
			var lost *LostError
			if !errors.As(err, &lost) || lost.Worker != "squall-load-1" || !strings.Contains(err.Error(), "worker squall-load-1 was lost: ") {
				t.Fatalf("%+v, %v", l, err)
			}
			t.Logf("after %s: %v", took, err)
			if !strings.Contains(err.Error(), want) && want != "EOF" || took > 2*time.Second {
				t.Errorf("after %s: %v", took, err)
			}
			if l.Count != int64(len(sink.all)) || l.Count == 0 || l.Count > received.Load() || l.Interrupted == "" {
				t.Errorf("%d records, %d received, %+v", len(sink.all), received.Load(), l)
			}
			if signal == os.Interrupt {
				if err := cmd.Wait(); err != nil {
					t.Errorf("the worker ended with %v", err)
				}
			}
			if err := c.Ready(t.Context()); !errors.As(err, &lost) {
				t.Errorf("a worker that is gone answers: %v", err)
			}
		})
	}
}

// A worker that is lost before it has said anything of its load is lost as any other: of the load it is known that it was ordered.
func TestAWorkerThatIsLostAtOnce(t *testing.T) {
	addr, cmd := process(t, program(t))
	c := clientOf(t, "squall-load-1", addr)
	at := soon(t, c)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	l, err := c.Run(t.Context(), at, load.Spec{URL: "http://127.0.0.1:9/", Connections: 2, Requests: 100}, load.Output{})
	var lost *LostError
	if !errors.As(err, &lost) || l.URL == "" || l.Asked != 100 || l.Count != 0 || !strings.Contains(l.Interrupted, "worker squall-load-1 was lost") {
		t.Errorf("%+v, %v", l, err)
	}
}

// A client that is gone takes its load with it.
func TestAClientThatIsGone(t *testing.T) {
	s := NewServer(0)
	srv := httptest.NewServer(s)
	defer srv.Close()
	url, received := target(t)
	var mu sync.Mutex
	var conns []net.Conn
	c := NewClient("w", func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", srv.Listener.Addr().String())
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, conn)
		return conn, err
	})
	defer c.Close()
	go func() {
		for received.Load() < 100 {
			<-time.After(time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	_, err := c.Run(t.Context(), soon(t, c), load.Spec{URL: url, Connections: 2, Duration: time.Minute}, load.Output{})
	var lost *LostError
	if !errors.As(err, &lost) {
		t.Fatal(err)
	}
	deadline := time.After(2 * time.Second)
	for !s.busy.TryLock() {
		select {
		case <-deadline:
			t.Fatal("the load goes on without its client")
		case <-time.After(time.Millisecond):
		}
	}
}

// The divided load is the load: the same number of calls with the same answers, and each latency is there, whatever the number of
// workers.
func TestTheMergeIsExact(t *testing.T) {
	counts := map[int]map[int]int{}
	for _, n := range []int{1, 2, 4} {
		url, received := target(t)
		whole := load.Spec{URL: url, Connections: 8, Requests: 1001, Seed: 7}
		var sink calls
		var each [][]float64
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i, part := range whole.Split(n) {
			c, _ := serve(t, 0)
			start := soon(t, c)
			wg.Go(func() {
				mine := &calls{}
				if _, err := c.Run(t.Context(), start, part, load.Output{Sink: mine}); err != nil {
					t.Errorf("worker %d: %v", i, err)
				}
				mu.Lock()
				defer mu.Unlock()
				var l []float64
				for _, q := range mine.all {
					sink.Request(q)
					l = append(l, q.Latency)
				}
				each = append(each, l)
			})
		}
		wg.Wait()
		counts[n] = map[int]int{}
		var merged []float64
		for _, q := range sink.all {
			counts[n][q.Code]++
			merged = append(merged, q.Latency)
		}
		all := slices.Concat(each...)
		slices.Sort(all)
		slices.Sort(merged)
		if received.Load() != 1001 || !slices.Equal(all, merged) || len(merged) != 1001 {
			t.Errorf("%d workers: %d received, %d of %d latencies", n, received.Load(), len(merged), len(all))
		}
	}
	if fmt.Sprint(counts[1]) != "map[200:858 503:143]" || fmt.Sprint(counts[2]) != fmt.Sprint(counts[1]) || fmt.Sprint(counts[4]) != fmt.Sprint(counts[1]) {
		t.Errorf("the answers by workers are %v", counts)
	}
}

// Whatever a worker sends is a load that is whole, or an error: never a panic, and never a short load that looks whole.
func FuzzFollow(f *testing.F) {
	end := `{"end":{"load":{"url":"u","protocol":"http/1.1","connections":1,"count":1},"lines":1}}` + "\n"
	call := `{"t":0.1,"lat":0.2,"code":200,"conn":0,"bytes":2}` + "\n"
	for _, s := range []string{call + end, end, call + call + end, call, call[:20], "{}\n", `{"alive":{"calls":1}}` + "\n" + call + end, "null\n", `{"t":1}` + "\n", "\n", `{"end":{"lines":0,"load":{"count":-1}}}` + "\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var sink calls
		fo := &follower{out: load.Output{Sink: &sink, Progress: &load.Progress{}}, cut: func(error) {}, requests: record.NewRequestReader()}
		e, err := fo.follow(strings.NewReader(string(b)))
		if (e == nil) != (err != nil) && err == nil {
			t.Fatal("neither an end nor an error")
		}
		if err == nil && (e.Lines != int64(len(sink.all)) || e.Error == "" && e.Load.Count != e.Lines) {
			t.Fatalf("%d records are taken for %+v", len(sink.all), e)
		}
	})
}

// Whatever is ordered is a load that is valid, or refused: no order makes the worker panic or call without a check.
func FuzzReadLoad(f *testing.F) {
	s := NewServer(0)
	good, err := json.Marshal(loadRequest{Process: s.process, At: time.Second, Spec: specOf(load.Spec{
		URL: "http://a", Connections: 1, Requests: 1, Find: []load.Find{{Name: "a", Regex: "x"}}, Headers: []load.Header{{Name: "a", Value: "b"}}, TLS: &load.TLS{Insecure: true},
	})})
	must(f, err)
	for _, b := range []string{string(good), "{}", "null", "[]", `{"spec":{"URL":5}}`, `{"at":1e99}`, `{"spec":{"trust":{"ca":"eA=="}}}`} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		req, code, err := s.readLoad(strings.NewReader(string(b)))
		if (err != nil) != (code != 0) {
			t.Fatalf("%v with %d", err, code)
		}
		if err == nil && req.Spec.load().Validate() != nil {
			t.Fatalf("%+v is taken", req.Spec)
		}
	})
}
