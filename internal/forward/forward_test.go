package forward

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// echo is a server that says its name, then what it is told, until the caller has said its last.
func echo(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	l := listen(t)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.WriteString(c, name)
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// free is an address where nobody listens.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	l := listen(t)
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func call(at netip.AddrPort, text string) (string, error) {
	c, err := net.DialTimeout("tcp", at.String(), 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func set(t *testing.T, f *Forwarder, at netip.AddrPort, backs ...netip.AddrPort) {
	t.Helper()
	if err := f.Set(map[netip.AddrPort][]netip.AddrPort{at: backs}); err != nil {
		t.Fatal(err)
	}
}

func forwarder(t *testing.T) *Forwarder {
	f := New(t.Context())
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestForward(t *testing.T) {
	a, b, at, f := echo(t, "a"), echo(t, "b"), free(t), forwarder(t)
	set(t, f, at, a, b)
	seen := map[string]int{}
	for range 64 {
		got, err := call(at, " hello")
		if err != nil {
			t.Fatal(err)
		}
		seen[got]++
	}
	if len(seen) != 2 || seen["a hello"] == 0 || seen["b hello"] == 0 {
		t.Errorf("answers: %v", seen)
	}
	set(t, f, at, b)
	for range 16 {
		if got, err := call(at, ""); got != "b" || err != nil {
			t.Fatalf("after the change: %q, %v", got, err)
		}
	}
}

func TestWithoutABack(t *testing.T) {
	at, f := free(t), forwarder(t)
	set(t, f, at)
	if _, err := call(at, ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("an address without a back: %v", err)
	}
	set(t, f, at, free(t))
	if _, err := call(at, ""); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a back that does not listen: %v", err)
	}
	set(t, f, at, echo(t, "a"))
	if got, err := call(at, ""); got != "a" || err != nil {
		t.Errorf("a back that came: %q, %v", got, err)
	}
	set(t, f, at)
	if _, err := call(at, ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a back that went: %v", err)
	}
}

// An address that is taken is an error, and is tried again.
func TestTaken(t *testing.T) {
	l, f, back := listen(t), forwarder(t), echo(t, "a")
	at := netip.MustParseAddrPort(l.Addr().String())
	want := map[netip.AddrPort][]netip.AddrPort{at: {back}}
	if err := f.Set(want); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("taken: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	set(t, f, at, back)
	if got, err := call(at, ""); got != "a" || err != nil {
		t.Errorf("free again: %q, %v", got, err)
	}
}

// Connections outlive a change of their address and end with the forwarder.
func TestClose(t *testing.T) {
	at, f := free(t), forwarder(t)
	set(t, f, at, echo(t, "a"))
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	set(t, f, at)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "x" {
		t.Fatalf("after the address went: %q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after Close: %v", err)
	}
}
