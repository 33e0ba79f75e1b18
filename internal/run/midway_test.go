package run

import (
	"testing"
	"testing/synctest"
	"time"

	"squall/internal/plan"
)

// The share of a load of time counts from when the load begins, however long its generators took to be ready.
func TestMidwayOfATime(t *testing.T) {
	for name, c := range map[string]struct {
		ready time.Duration // until the load begins; 0 is never
		ends  time.Duration // when the load is over
		at    time.Duration // when the change is due; 0 is an error
	}{
		"at once":         {ready: time.Millisecond, ends: 6 * time.Second, at: time.Second + time.Millisecond},
		"after a while":   {ready: 20 * time.Second, ends: 25 * time.Second, at: 21 * time.Second},
		"ended before":    {ready: 20 * time.Second, ends: 20500 * time.Millisecond},
		"it never begins": {ends: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &plan.Phase{ApplyAt: 0.2}
				p.Load.Duration = 5 * time.Second
				m := newMidway(p)
				begin := time.Now()
				done := make(chan struct{})
				if c.ready > 0 {
					time.AfterFunc(c.ready-10*time.Millisecond, func() { m.begin(begin.Add(c.ready)) }) // told a little before
				}
				time.AfterFunc(c.ends, func() { close(done) })
				err := m.await(done)
				if took := time.Since(begin); (err == nil) != (c.at > 0) || err == nil && took != c.at {
					t.Errorf("after %s: %v", took, err)
				}
			})
		})
	}
}
