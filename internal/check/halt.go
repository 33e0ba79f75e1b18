package check

import (
	"fmt"
	"math"
	"sync"

	"squall/internal/record"
)

// haltSlices is into how many parts a halt's window is divided; the condition must hold in each that has requests.
const haltSlices = 10

// Halt is a compiled halt condition, such as ratio(code >= 500) > 0.99 for 5s. It is immutable.
type Halt struct {
	expr   *Expr
	window float64
}

// CompileHalt reads a halt condition: a comparison of ratio, rate, mean, min, max or percentiles of requests by code,
// latency and error, then "for" and a duration. An error that is the text's fault is a *SyntaxError.
func CompileHalt(stmt string, services []string) (*Halt, error) {
	t, serr := scan(stmt, true)
	if serr != nil {
		return nil, serr
	}
	if t.window == 0 {
		return nil, t.errAt(len(t.out), "end it in for example for 5s", "a halt says for how long its condition must hold")
	}
	e, err := compile(stmt, t, services, true)
	if err != nil {
		return nil, err
	}
	return &Halt{expr: e, window: t.window}, nil
}

func (h *Halt) String() string { return h.expr.stmt }

// Window is for how long the condition must hold, in seconds.
func (h *Halt) Window() float64 { return h.window }

// Watch starts a watch of one load with the condition.
func (h *Halt) Watch() *HaltCond {
	return &HaltCond{halt: h, first: math.Inf(1), slices: map[int64]*counter{}}
}

// HaltCond is a halt condition that watches one load. It may be used by several goroutines.
type HaltCond struct {
	halt *Halt

	mu      sync.Mutex
	pending []record.Request
	first   float64 // when the first request began
	slices  map[int64]*counter
}

// Add takes a finished request. It only keeps it: the condition is evaluated by Check.
func (h *HaltCond) Add(r record.Request) {
	h.mu.Lock()
	h.pending = append(h.pending, r)
	h.mu.Unlock()
}

// Check says whether the condition has held for its whole duration before now, which is on the clock of
// record.Request.Start. The duration is looked at in ten parts: the condition must hold in each that has requests, and
// there must be some in both halves; a load that is younger than the duration, or that finished nothing, trips nothing.
// Call it at least once per tenth of the duration to bound the memory.
func (h *HaltCond) Check(now float64) (tripped bool, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drain()
	width := h.halt.window / haltSlices
	end := int64(math.Floor(now / width))
	begin := end - haltSlices
	for i := range h.slices {
		if i < begin {
			delete(h.slices, i)
		}
	}
	if !(h.first <= float64(begin)*width) {
		return false, ""
	}
	early, late, n := false, false, int64(0)
	for i := begin; i < end; i++ {
		c := h.slices[i]
		if c == nil {
			continue
		}
		j, rs := h.evaluate(c, width)
		if j.verdict != Pass {
			return false, ""
		}
		n += c.tallies[0].n
		early, late = early || i < begin+haltSlices/2, late || i >= begin+haltSlices/2
		reason = h.halt.expr.reason(j, rs)
	}
	if !early || !late {
		return false, ""
	}
	return true, fmt.Sprintf("%s: held for %s with %s requests, at last %s", h.halt, formatTime(h.halt.window), thousands(n), reason)
}

// drain counts the requests that came since the last Check, each in the part in which it was finished.
func (h *HaltCond) drain() {
	width := h.halt.window / haltSlices
	for i := range h.pending {
		r := h.pending[i]
		h.first = min(h.first, r.Start)
		at := int64(math.Floor((r.Start + r.Latency) / width))
		c := h.slices[at]
		if c == nil {
			c = newCounter()
			for _, m := range h.halt.expr.measures {
				c.want(m)
			}
			h.slices[at] = c
		}
		c.observe(&record.Sample{Request: r})
	}
	clear(h.pending)
	h.pending = h.pending[:0]
}

func (h *HaltCond) evaluate(c *counter, seconds float64) (judged, []reading) {
	e := h.halt.expr
	rs := make([]reading, len(e.measures))
	for i, m := range e.measures {
		rs[i] = c.tally(m).read(m, 0, seconds)
	}
	return e.evaluate(e.root, rs), rs
}
