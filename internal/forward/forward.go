// Package forward takes TCP connections at some addresses and splices each to one of a few others, as kube-proxy does for the
// cluster IPs of Services.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConns is how many connections are spliced at a time; further ones wait to be taken.
	maxConns = 4096
	// dialTime is how long an endpoint may take to answer.
	dialTime = 5 * time.Second
	// acceptAgain is before another try after a connection could not be taken.
	acceptAgain = 10 * time.Millisecond
)

// Forwarder listens at the addresses that Set names. Its zero value is not usable; see New.
type Forwarder struct {
	done    <-chan struct{} // closed by Close
	cancel  context.CancelFunc
	dial    func(to netip.AddrPort) (net.Conn, error) // until Close
	onClose func(func()) (forget func() bool)
	slots   chan struct{}
	wg      sync.WaitGroup

	mu     sync.Mutex
	fronts map[netip.AddrPort]*front
}

// front is one address.
type front struct {
	listener net.Listener
	backs    atomic.Pointer[[]netip.AddrPort] // never empty
}

// New makes a forwarder that listens nowhere yet and lives until Close, or until ctx ends.
func New(ctx context.Context) *Forwarder {
	ctx, cancel := context.WithCancel(ctx)
	d := net.Dialer{Timeout: dialTime}
	return &Forwarder{
		done: ctx.Done(), cancel: cancel, slots: make(chan struct{}, maxConns), fronts: map[netip.AddrPort]*front{},
		dial:    func(to netip.AddrPort) (net.Conn, error) { return d.DialContext(ctx, "tcp", to.String()) },
		onClose: func(f func()) func() bool { return context.AfterFunc(ctx, f) },
	}
}

// Set makes the forwarder listen at the keys of want and at no other address, and lead each connection from now on to one of the
// address's values, at random. An address without values refuses connections. Connections that are there live on. The error joins
// those of addresses where it cannot listen; the next Set tries them again.
func (f *Forwarder) Set(want map[netip.AddrPort][]netip.AddrPort) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.done:
		return nil
	default:
	}
	errs := []error{f.shut(func(at netip.AddrPort) bool { return len(want[at]) == 0 })}
	for _, at := range slices.SortedFunc(maps.Keys(want), netip.AddrPort.Compare) { // so that the same error has the same text
		backs := want[at]
		switch n := f.fronts[at]; {
		case n != nil:
			n.backs.Store(&backs)
		case len(backs) > 0:
			errs = append(errs, f.open(at, backs))
		}
	}
	return errors.Join(errs...)
}

// shut stops listening at some addresses.
func (f *Forwarder) shut(which func(netip.AddrPort) bool) error {
	var errs []error
	for at, n := range f.fronts {
		if which(at) {
			errs = append(errs, n.listener.Close())
			delete(f.fronts, at)
		}
	}
	return errors.Join(errs...)
}

// open listens at an address.
func (f *Forwarder) open(at netip.AddrPort, backs []netip.AddrPort) error {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	n := &front{listener: l}
	n.backs.Store(&backs)
	f.fronts[at] = n
	f.wg.Go(func() { f.accept(n) })
	return nil
}

// accept serves an address until its listener is closed.
func (f *Forwarder) accept(n *front) {
	for {
		c, err := n.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as no file left for it
			select {
			case <-time.After(acceptAgain):
			case <-f.done:
			}
			continue
		}
		select {
		case f.slots <- struct{}{}:
		case <-f.done:
			reset(c)
			return
		}
		f.wg.Go(func() {
			defer func() { <-f.slots }()
			f.serve(c, *n.backs.Load())
		})
	}
}

// serve splices a connection to one of the backs, until both sides have said their last or Close.
func (f *Forwarder) serve(c net.Conn, backs []netip.AddrPort) {
	back, err := f.dial(backs[rand.IntN(len(backs))])
	if err != nil {
		reset(c)
		return
	}
	stop := f.onClose(func() {
		reset(c)
		reset(back)
	})
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		flow(back, c)
	}()
	flow(c, back)
	<-done
	_, _ = c.Close(), back.Close() // both directions have ended
}

// flow copies what one side says to the other. A side that breaks breaks the other.
func flow(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		reset(to)
		reset(from)
		return
	}
	if t, ok := to.(*net.TCPConn); ok {
		_ = t.CloseWrite() // it fails when the other direction broke the connection
	}
}

// reset ends a connection so that the other side sees that it broke.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // a connection that is closed already stays so
	}
	_ = c.Close()
}

// Close stops listening, breaks all connections and waits for their end. It may be called again.
func (f *Forwarder) Close() error {
	f.mu.Lock()
	f.cancel()
	err := f.shut(func(netip.AddrPort) bool { return true })
	f.mu.Unlock()
	f.wg.Wait()
	return err
}
