package check

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// figure is a measure's reading in words: ratio(code == 503) = 45.33 % [39.8 %, 51 %] (136 of 300, wilson at 95 %).
func (m *measure) figure(r reading) string {
	s := m.text + " = " + formatValue(r.value, m.unit())
	if r.confidence > 0 || r.lo != r.hi {
		s += fmt.Sprintf(" [%s, %s]", formatValue(r.lo, m.unit()), formatValue(r.hi, m.unit()))
	}
	var notes []string
	switch {
	case m.isShare() && !m.delta:
		notes = append(notes, fmt.Sprintf("%s of %s", thousands(r.k), thousands(r.n)))
	case m.ofSamples() && m.kind != mCount && m.kind != mRate:
		notes = append(notes, "n = "+thousands(r.n))
	}
	if r.confidence > 0 {
		notes = append(notes, fmt.Sprintf("%s at %s", r.method, formatValue(r.confidence, "")))
	} else if r.lo != r.hi {
		notes = append(notes, r.method)
	}
	if len(notes) > 0 {
		s += " (" + strings.Join(notes, ", ") + ")"
	}
	return s
}

// formatValue writes a value for people: seconds as µs, ms or s and shares as percentages, to four digits, but never as
// a round 0 or 100 % when it is not.
func formatValue(v float64, unit string) string {
	switch {
	case math.IsInf(v, 1):
		return "unknown"
	case math.IsInf(v, -1):
		return "unknown"
	case unit == "s":
		return formatTime(v)
	case unit == "":
		return formatShare(v)
	case slices.Contains([]string{"requests", "events", "connections", "pods", "nodes", "rollouts"}, unit):
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return thousands(int64(v))
		}
		return digits(v, 6)
	default:
		return digits(v, 4) + " " + unit
	}
}

func formatTime(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0 s"
	case a < 1e-3:
		return digits(v*1e6, 4) + " µs"
	case a < 1:
		return digits(v*1e3, 4) + " ms"
	default:
		return digits(v, 4) + " s"
	}
}

func formatShare(v float64) string {
	for n := 4; n < 17; n++ {
		s := digits(v*100, n)
		if s != "100" && s != "-100" || math.Abs(v) == 1 {
			return s + " %"
		}
	}
	return digits(v*100, 17) + " %"
}

// digits writes a number with n significant digits and without an exponent.
func digits(v float64, n int) string {
	short := strconv.FormatFloat(v, 'g', n, 64)
	f, err := strconv.ParseFloat(short, 64)
	if err != nil {
		return short
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// thousands writes 1068 as 1,068.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short is a measure's value in words.
func (m Measure) short() string {
	if m.Value == nil {
		return m.Expr + " unknown"
	}
	return m.Expr + " = " + formatValue(*m.Value, m.Unit)
}
