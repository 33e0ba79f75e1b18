// Package relay brings the TCP connections that are made to a pod to a process that the pod cannot reach, but that can reach into the pod
// by a port-forward. Serve runs in the pod; a Listener takes the connections where the process is.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	spare           = 4                      // connections that a Listener holds ready for callers to come
	maxIdle         = 64                     // that Serve keeps
	takeWithin      = 10 * time.Second       // a caller waits so long for a connection back
	dialAgain       = 200 * time.Millisecond // after one that could not be made
	called     byte = 1                      // tells the other side that a caller has come
)

// Serve takes callers at front, and pairs each with a connection that was made to back before. It ends with ctx, and closes both listeners.
func Serve(ctx context.Context, front, back net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := make(chan net.Conn, maxIdle)
	stop := context.AfterFunc(ctx, func() { _, _ = front.Close(), back.Close() })
	defer stop()
	var wg sync.WaitGroup
	errs := make([]error, 2)
	wg.Go(func() {
		errs[0] = accept(ctx, back, func(c net.Conn) {
			select {
			case idle <- c:
			default:
				_ = c.Close() // there are enough
			}
		})
		cancel()
	})
	wg.Go(func() {
		errs[1] = accept(ctx, front, func(c net.Conn) { wg.Go(func() { pair(ctx, c, idle) }) })
		cancel()
	})
	wg.Wait()
	close(idle)
	for c := range idle {
		_ = c.Close() // nobody waits for it
	}
	return errors.Join(errs...)
}

func accept(ctx context.Context, l net.Listener, take func(net.Conn)) error {
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close() // it came too late
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept at %s: %w", l.Addr(), err)
		}
		take(c)
	}
}

// pair joins a caller with a connection that is still there. A caller for whom there is none is closed.
func pair(ctx context.Context, caller net.Conn, idle <-chan net.Conn) {
	wait, cancel := context.WithTimeout(ctx, takeWithin)
	defer cancel()
	for {
		select {
		case <-wait.Done():
			_ = caller.Close() // it sees that nobody is there
			return
		case c := <-idle:
			if _, err := c.Write([]byte{called}); err != nil {
				_ = c.Close() // its other side is gone
				continue
			}
			splice(ctx, caller, c)
			return
		}
	}
}

// splice copies both ways until one side has ended, or ctx.
func splice(ctx context.Context, a, b net.Conn) {
	end := func() { _, _ = a.Close(), b.Close() }
	stop := context.AfterFunc(ctx, end)
	defer stop()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // how a connection ended is seen at its ends
			end()
		})
	}
	wg.Wait()
}

// Listener takes the connections that are made to a relay's front.
type Listener struct {
	ctx    context.Context //nolint:containedctx // of the connections that it holds ready
	cancel context.CancelCauseFunc
	dial   func(ctx context.Context) (net.Conn, error)
	conns  chan net.Conn
	wg     sync.WaitGroup
	once   sync.Once
}

var _ net.Listener = (*Listener)(nil)

// Listen connects to a relay's back by dial, again and again while it is not there yet. The Listener lives until Close.
func Listen(ctx context.Context, dial func(ctx context.Context) (net.Conn, error)) *Listener {
	l := &Listener{dial: dial, conns: make(chan net.Conn)}
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	for range spare {
		l.wg.Go(l.offer)
	}
	return l
}

// offer holds one connection ready at a time.
func (l *Listener) offer() {
	for l.ctx.Err() == nil {
		c, err := l.dial(l.ctx)
		if err != nil {
			timer := time.NewTimer(dialAgain)
			select {
			case <-l.ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		if !l.awaitCaller(c) {
			_ = c.Close() // the relay is gone, or the listener
			continue
		}
		select {
		case l.conns <- c:
		case <-l.ctx.Done():
			_ = c.Close() // nobody takes it any more
		}
	}
}

func (l *Listener) awaitCaller(c net.Conn) bool {
	stop := context.AfterFunc(l.ctx, func() { _ = c.Close() })
	defer stop()
	var b [1]byte
	_, err := io.ReadFull(c, b[:])
	return err == nil && b[0] == called && l.ctx.Err() == nil
}

// Accept waits for the next caller.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close takes no more callers. Those that were taken stay.
func (l *Listener) Close() error {
	l.once.Do(func() { l.cancel(net.ErrClosed) })
	l.wg.Wait()
	return nil
}

// Addr names the relay.
func (l *Listener) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "relay" }
func (address) String() string  { return "the relay" }
