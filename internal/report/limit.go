package report

import (
	"math"
	"strconv"
	"strings"

	"squall/internal/check"
)

// limits is the accepted range of an outcome, as far as it can be drawn.
type limits struct {
	lo, hi float64 // -Inf and +Inf where open
	not    bool    // all but lo (which equals hi) is accepted
}

// parseLimit reads an outcome's limit, such as "in [0.1, 0.95]" or "< 250ms", for drawing. It knows plain numbers,
// times and percentages; a limit that is another expression is not ok and not drawn.
func parseLimit(s string) (l limits, ok bool) {
	s = strings.TrimSpace(s)
	if rest, found := strings.CutPrefix(s, "in"); found {
		return parseRange(strings.TrimSpace(rest))
	}
	for _, op := range []string{"<=", ">=", "==", "!=", "<", ">"} {
		rest, found := strings.CutPrefix(s, op)
		if !found {
			continue
		}
		v, ok := parseQuantity(rest)
		switch op[0] {
		case '<':
			return limits{lo: math.Inf(-1), hi: v}, ok
		case '>':
			return limits{lo: v, hi: math.Inf(1)}, ok
		default:
			return limits{lo: v, hi: v, not: op == "!="}, ok
		}
	}
	return limits{}, false
}

func parseRange(s string) (limits, bool) {
	s, open := strings.CutPrefix(s, "[")
	s, shut := strings.CutSuffix(s, "]")
	a, b, comma := strings.Cut(s, ",")
	if !open || !shut || !comma {
		return limits{}, false
	}
	lo, ok1 := parseQuantity(a)
	hi, ok2 := parseQuantity(b)
	return limits{lo: lo, hi: hi}, ok1 && ok2
}

func parseQuantity(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	units := []struct {
		suffix string
		factor float64
	}{{"KiB", 1.0 / 1024}, {"MiB", 1}, {"GiB", 1024}, {"%", 0.01}, {"ns", 1e-9}, {"us", 1e-6}, {"µs", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}}
	factor := 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, factor = strings.TrimSpace(rest), u.factor
			break
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, false
	}
	return v * factor, true
}

// intervalBar is a measure drawn against its limit. All positions are percent of the drawing's width.
type intervalBar struct {
	Bands []bandX // what is accepted
	Edges []float64
	Lo    float64
	Width float64 // of the interval; 0 is none
	Value float64
	Text  string // for those who do not see the drawing
}

type bandX struct{ X, W float64 }

// newIntervalBar is nil when there is nothing to draw: no value, or a limit that is not a plain one.
func newIntervalBar(m check.Measure, limit string) *intervalBar {
	l, ok := parseLimit(limit)
	if !ok || m.Value == nil || math.IsNaN(*m.Value) || math.IsInf(*m.Value, 0) {
		return nil
	}
	lo, hi := *m.Value, *m.Value
	if m.Lo != nil && m.Hi != nil && finite(*m.Lo) && finite(*m.Hi) {
		lo, hi = *m.Lo, *m.Hi
	}
	ax := newAxis(l, lo, hi, m)
	b := &intervalBar{Lo: ax.at(lo), Width: ax.at(hi) - ax.at(lo), Value: ax.at(*m.Value)}
	b.Text = "measured " + measureValue(m, limit)
	if iv := measureInterval(m, limit); iv != "" {
		b.Text += " " + iv
	}
	b.Text += ", accepted " + limit
	b.accept(l, ax)
	return b
}

func (b *intervalBar) accept(l limits, ax axis) {
	from, to := ax.at(max(l.lo, ax.lo)), ax.at(min(l.hi, ax.hi))
	if l.not {
		b.Bands = []bandX{{0, from}, {from, 100 - from}}
	} else {
		b.Bands = []bandX{{from, to - from}}
	}
	for _, v := range []float64{l.lo, l.hi} {
		if finite(v) {
			b.Edges = append(b.Edges, ax.at(v))
		}
	}
}

// axis is a linear scale from lo to hi.
type axis struct{ lo, hi float64 }

// newAxis fits limit and interval with a margin, starts at 0 where that is near, and keeps ratios within 0 to 1.
func newAxis(l limits, lo, hi float64, m check.Measure) axis {
	for _, v := range []float64{l.lo, l.hi} {
		if finite(v) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	low := lo
	span := hi - lo
	if span == 0 {
		span = max(math.Abs(hi), 1)
	}
	ax := axis{lo - 0.2*span, hi + 0.2*span}
	if low >= 0 && (ax.lo < 0 || low < hi/2) {
		ax.lo = 0
	}
	if isRatio(m) && hi > 0.5 {
		ax.hi = max(1, hi)
	}
	return ax
}

func (a axis) at(v float64) float64 {
	return roundTo(100*min(1, max(0, (v-a.lo)/(a.hi-a.lo))), 2)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
