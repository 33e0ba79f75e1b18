package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"squall/internal/check"
)

const absent = "—"

// formatCount groups thousands: 12,345.
func formatCount(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// formatNumber has at most four significant digits below 10,000, and whole numbers above it.
func formatNumber(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v), math.IsInf(v, 0):
		return strconv.FormatFloat(v, 'g', -1, 64)
	case v == math.Trunc(v) && a < 1<<53, a >= 1e4 && a < 1<<53:
		return formatCount(int64(math.Round(v)))
	case a >= 1e4 || a < 1e-4:
		return strconv.FormatFloat(v, 'g', 4, 64)
	default:
		digits := 3 - int(math.Floor(math.Log10(a)))
		return trimZeros(strconv.FormatFloat(v, 'f', digits, 64))
	}
}

func trimZeros(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

// formatSeconds picks µs, ms, s or min, with about four significant digits.
func formatSeconds(v float64) string {
	switch a := math.Abs(v); {
	case v == 0:
		return "0 s"
	case a < 1e-3:
		return formatNumber(roundTo(v*1e6, 1)) + " µs"
	case a < 1:
		return formatNumber(roundTo(v*1e3, 2)) + " ms"
	case a < 120:
		return formatNumber(roundTo(v, 3)) + " s"
	default:
		return formatNumber(roundTo(v/60, 2)) + " min"
	}
}

func roundTo(v float64, digits int) float64 {
	p := math.Pow(10, float64(digits))
	return math.Round(v*p) / p
}

// formatIn writes a value in the measure's unit. Ratios are percentages, as in the checks' reasons.
func formatIn(v float64, m check.Measure, limit string) string {
	switch {
	case m.Unit == "s":
		return formatSeconds(v)
	case m.Unit == "1/s":
		return formatNumber(roundTo(v, 2)) + "/s"
	case m.Unit == "MiB" || m.Unit == "cores":
		return formatNumber(v) + " " + m.Unit
	case m.Unit == "" && (isRatio(m) || strings.Contains(limit, "%")):
		return neverRound(formatNumber(roundTo(v*100, 4)), v*100) + " %"
	default:
		return formatNumber(v)
	}
}

// neverRound gives a percentage that is written as 0 or 100 as many digits as it takes to tell it from them, when it is neither: beside
// a limit of all or none the difference decides.
func neverRound(text string, percent float64) string {
	for digits := 4; digits <= 17; digits++ {
		shown, err := strconv.ParseFloat(text, 64)
		if err != nil || shown == percent || shown != 0 && math.Abs(shown) != 100 {
			return text
		}
		short, err := strconv.ParseFloat(strconv.FormatFloat(percent, 'g', digits, 64), 64)
		if err != nil {
			return text
		}
		text = strconv.FormatFloat(short, 'f', -1, 64)
	}
	return text
}

func isRatio(m check.Measure) bool {
	of := strings.TrimSuffix(strings.TrimPrefix(m.Expr, "delta("), ")")
	return strings.HasPrefix(of, "ratio(") || strings.HasSuffix(of, ").ratio")
}

func measureValue(m check.Measure, limit string) string {
	if m.Value == nil {
		return absent
	}
	return formatIn(*m.Value, m, limit)
}

// measureInterval is empty for a measure without an interval, or with one of no width.
func measureInterval(m check.Measure, limit string) string {
	if m.Lo == nil || m.Hi == nil || *m.Lo == *m.Hi {
		return ""
	}
	return fmt.Sprintf("[%s, %s]", formatIn(*m.Lo, m, limit), formatIn(*m.Hi, m, limit))
}

// measureMethod says how the interval was made: "95 % wilson".
func measureMethod(m check.Measure) string {
	if measureInterval(m, "") == "" || m.Confidence == 0 {
		return ""
	}
	c := m.Confidence
	if c <= 1 {
		c *= 100
	}
	return strings.TrimSpace(neverRound(formatNumber(c), c) + " % " + m.Method)
}

func answerName(code int, err string) string {
	if err != "" {
		return err
	}
	return strconv.Itoa(code)
}

// clean makes text of unknown origin safe for one line of a terminal, a log or an XML document: control characters,
// direction overrides and broken UTF-8 become U+FFFD, line breaks become spaces, and GitHub's old in-line command
// marker is broken.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return legible(r)
	}, s)
	return strings.ReplaceAll(s, "##[", "# #[")
}

// cleanLines is clean for text of several lines: line breaks and tabs are kept.
func cleanLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return legible(r)
	}, strings.ReplaceAll(s, "\r\n", "\n"))
}

func legible(r rune) rune {
	switch {
	case unicode.IsControl(r),
		r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, // direction overrides and isolates
		r == 0x2028, r == 0x2029, r == 0xFFFE, r == 0xFFFF, r == 0xFEFF:
		return unicode.ReplacementChar
	}
	return r
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return formatCount(n) + " " + one
	}
	return formatCount(n) + " " + many
}
