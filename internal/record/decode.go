package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The lines of a record are flat objects of plain strings and numbers, millions of them. They are read by the short scanner
// below; whatever it does not know (escapes, other alphabets, nested values, odd keys) it leaves to encoding/json, so that
// both always mean the same.

var errUnusual = errors.New("not a flat object of plain values")

// fields takes the value of one key: a string without its quotes, a number's text, or nil for null. It returns errUnusual
// for what it does not know.
type fields interface {
	field(key, value []byte, quoted bool) error
}

// scanFlat calls f for each member of a flat object and returns errUnusual for anything else.
func scanFlat(line []byte, f fields) error {
	i := skipSpace(line, 0)
	if i >= len(line) || line[i] != '{' {
		return errUnusual
	}
	i++
	for {
		key, next, ok := scanString(line, skipSpace(line, i))
		if !ok {
			return errUnusual
		}
		i = skipSpace(line, next)
		if i >= len(line) || line[i] != ':' {
			return errUnusual
		}
		value, quoted, next, ok := scanValue(line, skipSpace(line, i+1))
		if !ok {
			return errUnusual
		}
		if err := f.field(key, value, quoted); err != nil {
			return err
		}
		i = skipSpace(line, next)
		if i >= len(line) {
			return errUnusual
		}
		switch line[i] {
		case ',':
			i++
		case '}':
			if skipSpace(line, i+1) != len(line) {
				return errUnusual
			}
			return nil
		default:
			return errUnusual
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

func scanString(b []byte, i int) (s []byte, next int, ok bool) {
	if i >= len(b) || b[i] != '"' {
		return nil, 0, false
	}
	i++
	for j := i; j < len(b); j++ {
		if b[j] == '"' {
			return b[i:j], j + 1, true
		}
		if !plain(b[j]) {
			return nil, 0, false
		}
	}
	return nil, 0, false
}

func scanValue(b []byte, i int) (value []byte, quoted bool, next int, ok bool) {
	if s, next, ok := scanString(b, i); ok {
		return s, true, next, true
	}
	if bytes.HasPrefix(b[min(i, len(b)):], []byte("null")) {
		return nil, false, i + len("null"), true
	}
	next = i
	for next < len(b) && inNumber(b[next]) {
		next++
	}
	return b[i:next], false, next, isNumber(b[i:next])
}

func inNumber(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E'
}

// isNumber is JSON's grammar of a number, which is narrower than strconv's.
func isNumber(b []byte) bool {
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	whole := countDigits(b)
	if whole == 0 || (whole > 1 && b[0] == '0') {
		return false
	}
	b = b[whole:]
	if len(b) > 0 && b[0] == '.' {
		n := countDigits(b[1:])
		if n == 0 {
			return false
		}
		b = b[1+n:]
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		n := countDigits(b)
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}

func countDigits(b []byte) int {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n
}

// interned keeps one copy of each of the strings that come again and again, up to a limit.
type interned map[string]string

const maxInterned = 1 << 14

func (m interned) get(b []byte) string {
	if s, ok := m[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(m) < maxInterned {
		m[s] = s
	}
	return s
}

// set is what the setters of fields share: it keeps the first reason why a value does not fit.
type set struct {
	value  []byte
	quoted bool
}

func (v set) str(dst *string, in interned) error {
	switch {
	case v.value == nil && !v.quoted:
		return nil // null leaves the field as it is, as in encoding/json
	case !v.quoted:
		return errUnusual
	case in == nil:
		*dst = string(v.value)
	default:
		*dst = in.get(v.value)
	}
	return nil
}

func (v set) int64(dst *int64, bits int) error {
	switch {
	case v.quoted:
		return errUnusual
	case v.value == nil:
		return nil
	}
	n, err := strconv.ParseInt(string(v.value), 10, bits)
	if err != nil {
		return errUnusual
	}
	*dst = n
	return nil
}

func (v set) int(dst *int) error {
	n := int64(*dst)
	err := v.int64(&n, strconv.IntSize)
	*dst = int(n)
	return err
}

func (v set) float(dst *float64) error {
	switch {
	case v.quoted:
		return errUnusual
	case v.value == nil:
		return nil
	}
	f, err := strconv.ParseFloat(string(v.value), 64)
	if err != nil {
		return errUnusual
	}
	*dst = f
	return nil
}

// unknown is the answer to a key that is none of names: encoding/json would take one that differs in case only.
func unknown(key []byte, names ...string) error {
	for _, n := range names {
		if len(n) == len(key) && strings.EqualFold(n, string(key)) {
			return errUnusual
		}
	}
	return nil
}

// parser is what the reading of one file keeps from line to line.
type parser struct {
	in      interned
	request requestFields
	access  accessFields
}

func newParser() *parser {
	in := interned{}
	return &parser{in: in, request: requestFields{in: in}, access: accessFields{in: in}}
}

// requestFields reads the members of a Request.
type requestFields struct {
	q        Request
	in       interned
	required uint // bit per required member that was seen
}

// The members without which a line is no Request.
const requestRequired = 1<<3 - 1

func (f *requestFields) field(key, value []byte, quoted bool) error {
	v := set{value, quoted}
	if value == nil && !quoted {
		return errUnusual // null; none of them is ever written so
	}
	switch string(key) {
	case "t":
		f.required |= 1
		return v.float(&f.q.Start)
	case "lat":
		f.required |= 2
		return v.float(&f.q.Latency)
	case "code":
		f.required |= 4
		return v.int(&f.q.Code)
	case "conn":
		return v.int(&f.q.Conn)
	case "bytes":
		return v.int64(&f.q.Bytes, 64)
	case "id":
		return v.str(&f.q.ID, nil)
	case "ver":
		return v.str(&f.q.Version, f.in)
	case "found":
		return v.str(&f.q.Found, f.in)
	case "err":
		return v.str(&f.q.Error, f.in)
	case "late":
		return v.float(&f.q.Late)
	case "w":
		return v.int(&f.q.Worker)
	}
	return unknown(key, "t", "lat", "code", "conn", "bytes", "id", "ver", "found", "err", "late", "w")
}

// parseRequest reads one line of requests.ndjson. A line without its start, latency or code is an error: none of them
// means 0 when absent.
func parseRequest(line []byte, p *parser) (Request, error) {
	f := &p.request
	f.q, f.required = Request{}, 0
	if err := scanFlat(line, f); err == nil && f.required == requestRequired {
		return f.q, nil
	}
	return slowRequest(line)
}

// RequestReader reads lines as AppendRequest makes them. It keeps strings that come again and again, up to a limit. It is not safe
// for concurrent use.
type RequestReader struct{ p *parser }

// NewRequestReader makes a reader.
func NewRequestReader() *RequestReader { return &RequestReader{newParser()} }

// Read reads one line. A line without its start, latency or code is an error.
func (r *RequestReader) Read(line []byte) (Request, error) { return parseRequest(line, r.p) }

func slowRequest(line []byte) (Request, error) {
	var q struct {
		Request
		Start   *float64 `json:"t"`
		Latency *float64 `json:"lat"`
		Code    *int     `json:"code"`
	}
	if err := json.Unmarshal(line, &q); err != nil {
		return Request{}, err
	}
	if q.Start == nil || q.Latency == nil || q.Code == nil {
		return Request{}, fmt.Errorf("a request without t, lat or code: %.100q", line)
	}
	q.Request.Start, q.Request.Latency, q.Request.Code = *q.Start, *q.Latency, *q.Code
	return q.Request, nil
}
