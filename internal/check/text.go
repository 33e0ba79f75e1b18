package check

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxStatement bounds a statement's length in characters.
const maxStatement = 4096

// text is a statement made ready for CEL: units are plain numbers, and the suffix (@95% or, for a halt, for 5s) is cut
// off. Offsets count characters.
type text struct {
	orig       []rune
	out        []rune
	at         []int          // offset in out to offset in orig; one longer than out
	units      map[int]string // offset in out of a number that had a unit: "s", "%" or unitMemory
	confidence float64        // 0: none
	window     float64        // seconds; 0: none
}

// errAt is an error at an offset of out.
func (t *text) errAt(offset int, hint, format string, args ...any) *SyntaxError {
	offset = min(max(offset, 0), len(t.at)-1)
	return &SyntaxError{Column: t.at[offset] + 1, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// written is the author's text between two offsets of out.
func (t *text) written(from, to int) string {
	return strings.TrimSpace(string(t.orig[t.at[from]:t.at[to]]))
}

// scanner rewrites a statement. It knows strings, comments, names and numbers; all else is CEL's.
type scanner struct {
	text
	i    int
	halt bool
}

// scan makes a statement ready for CEL. Only a halt may end in "for" and a duration.
func scan(stmt string, halt bool) (*text, *SyntaxError) {
	s := &scanner{text: text{orig: []rune(stmt), units: map[int]string{}}, halt: halt}
	if len(s.orig) > maxStatement {
		return nil, &SyntaxError{Column: 1, Msg: fmt.Sprintf("statement of %d characters; %d are allowed", len(s.orig), maxStatement)}
	}
	for s.i < len(s.orig) {
		if err := s.token(); err != nil {
			return nil, err
		}
	}
	s.at = append(s.at, len(s.orig))
	if strings.TrimSpace(string(s.out)) == "" {
		return nil, &SyntaxError{Column: 1, Msg: "empty statement", Hint: "write for example ratio(code == 200) >= 1"}
	}
	return &s.text, nil
}

func (s *scanner) fail(at int, hint, format string, args ...any) *SyntaxError {
	return &SyntaxError{Column: at + 1, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

func (s *scanner) peek(n int) rune {
	if s.i+n < len(s.orig) {
		return s.orig[s.i+n]
	}
	return 0
}

// copy takes n characters as they are.
func (s *scanner) copy(n int) {
	for ; n > 0 && s.i < len(s.orig); n-- {
		s.out = append(s.out, s.orig[s.i])
		s.at = append(s.at, s.i)
		s.i++
	}
}

// put replaces the next n characters.
func (s *scanner) put(n int, by string) {
	for _, r := range by {
		s.out = append(s.out, r)
		s.at = append(s.at, s.i)
	}
	s.i += n
}

func (s *scanner) token() *SyntaxError {
	switch r := s.peek(0); {
	case r == '"' || r == '\'':
		return s.str()
	case r == '/' && s.peek(1) == '/':
		for s.i < len(s.orig) && s.orig[s.i] != '\n' {
			s.put(1, " ")
		}
	case unicode.IsSpace(r):
		s.put(1, " ")
	case isName(r):
		return s.name()
	case isDigit(r) || r == '.' && isDigit(s.peek(1)) && !s.afterOperand():
		return s.number()
	case r == '@':
		return s.suffixConfidence()
	default:
		s.copy(1)
	}
	return nil
}

// str takes a CEL string literal.
func (s *scanner) str() *SyntaxError {
	end := stringEnd(s.orig, s.i)
	if end < 0 {
		return s.fail(s.i, "close it with "+string(s.orig[s.i]), "string without an end")
	}
	s.copy(end - s.i)
	return nil
}

// stringEnd is the offset behind the CEL string literal whose first quote is at i, or -1.
func stringEnd(rs []rune, i int) int {
	quote, raw, width := rs[i], isRaw(rs, i), 1
	closes := func(i int) bool {
		return rs[i] == quote && (width == 1 || i+2 < len(rs) && rs[i+1] == quote && rs[i+2] == quote)
	}
	if i+2 < len(rs) && rs[i+1] == quote && rs[i+2] == quote {
		width = 3
	}
	for i += width; i < len(rs); i++ {
		switch {
		case closes(i):
			return i + width
		case rs[i] == '\\' && !raw:
			i++
		}
	}
	return -1
}

// isRaw says whether the quote at i has CEL's prefix for strings without escapes.
func isRaw(rs []rune, i int) bool {
	start := i
	for start > 0 && (isName(rs[start-1]) || isDigit(rs[start-1])) {
		start--
	}
	switch strings.ToLower(string(rs[start:i])) {
	case "r", "br", "rb":
		return true
	default:
		return false
	}
}

// afterOperand says whether a dot here would select a field.
func (s *scanner) afterOperand() bool {
	if s.i == 0 {
		return false
	}
	r := s.orig[s.i-1]
	return isName(r) || isDigit(r) || r == ')' || r == ']' || r == '"' || r == '\''
}

func (s *scanner) name() *SyntaxError {
	n := 0
	for isName(s.peek(n)) || isDigit(s.peek(n)) {
		n++
	}
	word := string(s.orig[s.i : s.i+n])
	if word == "for" {
		return s.suffixWindow()
	}
	s.copy(n)
	return nil
}

// number takes a number with or without a unit.
func (s *scanner) number() *SyntaxError {
	n := s.numberLen()
	word := string(s.orig[s.i : s.i+n])
	if s.isPercent(n) {
		v, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return s.fail(s.i, "write for example 5%", "%q is not a number", word)
		}
		s.unit("%")
		s.put(n+1, decimal(v/100))
		return nil
	}
	if _, err := strconv.ParseFloat(word, 64); err == nil || celNumber(word) {
		if unit := s.spacedUnit(n); unit != "" {
			return s.fail(s.i, "write "+word+unit, "a number and its unit must not have a space between them")
		}
		s.copy(n)
		return nil
	}
	if v, ok := mebibytes(word); ok {
		s.unit(unitMemory)
		s.put(n, decimal(v))
		return nil
	}
	d, err := seconds(word)
	if err != nil {
		return s.fail(s.i, "units are ns, us, ms, s, m, h, % and KiB, MiB, GiB, as in 250ms, 2s or 5%", "%q is not a number with a unit", word)
	}
	s.unit("s")
	s.put(n, decimal(d))
	return nil
}

// unitMemory is the unit of numbers and measures of memory.
const unitMemory = "MiB"

// mebibytes reads an amount of memory.
func mebibytes(word string) (v float64, ok bool) {
	for unit, size := range map[string]float64{"KiB": 1.0 / 1024, unitMemory: 1, "GiB": 1024} {
		if number, has := strings.CutSuffix(word, unit); has {
			v, err := strconv.ParseFloat(number, 64)
			return v * size, err == nil
		}
	}
	return 0, false
}

// seconds reads a duration as Go writes it, and one number with a unit also when the number has an exponent.
func seconds(word string) (float64, error) {
	d, err := time.ParseDuration(word)
	if err == nil {
		return d.Seconds(), nil
	}
	number := strings.TrimRight(word, "nuµμmsh")
	v, numErr := strconv.ParseFloat(number, 64)
	unit, unitErr := time.ParseDuration("1" + word[len(number):])
	if numErr != nil || unitErr != nil {
		return 0, err
	}
	return v * unit.Seconds(), nil
}

func (s *scanner) unit(u string) { s.units[len(s.out)] = u }

func (s *scanner) numberLen() int {
	n := 0
	for isName(s.peek(n)) || isDigit(s.peek(n)) || s.peek(n) == '.' {
		n++
	}
	if r := s.peek(n - 1); (r == 'e' || r == 'E') && (s.peek(n) == '-' || s.peek(n) == '+') && isDigit(s.peek(n+1)) {
		for n++; isDigit(s.peek(n)) || isName(s.peek(n)); {
			n++
		}
	}
	return n
}

// isPercent says whether the number of n characters is a percentage and not the left side of CEL's modulus.
func (s *scanner) isPercent(n int) bool {
	if s.peek(n) != '%' {
		return false
	}
	n++
	for unicode.IsSpace(s.peek(n)) {
		n++
	}
	word := n
	for isName(s.peek(n)) {
		n++
	}
	if s.halt && string(s.orig[s.i+word:s.i+n]) == "for" {
		return true
	}
	r := s.peek(word)
	return !isName(r) && !isDigit(r) && r != '('
}

// spacedUnit is the unit that stands apart behind a number of n characters.
func (s *scanner) spacedUnit(n int) string {
	start := n
	for unicode.IsSpace(s.peek(n)) {
		n++
	}
	end := n
	for isName(s.peek(end)) {
		end++
	}
	if n == start || end == n {
		return ""
	}
	switch string(s.orig[s.i+n : s.i+end]) {
	case "ns", "us", "µs", "ms", "s", "m", "h", "KiB", unitMemory, "GiB":
		return string(s.orig[s.i+n : s.i+end])
	case "milliseconds", "millisecond", "millis":
		return "ms"
	case "seconds", "second", "sec", "secs":
		return "s"
	case "minutes", "minute", "min", "mins":
		return "m"
	case "percent":
		return "%"
	default:
		return ""
	}
}

// suffixConfidence takes @95%, which ends the statement.
func (s *scanner) suffixConfidence() *SyntaxError {
	at, rest := s.i, strings.TrimSpace(string(s.orig[s.i+1:]))
	if s.halt {
		return s.fail(at, "leave @… out", "a halt is about what is seen, so it has no confidence")
	}
	v, percent := strings.CutSuffix(rest, "%")
	c, err := strconv.ParseFloat(v, 64)
	if err != nil || !percent {
		return s.fail(at, "end the statement in for example @95%", "%q is not a confidence", "@"+rest)
	}
	if !(c > 0 && c < 100) {
		return s.fail(at, "write for example @95%", "a confidence is more than 0%% and less than 100%%, not %s%%", v)
	}
	s.confidence = c / 100
	s.i = len(s.orig)
	s.orig = s.orig[:at]
	return nil
}

// suffixWindow takes "for 5s", which ends a halt.
func (s *scanner) suffixWindow() *SyntaxError {
	at, rest := s.i, strings.TrimSpace(string(s.orig[s.i+len("for"):]))
	if !s.halt {
		return s.fail(at, "leave it out", "only a halt can say for how long")
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return s.fail(at, "end the halt in for example for 5s", "%q is not a duration", rest)
	}
	if d <= 0 {
		return s.fail(at, "end the halt in for example for 5s", "a halt's duration must be more than 0, not %s", rest)
	}
	s.window = d.Seconds()
	s.i = len(s.orig)
	s.orig = s.orig[:at]
	return nil
}

func isName(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == 'µ' || r == 'μ'
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

// celNumber says whether CEL has a way to write this number that ParseFloat has not: 0xff and 5u.
func celNumber(word string) bool {
	_, err := strconv.ParseUint(strings.TrimRight(word, "uU"), 0, 64)
	return err == nil && !strings.Contains(word, "_")
}

// decimal writes a number so that CEL reads a double.
func decimal(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}
