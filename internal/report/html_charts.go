package report

import (
	"fmt"
	"math"
	"strings"
)

// The charts are SVG whose horizontal positions are percent of the width and whose vertical ones are pixels, so that
// they fit any screen without their text being scaled; colours are CSS classes, so that they follow light and dark.
const (
	plotTop    = 42.0 // room above the bars for marks
	plotHeight = 120.0
	plotBottom = plotTop + plotHeight
	chartH     = plotBottom + 20
	maxColumns = 60 // of a histogram
)

type barChart struct {
	Height, Bottom, TickEnd float64
	Columns                 []column
	Grid                    []gridLine
	Ticks                   []tick
	Legend                  []legend
	Text                    string // for those who do not see the drawing
}

type histogram struct {
	barChart
	Marks []mark
	Note  string
}

type column struct {
	X, W  float64
	Rects []rect
	Title string
}

type rect struct {
	Y, H  float64
	Class string
}

type gridLine struct {
	Y     float64
	Label string // shown for the first one only
}

type tick struct {
	X             float64
	Label, Anchor string
}

type legend struct{ Class, Name, Count string }

type mark struct {
	X, LabelY     float64
	Label, Anchor string
}

func newLegend(p PhaseData, classes []string) []legend {
	out := make([]legend, len(p.Answers))
	for i, a := range p.Answers {
		out[i] = legend{classes[i], answerName(a.Code, a.Error), formatCount(a.Count)}
	}
	return out
}

// newBarChart draws the answers over time; it is nil without samples.
func newBarChart(p PhaseData, classes []string) *barChart {
	if p.Count == 0 {
		return nil
	}
	c := &barChart{Height: chartH, Bottom: plotBottom, TickEnd: plotBottom + 4, Legend: newLegend(p, classes)}
	c.Columns = newColumns(p.Buckets, classes, func(i int) string {
		from := p.Start + float64(i)*p.Width
		return fmt.Sprintf("%s to %s: %s", formatSeconds(from), formatSeconds(from+p.Width), countsText(p.Answers, p.Buckets[i]))
	})
	top := maxSum(p.Buckets)
	for _, f := range []float64{1, 0.5} {
		c.Grid = append(c.Grid, gridLine{plotBottom - f*plotHeight, formatNumber(roundTo(f*float64(top)/p.Width, 0)) + "/s"})
	}
	end := p.Start + float64(len(p.Buckets))*p.Width
	for _, f := range []float64{0, 0.5, 1} {
		c.Ticks = append(c.Ticks, tick{100 * f, formatSeconds(roundTo(p.Start+f*(end-p.Start), 4)), anchorAt(100 * f)})
	}
	c.Text = fmt.Sprintf("Answers over time, %s wide columns: %s", formatSeconds(p.Width), answersLine(p))
	return c
}

// newHistogram draws the latency on a logarithmic axis; it is nil without samples.
func newHistogram(p PhaseData, classes []string) *histogram {
	l := p.Latency
	if l.Count == 0 || len(l.Bins) == 0 {
		return nil
	}
	bins := mergeBins(l.Bins)
	h := &histogram{barChart: barChart{Height: chartH, Bottom: plotBottom, TickEnd: plotBottom + 4, Legend: newLegend(p, classes)}}
	counts := make([][]int64, len(bins))
	for i, b := range bins {
		counts[i] = b.Counts
	}
	h.Columns = newColumns(counts, classes, func(i int) string {
		b := bins[i]
		return fmt.Sprintf("%s to %s: %s", formatSeconds(b.Lo), formatSeconds(b.Hi), countsText(p.Answers, b.Counts))
	})
	top := maxSum(counts)
	for _, f := range []float64{1, 0.5} {
		h.Grid = append(h.Grid, gridLine{plotBottom - f*plotHeight, formatNumber(roundTo(f*float64(top), 0))})
	}
	at := logAxis(bins[0].Lo, bins[len(bins)-1].Hi)
	h.Ticks = logTicks(bins[0].Lo, bins[len(bins)-1].Hi, at)
	for i, q := range []struct {
		name  string
		value float64
	}{{"p50", l.P50}, {"p90", l.P90}, {"p99", l.P99}} {
		x := at(q.value)
		h.Marks = append(h.Marks, mark{x, 9 + float64(i)*13, q.name + " " + formatSeconds(q.value), anchorAt(x)})
	}
	h.Text = fmt.Sprintf("Latency of %s requests: p50 %s, p90 %s, p99 %s, least %s, greatest %s", formatCount(l.Count),
		formatSeconds(l.P50), formatSeconds(l.P90), formatSeconds(l.P99), formatSeconds(l.Min), formatSeconds(l.Max))
	h.Note = fmt.Sprintf("%s to %s · logarithmic axis · percentiles to %d digits", formatSeconds(l.Min),
		formatSeconds(l.Max), l.SignificantFigures)
	return h
}

// mergeBins makes at most maxColumns bins of neighbours, and at least 12 around the measured range.
func mergeBins(bins []Bin) []Bin {
	k := (len(bins) + maxColumns - 1) / maxColumns
	var out []Bin
	for i := 0; i < len(bins); i += k {
		group := bins[i:min(i+k, len(bins))]
		b := Bin{Lo: group[0].Lo, Hi: group[len(group)-1].Hi}
		for _, g := range group {
			for j, n := range g.Counts {
				if n > 0 {
					add(&b.Counts, j, n)
				}
			}
		}
		out = append(out, b)
	}
	step := math.Pow(10, float64(k)/binsPerDecade)
	for len(out) < 12 {
		first, last := out[0], out[len(out)-1]
		out = append([]Bin{{Lo: first.Lo / step, Hi: first.Lo}}, append(out, Bin{Lo: last.Hi, Hi: last.Hi * step})...)
	}
	return out
}

// newColumns stacks the counts of each column from the bottom. What is there at all is at least a pixel and a half high.
func newColumns(counts [][]int64, classes []string, title func(i int) string) []column {
	out := make([]column, len(counts))
	n, top := float64(len(counts)), float64(maxSum(counts))
	for i := range counts {
		c := column{X: roundTo(100*float64(i)/n, 3), W: roundTo(100/n, 3), Title: title(i)}
		y := plotBottom
		for j, count := range counts[i] {
			if count == 0 {
				continue
			}
			h := max(1.5, plotHeight*float64(count)/top)
			y -= h
			c.Rects = append(c.Rects, rect{roundTo(y, 2), roundTo(h, 2), classes[j]})
		}
		out[i] = c
	}
	return out
}

func countsText(answers []Answer, counts []int64) string {
	var parts []string
	for i, n := range counts {
		if n > 0 {
			parts = append(parts, answerName(answers[i].Code, answers[i].Error)+" × "+formatCount(n))
		}
	}
	if len(parts) == 0 {
		return "no requests"
	}
	return strings.Join(parts, ", ")
}

func maxSum(columns [][]int64) int64 {
	top := int64(1)
	for _, c := range columns {
		sum := int64(0)
		for _, n := range c {
			sum += n
		}
		top = max(top, sum)
	}
	return top
}

// logAxis maps lo to 0 and hi to 100.
func logAxis(lo, hi float64) func(float64) float64 {
	return func(v float64) float64 {
		if v <= lo {
			return 0
		}
		return roundTo(min(100, 100*math.Log(v/lo)/math.Log(hi/lo)), 2)
	}
}

// logTicks are at 1, 2 and 5 of each decade, or at 1 only where the axis is long.
func logTicks(lo, hi float64, at func(float64) float64) []tick {
	steps := []float64{1, 2, 5}
	if math.Log10(hi/lo) > 2 {
		steps = []float64{1}
	}
	var out []tick
	for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
		for _, m := range steps {
			v := m * math.Pow(10, e)
			if x := at(v); v >= lo && v <= hi {
				out = append(out, tick{x, formatSeconds(v), anchorAt(x)})
			}
		}
	}
	return out
}

// anchorAt keeps a label inside the drawing.
func anchorAt(x float64) string {
	switch {
	case x < 15:
		return "start"
	case x > 85:
		return "end"
	}
	return "middle"
}
