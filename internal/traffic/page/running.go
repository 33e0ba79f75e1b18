package page

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"squall/internal/traffic/store"
)

// lastLook is how long the page waits at the end of the run for those who watch: a browser loads the last state, and leaves.
const lastLook = time.Second

// Running is the page of a run under way. It is served from before the run has a store until End. A nil one is none.
type Running struct {
	page   *Page
	late   *late
	stop   context.CancelFunc
	served chan error
	once   sync.Once
}

// Start serves a page at a listener until End. Options have no Reader: until Use there is none, and the page says so with the status 503.
func Start(ctx context.Context, l net.Listener, opts Options) (*Running, error) {
	r := &Running{late: &late{}, served: make(chan error, 1)}
	opts.Reader = r.late
	var err error
	if r.page, err = New(opts); err != nil {
		return nil, err
	}
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx)) // a run that a signal ends goes on until all is taken back
	go func() { r.served <- Serve(ctx, l, r.page) }()
	return r, nil
}

// Use shows what a store has, from now on.
func (r *Running) Use(s store.Reader) {
	if r != nil {
		r.late.use(s)
	}
}

// End tells those who watch that the run has ended, and ends the page. It takes about 10 s at most, whatever they do. Afterwards the store is
// not read any more, unless the error says so. Only the first End does anything.
func (r *Running) End(ctx context.Context) (err error) {
	if r != nil {
		r.once.Do(func() { err = r.end(ctx) })
	}
	return err
}

func (r *Running) end(ctx context.Context) error {
	text := r.page.opts.Ended
	if !r.late.used() {
		text = "The run has ended before it had a store of interface traffic."
	}
	looking, cancel := context.WithTimeout(ctx, lastLook)
	defer cancel()
	r.page.live.finish(looking, text)
	select {
	case <-r.page.live.idle():
	case <-looking.Done():
	}
	r.stop()
	served := <-r.served // Serve is bounded
	return errors.Join(served, r.late.leave(ctx))
}
