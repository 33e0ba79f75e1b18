package report

import (
	"fmt"

	"squall/internal/record"
)

// workersView is how the workers of a load got on beside each other.
type workersView struct {
	Summary string
	Rows    []workerView
	Clocks  bool // some have clocks of their own
}

// workerView is one worker's part of a load.
type workerView struct {
	Pod, Count, Rate, Start, Seconds, P50, P99, Clock, Lost string
}

// newWorkersView is nil for a load that one worker made without clock of its own.
func newWorkersView(l *record.Load) *workersView {
	if l == nil || len(l.Workers) == 0 {
		return nil
	}
	v := &workersView{Summary: workersLine(l)}
	for _, w := range l.Workers {
		row := workerView{
			Pod: w.Pod, Count: formatCount(w.Count), Rate: formatNumber(roundTo(w.QPS, 1)) + "/s", Start: "+" + formatSeconds(max(0, w.Start-l.Start)),
			Seconds: formatSeconds(w.Seconds), P50: formatSeconds(w.P50), P99: formatSeconds(w.P99), Lost: w.Lost,
		}
		if w.Clock > 0 {
			row.Clock, v.Clocks = "± "+formatSeconds(w.Clock), true
		}
		v.Rows = append(v.Rows, row)
	}
	return v
}

// workersLine is one sentence about how evenly the workers made the calls: "" when there is nothing to compare.
func workersLine(l *record.Load) string {
	if l == nil || len(l.Workers) < 2 {
		return ""
	}
	first := l.Workers[0]
	low, high, began, clock := first, first, first.Start, first.Clock
	for _, w := range l.Workers {
		low.QPS, high.QPS = min(low.QPS, w.QPS), max(high.QPS, w.QPS)
		low.P99, high.P99 = min(low.P99, w.P99), max(high.P99, w.P99)
		low.Start, began = min(low.Start, w.Start), max(began, w.Start)
		clock = max(clock, w.Clock)
	}
	text := fmt.Sprintf("%d, %s to %s/s each%s, p99 %s to %s%s, all began within %s", len(l.Workers),
		formatNumber(roundTo(low.QPS, 1)), formatNumber(roundTo(high.QPS, 1)), skew(l, func(w record.WorkerLoad) float64 { return w.QPS }),
		formatSeconds(low.P99), formatSeconds(high.P99), skew(l, func(w record.WorkerLoad) float64 { return w.P99 }), formatSeconds(began-low.Start))
	if clock > 0 {
		text += fmt.Sprintf(" (clocks ± %s)", formatSeconds(clock))
	}
	return text
}

func skew(l *record.Load, of func(record.WorkerLoad) float64) string {
	if s, ok := l.Skew(of); ok {
		return " (skew " + formatNumber(roundTo(s, 3)) + ")"
	}
	return ""
}

// lostLines are the workers that were lost, each with the reason.
func lostLines(l *record.Load) []string {
	var out []string
	if l == nil {
		return nil
	}
	for _, w := range l.Workers {
		if w.Lost != "" {
			text := fmt.Sprintf("%s after %s: %s", w.Pod, plural(w.Count, "request", "requests"), w.Lost)
			if l.Lost == "" {
				text += "; predictions of how many calls there are were left out"
			}
			out = append(out, text)
		}
	}
	return out
}
