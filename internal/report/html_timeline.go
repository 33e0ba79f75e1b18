package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"squall/internal/record"
)

// timeline is the whole run, one lane for each phase. Positions are percent of the run's duration.
type timeline struct {
	Lanes []lane
	Ticks []tick
}

type lane struct {
	Name, ID, Class, Note string
	Spans                 []timeSpan
	Points                []timePoint
}

type timeSpan struct {
	X, W         float64
	Class, Title string
}

type timePoint struct {
	X            float64
	Class, Title string
}

func newTimeline(d Data) timeline {
	end := d.Result.Seconds
	for _, e := range d.Events {
		end = max(end, e.At+max(0, e.Took))
	}
	for _, p := range d.Phases {
		if p.Load != nil {
			end = max(end, p.Load.Start+p.Load.Seconds)
		}
	}
	if !(end > 0) || !finite(end) {
		return timeline{}
	}
	t := timeline{Ticks: timeTicks(end)}
	t.add(d, end, lane{Name: "mesh"}, func(e record.Event) bool { return e.Phase == "" && (e.Kind == "mesh" || e.Kind == "process") })
	for i, p := range d.Result.Phases {
		l := lane{Name: p.Name, ID: fmt.Sprintf("phase-%d", i), Class: verdictClass(p.Verdict)}
		if live := liveTexts(d, p.Name); len(live) > 0 {
			l.Note = live[len(live)-1]
		}
		if load := phaseOf(d, p.Name).Load; load != nil {
			l.Spans = append(l.Spans, newSpan(load.Start, load.Seconds, end, "t-load", "load: "+loadLine(phaseOf(d, p.Name))))
		}
		t.add(d, end, l, func(e record.Event) bool { return e.Phase == p.Name && e.Kind != "rollback" })
	}
	back := lane{Name: "rollback", ID: "rollback", Class: verdictClass(d.Result.Rollback.Verdict)}
	t.add(d, end, back, func(e record.Event) bool { return e.Kind == "rollback" })
	others := func(e record.Event) bool {
		known := slices.ContainsFunc(d.Phases, func(p PhaseData) bool { return p.Name == e.Phase })
		return !known && e.Kind != "rollback" && !(e.Phase == "" && (e.Kind == "mesh" || e.Kind == "process"))
	}
	t.add(d, end, lane{Name: "run"}, others)
	slices.SortStableFunc(t.Lanes, func(a, b lane) int { return cmp.Compare(a.first(), b.first()) })
	return t
}

// first is where the lane begins; an empty lane comes last.
func (l lane) first() float64 {
	x := math.Inf(1)
	for _, s := range l.Spans {
		x = min(x, s.X)
	}
	for _, p := range l.Points {
		x = min(x, p.X)
	}
	return x
}

// add fills the lane with its events and appends it, if there is anything in it.
func (t *timeline) add(d Data, end float64, l lane, mine func(record.Event) bool) {
	loads := len(l.Spans) > 0
	for _, e := range d.Events {
		if !mine(e) || e.Kind == "load" && loads {
			continue
		}
		title := fmt.Sprintf("%s at %s: %s", e.Kind, formatSeconds(e.At), e.Text)
		class := eventClass(e.Kind)
		if e.Took > 0 {
			l.Spans = append(l.Spans, newSpan(e.At, e.Took, end, class, title))
		}
		if e.Took <= 0 || e.Kind == "live" {
			l.Points = append(l.Points, timePoint{roundTo(100*(e.At+max(0, e.Took))/end, 3), class, title})
		}
	}
	if len(l.Spans)+len(l.Points) > 0 || l.ID != "" {
		t.Lanes = append(t.Lanes, l)
	}
}

func newSpan(at, took, end float64, class, title string) timeSpan {
	return timeSpan{roundTo(100*at/end, 3), roundTo(100*took/end, 3), class, title}
}

func eventClass(kind string) string {
	switch kind {
	case "mesh", "apply", "live", "load", "rollback":
		return "t-" + kind
	case "halt", "error":
		return "t-bad"
	}
	return "t-other"
}

// timeTicks are four to ten round times from 0 to the end.
func timeTicks(end float64) []tick {
	step := niceCeil(end / 9)
	var out []tick
	for i := 0; ; i++ {
		v := float64(i) * step
		x := 100 * v / end
		if x > 97 {
			break
		}
		out = append(out, tick{roundTo(x, 3), formatSeconds(roundTo(v, 6)), anchorAt(math.Max(x, 0))})
	}
	return out
}

// niceCeil is the least of 1, 2 and 5 times a power of ten that is not below x, which must be positive.
func niceCeil(x float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if m*p >= x*(1-1e-12) {
			return m * p
		}
	}
	return 10 * p
}
