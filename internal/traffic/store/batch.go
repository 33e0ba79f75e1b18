package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"squall/internal/traffic"
)

// Outcome is what became of a batch: the numbers add up to its length, or to less by what is pending elsewhere.
type Outcome struct {
	Stored, Duplicates uint64
	Dropped            map[string]uint64
}

// BatchOptions are how records are put together.
type BatchOptions struct {
	Size  int           // of a batch, in records
	Queue int           // how many may wait; more than Size
	Every time.Duration // how long a record waits for others at most
	// Write stores a batch, waits if it has to, and says what became of it. Its context ends when Close gives up.
	Write func(ctx context.Context, batch []traffic.Record) Outcome
}

// Batcher collects records and hands them on by the batch, one at a time. Its memory is bounded: Put waits when the queue is full.
type Batcher struct {
	opts BatchOptions

	mu      sync.Mutex
	account Account
	queue   []traffic.Record
	spare   []traffic.Record
	closed  bool
	hurry   bool
	changed chan struct{} // closed and replaced when something changed
	wake    chan struct{}

	cancel context.CancelFunc
	done   chan struct{}
}

// NewBatcher starts one, which Close ends.
func NewBatcher(ctx context.Context, opts BatchOptions) *Batcher {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &Batcher{opts: opts, changed: make(chan struct{}), wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go b.run(ctx)
	return b
}

// Put queues records, and waits while there is no room.
func (b *Batcher) Put(ctx context.Context, records []traffic.Record) error {
	for len(records) > 0 {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return ErrClosed
		}
		n := min(len(records), b.opts.Queue-len(b.queue))
		b.queue = append(b.queue, records[:n]...)
		b.account.Received += uint64(n)
		b.account.Pending += uint64(n)
		changed, full := b.changed, len(b.queue) >= b.opts.Size
		first := len(b.queue) == n
		b.mu.Unlock()
		if records = records[n:]; full || first {
			b.signal()
		}
		if len(records) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
	return context.Cause(ctx)
}

func (b *Batcher) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Flush waits until what was put before is no longer pending.
func (b *Batcher) Flush(ctx context.Context) error {
	b.mu.Lock()
	goal := b.account.Received
	b.hurry = true
	b.mu.Unlock()
	b.signal()
	for {
		b.mu.Lock()
		done, changed := b.account.Received-b.account.Pending >= goal, b.changed
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("records are still pending: %w", context.Cause(ctx))
		case <-changed:
		case <-b.done:
			return ErrClosed
		}
	}
}

// Account returns the numbers as they are now.
func (b *Batcher) Account() Account {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.account
	a.Dropped = nil
	for reason, n := range b.account.Dropped {
		if a.Dropped == nil {
			a.Dropped = map[string]uint64{}
		}
		a.Dropped[reason] = n
	}
	return a
}

// Settle books an outcome of records that Write left pending. It may be used by many at once.
func (b *Batcher) Settle(o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := o.Stored + o.Duplicates
	b.account.Stored += o.Stored
	b.account.Duplicates += o.Duplicates
	for reason, dropped := range o.Dropped {
		if dropped == 0 {
			continue
		}
		if b.account.Dropped == nil {
			b.account.Dropped = map[string]uint64{}
		}
		b.account.Dropped[reason] += dropped
		n += dropped
	}
	b.account.Pending -= n
	close(b.changed)
	b.changed = make(chan struct{})
}

// Note changes what the account says beside the numbers of records.
func (b *Batcher) Note(change func(*Account)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.account)
}

// Close takes no more records, and waits for those that are pending until ctx is done. What is queued then is dropped.
func (b *Batcher) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		<-b.done
		return nil
	}
	b.closed = true
	close(b.changed) // wakes those that wait in Put
	b.changed = make(chan struct{})
	b.mu.Unlock()
	flushed := b.Flush(ctx)
	b.cancel()
	<-b.done
	b.mu.Lock()
	left := uint64(len(b.queue))
	b.queue = nil
	b.mu.Unlock()
	if left == 0 {
		return flushed
	}
	b.Settle(Outcome{Dropped: map[string]uint64{"closed": left}})
	return errors.Join(flushed, fmt.Errorf("%d records were dropped: there was no time left to store them", left))
}

// run hands batches on until it is told to end.
func (b *Batcher) run(ctx context.Context) {
	defer close(b.done)
	timer := time.NewTimer(b.opts.Every)
	defer timer.Stop()
	due := false
	for {
		batch := b.take(due)
		if batch == nil {
			due = false
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				due = true
			case <-b.wake:
				timer.Reset(b.opts.Every)
			}
			continue
		}
		due = false
		for part := range chunks(batch, b.opts.Size) {
			b.Settle(b.opts.Write(ctx, part))
		}
		clear(batch)
		b.mu.Lock()
		b.spare = batch[:0]
		b.mu.Unlock()
	}
}

func chunks(batch []traffic.Record, size int) func(func([]traffic.Record) bool) {
	return func(yield func([]traffic.Record) bool) {
		for len(batch) > 0 {
			n := min(size, len(batch))
			if !yield(batch[:n]) {
				return
			}
			batch = batch[n:]
		}
	}
}

// take returns what is queued if it is time to store it.
func (b *Batcher) take(due bool) []traffic.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.hurry = false
		return nil
	}
	if !due && !b.hurry && len(b.queue) < b.opts.Size {
		return nil
	}
	batch := b.queue
	b.queue, b.hurry = b.spare[:0], false
	close(b.changed)
	b.changed = make(chan struct{})
	return batch
}
