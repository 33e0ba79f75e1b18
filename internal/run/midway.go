package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"squall/internal/plan"
)

// midway tells when a share of a load is done.
type midway struct {
	want    int64 // requests; 0 is that the load is one of time
	after   time.Duration
	n       atomic.Int64
	begun   chan time.Time // takes when the load begins, once
	reached chan struct{}  // closed at the want-th request
}

// newMidway is nil for a phase whose changes are live before its load.
func newMidway(p *plan.Phase) *midway {
	if p.ApplyAt == 0 {
		return nil
	}
	m := &midway{begun: make(chan time.Time, 1), reached: make(chan struct{}), after: time.Duration(p.ApplyAt * float64(p.Load.Duration))}
	if p.Load.Requests > 0 {
		m.want = max(1, int64(math.Ceil(p.ApplyAt*float64(p.Load.Requests))))
	}
	return m
}

// count takes note of one finished request.
func (m *midway) count() {
	if m != nil && m.want > 0 && m.n.Add(1) == m.want {
		close(m.reached)
	}
}

// begin takes note of when the load begins.
func (m *midway) begin(at time.Time) {
	if m != nil {
		m.begun <- at
	}
}

// await returns when the share is done, or with an error when the load ended before.
func (m *midway) await(loadDone <-chan struct{}) error {
	var elapsed <-chan time.Time
	begun := m.begun
	if m.want > 0 {
		begun = nil
	}
	for {
		select {
		case at := <-begun:
			timer := time.NewTimer(time.Until(at.Add(m.after)))
			defer timer.Stop()
			elapsed = timer.C
			continue
		case <-m.reached:
		case <-elapsed:
		case <-loadDone:
			select {
			case <-m.reached: // by the last request
			default:
				return errors.New("the load ended before its changes were to be made")
			}
		}
		return nil
	}
}

// change is what is made of the mesh while a load runs.
type change struct {
	done chan struct{} // closed when the changes are live, or failed
	at   float64       // when that was, in seconds of the run
	err  error         // why they are not live
}

// applyMidway makes the phase's changes when the share of the load is done, and breaks the load off when that fails. For a phase whose
// changes are live before its load there is nothing left to do.
func (r *runner) applyMidway(ctx context.Context, cancel context.CancelCauseFunc, p *plan.Phase, m *midway, loadDone <-chan struct{}) *change {
	c := &change{done: make(chan struct{})}
	if m == nil {
		close(c.done)
		return c
	}
	go func() {
		defer func() {
			c.at = r.since()
			close(c.done)
		}()
		err := r.guarded(func() error {
			if err := m.await(loadDone); err != nil {
				return err
			}
			return r.apply(ctx, p)
		})
		if err != nil {
			c.err = fmt.Errorf("change under load: %w", err)
			cancel(c.err)
		}
	}()
	return c
}

// wait returns when the changes are live, or why they are not.
func (c *change) wait() error {
	<-c.done
	return c.err
}

// lateChange is why a load shows nothing of changes that were made under it.
const lateChange = "the load ended before its changes were live"

// endChange waits for the phase's changes, and notes what its actions did. The load ended then, in seconds of the run: late is why it shows
// nothing of changes that were live only after that.
func (r *runner) endChange(ctx context.Context, p *plan.Phase, c *change, ended float64) (late string, err error) {
	if err := c.wait(); err != nil {
		return "", err
	}
	if c.at > ended {
		late = lateChange
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), gatherWithin, fmt.Errorf("not within %s", gatherWithin))
	defer cancel()
	return late, r.effects(ctx, p, late)
}
