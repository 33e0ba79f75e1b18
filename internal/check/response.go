package check

import (
	"slices"

	"cel.dev/cel-go/common/ast"

	"squall/internal/record"
)

// The times that a measure of time may be about, as they are written: how long a call took, and how long after the time at which it
// was meant to start its answer was there. A load with a rate is late when its target stalls, and only the second shows what callers
// who do not wait for each other would have seen.
const (
	timeLatency  = "latency"
	timeResponse = "response"
	timeLate     = "late"
)

// timed takes the first argument where it names a time, and returns how many it took.
func (m *measure) timed(args []ast.Expr) int {
	if len(args) == 0 || args[0].Kind() != ast.IdentKind {
		return 0
	}
	switch args[0].AsIdent() {
	case timeResponse:
		m.response = true
		return 1
	case timeLatency:
		return 1
	}
	return 0
}

// tallyKey is equal for measures of requests that one tally is enough for.
func (m *measure) tallyKey() string {
	if m.response {
		return predicateKey(m.pred) + "\x00" + timeResponse
	}
	return predicateKey(m.pred)
}

// time is what a tally's times are of a request.
func (t *tally) time(s *record.Sample) float64 {
	if t.response {
		return s.Latency + s.Late
	}
	return s.Latency
}

// needsSchedule says whether the measure is about when calls were meant to start.
func (m *measure) needsSchedule() bool {
	return m.response || m.pred != nil && (slices.Contains(m.pred.uses, timeResponse) || slices.Contains(m.pred.uses, timeLate))
}

// NeedsSchedule says whether the statement is about when the calls were meant to start, which only a load with a rate says that makes
// up for calls that are late.
func (e *Expr) NeedsSchedule() bool {
	return slices.ContainsFunc(e.measures, func(m *measure) bool { return m.needsSchedule() })
}
