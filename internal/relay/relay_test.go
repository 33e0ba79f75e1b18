package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// served is a relay and how it is reached.
type served struct {
	front, back string
	stop        func()
}

func serve(t *testing.T) served {
	t.Helper()
	var lc net.ListenConfig
	front, err1 := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	back, err2 := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, errors.Join(err1, err2))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, front, back) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return served{front.Addr().String(), back.Addr().String(), stop}
}

func listen(t *testing.T, s served) *Listener {
	t.Helper()
	l := Listen(t.Context(), func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", s.back) })
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

func call(t *testing.T, s served) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.front)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// echo answers each caller with what it says, until the listener is closed.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

func says(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != text {
		return fmt.Errorf("%q came back as %q", text, b)
	}
	return nil
}

// Many callers at once, more than connections are held ready, each has its own.
func TestCallers(t *testing.T) {
	s := serve(t)
	l := listen(t, s)
	go echo(l)
	var wg sync.WaitGroup
	for i := range 40 {
		c := call(t, s)
		wg.Go(func() {
			for j := range 20 {
				if err := says(c, fmt.Sprintf("caller %d, %d", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// A caller that comes before anybody listens waits; one whose connection back is gone gets another.
func TestLater(t *testing.T) {
	s := serve(t)
	dead, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.back)
	must(t, err)
	must(t, dead.(*net.TCPConn).SetLinger(0))
	must(t, dead.Close())
	c := call(t, s)
	go echo(listen(t, s))
	if err := says(c, "late"); err != nil {
		if err = says(call(t, s), "again"); err != nil { // the first was paired with what had just died
			t.Error(err)
		}
	}
}

func TestEnds(t *testing.T) {
	s := serve(t)
	l := listen(t, s)
	got := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			got <- c
		}
	}()
	c := call(t, s)
	other := <-got
	must(t, c.Close())
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%v: the end of a caller is not seen", err)
	}
	must(t, l.Close())
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	s.stop()
	if _, err := net.Dial("tcp", s.front); err == nil {
		t.Error("the relay ended, and its front still listens")
	}
}
