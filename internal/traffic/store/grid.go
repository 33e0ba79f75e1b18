package store

import (
	"time"

	"squall/internal/traffic"
)

const (
	shortUnit = 10 * time.Second
	longUnit  = 10 * time.Minute
)

// Grid is a window in steps: whole multiples of its unit, which is 10 s, or 10 minutes where no step is shorter.
type Grid struct {
	Start time.Time
	Step  time.Duration
	Steps int
	Unit  time.Duration
}

// NewGrid covers a window by at most n steps.
func NewGrid(from, to time.Time, n int) Grid {
	g := Grid{Unit: shortUnit}
	if to.Sub(from)/time.Duration(n) >= longUnit {
		g.Unit = longUnit
	}
	g.Start = from.UTC().Truncate(g.Unit)
	last := to.UTC().Add(g.Unit - 1).Truncate(g.Unit)
	span := last.Sub(g.Start)
	units := int64(span / g.Unit)
	each := max(1, (units+int64(n)-1)/int64(n))
	g.Step = g.Unit * time.Duration(each)
	g.Steps = int((units + each - 1) / each)
	return g
}

// End is where the last step ends.
func (g Grid) End() time.Time { return g.Start.Add(time.Duration(g.Steps) * g.Step) }

// Of is the number of the step that a time is in, or one outside.
func (g Grid) Of(t time.Time) int {
	if t.Before(g.Start) {
		return -1
	}
	return int(t.Sub(g.Start) / g.Step)
}

// Points are the steps, without records.
func (g Grid) Points() []Point {
	out := make([]Point, g.Steps)
	for i := range out {
		out[i] = Point{Start: g.Start.Add(time.Duration(i) * g.Step), Step: g.Step, Mean: traffic.Unknown}
	}
	return out
}
