package page

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"squall/internal/traffic/store"
)

const leaveWithin = 5 * time.Second // a store that does not heed the end of a question

var (
	errNotYet = errors.New("the store of interface traffic is not there yet: it is opened when the run has what it needs. This page looks again by itself")
	errGone   = errors.New("the run has ended, and its store is closed")
)

// late is the store of a run: it comes after its page, and goes before it.
type late struct {
	mu     sync.Mutex
	reader store.Reader
	gone   bool
	next   int
	under  map[int]context.CancelFunc // questions under way
	reads  sync.WaitGroup
}

var _ store.Reader = (*late)(nil)

// use has the store answer from now on.
func (l *late) use(r store.Reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reader = r
}

func (l *late) used() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reader != nil
}

// begin is a question to the store, which done ends.
func (l *late) begin(ctx context.Context) (reader store.Reader, asking context.Context, done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil, nil, nil, errGone
	}
	if l.reader == nil {
		return nil, nil, nil, errNotYet
	}
	asking, cancel := context.WithCancel(ctx)
	if l.under == nil {
		l.under = map[int]context.CancelFunc{}
	}
	id := l.next
	l.next++
	l.under[id] = cancel
	l.reads.Add(1)
	return l.reader, asking, func() {
		cancel()
		l.mu.Lock()
		delete(l.under, id)
		l.mu.Unlock()
		l.reads.Done()
	}, nil
}

// leave asks the store nothing more, breaks off what is under way, and waits for its end. An error says that the store may still be read.
func (l *late) leave(ctx context.Context) error {
	l.mu.Lock()
	l.gone = true
	quiet := len(l.under) == 0
	for _, cancel := range l.under {
		cancel()
	}
	l.mu.Unlock()
	if quiet {
		return nil
	}
	left := make(chan struct{})
	go func() {
		l.reads.Wait()
		close(left)
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, leaveWithin, fmt.Errorf("not within %s", leaveWithin))
	defer cancel()
	select {
	case <-left:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a question to the store of interface traffic does not end: %w", context.Cause(ctx))
	}
}

// Groups is the store's.
func (l *late) Groups(ctx context.Context, f store.Filter, by ...store.Dimension) ([]store.Group, error) {
	r, ctx, done, err := l.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return r.Groups(ctx, f, by...)
}

// Timeline is the store's.
func (l *late) Timeline(ctx context.Context, f store.Filter, n int, by ...store.Dimension) ([]store.Timeline, error) {
	r, ctx, done, err := l.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return r.Timeline(ctx, f, n, by...)
}

// List is the store's.
func (l *late) List(ctx context.Context, f store.Filter, p store.Page) (store.Listing, error) {
	r, ctx, done, err := l.begin(ctx)
	if err != nil {
		return store.Listing{}, err
	}
	defer done()
	return r.List(ctx, f, p)
}
