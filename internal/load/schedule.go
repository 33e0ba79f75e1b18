package load

import "time"

// schedule is when one connection's calls were meant to start, as Fortio's runner has it. Fortio catches up: a call that comes
// late moves none of those behind it, so that a target that stalls makes all of them late, and their latencies alone do not
// show it.
type schedule struct {
	start  time.Time // of the connection's first call
	every  float64   // seconds from call to call
	jitter bool
	next   int64     // number of the next call
	ended  time.Time // the call before
}

// Scheduled says whether each call has a time at which it is meant to start, that Request.Late counts from: with a QPS, unless late
// calls are left out, or there is only one.
func (s Spec) Scheduled() bool { return s.QPS > 0 && !s.NoCatchUp && s.Requests != 1 }

// schedule is the schedule of a connection, nil for a load that has none.
func (s *session) schedule(conn int) *schedule {
	if !s.spec.Scheduled() {
		return nil
	}
	o := s.options()
	per := o.QPS / float64(o.NumThreads)
	sch := &schedule{start: s.start, every: 1 / per, jitter: s.spec.Jitter}
	calls := s.spec.Requests
	if calls == 0 {
		calls = int64(o.QPS * o.Duration.Seconds())
	}
	each, left := calls/int64(o.NumThreads), calls%int64(o.NumThreads)
	if s.spec.Requests > 0 && conn == 0 {
		each += left
	}
	sch.every *= 1 + 1/float64(each-1) // so that the last call is at the end of the time that all take together
	if s.spec.Uniform {
		shift := float64(conn) / o.QPS
		sch.start = sch.start.Add(time.Duration(shift * float64(time.Second)))
	}
	return sch
}

// late is how much after its time the next call starts, never negative. With jitter it counts from the latest time that the jitter
// allows.
func (s *schedule) late(start time.Time) time.Duration {
	if s == nil {
		return 0
	}
	meant := s.start.Add(time.Duration(float64(s.next) * s.every * float64(time.Second)))
	s.next++
	if wait := meant.Sub(s.ended); s.jitter && !s.ended.IsZero() && wait > 0 {
		meant = meant.Add(wait / 10)
	}
	return max(0, start.Sub(meant))
}

func (s *schedule) done(at time.Time) {
	if s != nil {
		s.ended = at
	}
}
