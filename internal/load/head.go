package load

import (
	"bytes"

	"golang.org/x/net/http/httpguts"
)

// head is what a call needs to know of the head of an answer.
type head struct {
	size    int // of the head in bytes
	code    int
	length  int // of the body
	id      []byte
	version []byte
}

// quickHead reads the head of an ordinary answer, which is most of a call's cost when net/http reads it. Ordinary is: whole,
// of HTTP/1.1, with a body of a stated length, and saying nothing about the connection. It refuses all else, which net/http
// then reads, and whatever net/http would refuse.
func quickHead(b []byte, versionHeader []byte) (h head, ok bool) {
	const status = "HTTP/1.1 200 "
	if len(b) < len(status) || string(b[:9]) != status[:9] || b[12] != ' ' {
		return h, false
	}
	h.code, ok = number(b[9:12])
	if !ok || h.code < 200 || h.code == 204 || h.code == 304 {
		return h, false
	}
	h.length = -1
	_, n := cutLine(b)
	for h.size = n; n > 0; h.size += n {
		var line []byte
		if line, n = cutLine(b[h.size:]); n == 2 {
			h.size += n
			return h, h.length >= 0
		}
		if n == 0 || !h.field(line, versionHeader) {
			break
		}
	}
	return h, false
}

// cutLine is the first line of b without its end, and how many bytes it has with it: none when it has no end.
func cutLine(b []byte) (line []byte, n int) {
	n = bytes.IndexByte(b, '\n') + 1
	if n < 2 || b[n-2] != '\r' {
		return nil, 0
	}
	return b[:n-2], n
}

// field takes one header, and says whether it is an ordinary one.
func (h *head) field(line, versionHeader []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return false
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	for _, c := range name {
		if !httpguts.IsTokenRune(rune(c)) {
			return false
		}
	}
	for _, c := range value {
		if c < ' ' || c > '~' {
			return false
		}
	}
	switch {
	case is(name, "content-length"):
		var ok bool
		if h.length >= 0 {
			return false
		}
		h.length, ok = number(value)
		return ok
	case is(name, "connection"), is(name, "transfer-encoding"), is(name, "trailer"):
		return false
	case h.id == nil && is(name, "x-request-id"):
		h.id = value
	case h.version == nil && len(name) == len(versionHeader) && bytes.EqualFold(name, versionHeader):
		h.version = value
	}
	return true
}

// is compares a header's name with one in lower case.
func is(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// number reads up to nine digits.
func number(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
