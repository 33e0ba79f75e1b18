package page

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"squall/internal/traffic"
)

const (
	shownText = 160  // runes of a text in a table
	keptText  = 4096 // and anywhere else
)

// legible makes a page of strangers' texts safe to look at: what moves a cursor, turns the direction of writing or cannot be seen becomes
// U+FFFD.
func legible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), r == 0x061C, r >= 0x200B && r <= 0x200F, r >= 0x2028 && r <= 0x202E, r >= 0x2060 && r <= 0x206F, r == 0xFEFF, r >= 0xFFF9 && r <= 0xFFFB:
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// cut is the beginning of a long text, and says how much more there is.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if n == most {
			return fmt.Sprintf("%s… (%d bytes more)", s[:i], len(s)-i)
		}
		n++
	}
	return s
}

// formatDuration is a duration with three digits, or a dash for one that is not known.
func formatDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "–"
	case d < time.Millisecond:
		return digits(float64(d)/1e3) + " µs"
	case d < time.Second:
		return digits(float64(d)/1e6) + " ms"
	case d < 10*time.Minute:
		return digits(float64(d)/1e9) + " s"
	}
	return d.Round(time.Second).String()
}

// digits has three digits that count.
func digits(f float64) string {
	switch {
	case f >= 99.95 || f == 0:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 9.995:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

func formatRate(f float64) string {
	if math.IsNaN(f) {
		return "–"
	}
	if f > 0 && f < 0.01 {
		return "< 0.01"
	}
	return digits(f)
}

// formatRatio is a share in percent. Only 0 is 0 %, and only 1 is 100 %.
func formatRatio(f float64) string {
	switch {
	case math.IsNaN(f):
		return "–"
	case f > 0 && f < 0.0001:
		return "< 0.01 %"
	case f < 1 && f > 0.9999:
		return "> 99.99 %"
	}
	return strings.TrimSuffix(strings.TrimSuffix(strconv.FormatFloat(f*100, 'f', 2, 64), "0"), ".0") + " %"
}

func formatCount(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

func formatCode(code int) string {
	if code == 0 {
		return "none"
	}
	return strconv.Itoa(code)
}

// seconds are a duration's, or nil when it is not known.
func seconds(d time.Duration) *float64 {
	if d == traffic.Unknown {
		return nil
	}
	s := d.Seconds()
	return &s
}
