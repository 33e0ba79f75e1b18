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
	reached chan struct{} // closed at the want-th request
}

// newMidway is nil for a phase whose changes are live before its load.
func newMidway(p *plan.Phase) *midway {
	if p.ApplyAt == 0 {
		return nil
	}
	m := &midway{reached: make(chan struct{}), after: time.Duration(p.ApplyAt * float64(p.Load.Duration))}
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

// await returns when the share is done, or with an error when the load ended before.
func (m *midway) await(loadDone <-chan struct{}) error {
	var elapsed <-chan time.Time
	if m.want == 0 {
		timer := time.NewTimer(m.after)
		defer timer.Stop()
		elapsed = timer.C
	}
	select {
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

// change is what is made of the mesh while a load runs.
type change struct {
	done chan struct{} // closed when the changes are live, or failed
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
		defer close(c.done)
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

// isDone says whether the changes are live, or failed.
func (c *change) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// wait returns when the changes are live, or why they are not.
func (c *change) wait() error {
	<-c.done
	return c.err
}

// lateChange is why a load shows nothing of changes that were made under it.
const lateChange = "the load ended before its changes were live"

// endChange notes what the phase's actions did as its load ends, and waits for changes that are not live by then: late is then why the load
// shows nothing of them. Until they are done their actions must not be looked at.
func (r *runner) endChange(ctx context.Context, p *plan.Phase, c *change) (late string, err error) {
	if !c.isDone() {
		late = lateChange
	}
	if err := c.wait(); err != nil {
		return late, err
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), gatherWithin, fmt.Errorf("not within %s", gatherWithin))
	defer cancel()
	return late, r.effects(ctx, p, late)
}
