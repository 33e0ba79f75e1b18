package traffic

import "strings"

const (
	idSegment  = "{id}"
	maxSegment = 64 // a longer one is nobody's name for a thing
)

// generalize is the segment of the interface that one of a path belongs to: {id} when it looks like an id, else itself. An extension and
// what stands before the number stay: order-17.json is order-{id}.json.
func generalize(s string) string {
	if len(s) > maxSegment {
		return idSegment
	}
	if i := strings.IndexByte(s, '@'); i > 0 && i < len(s)-1 {
		return idSegment
	}
	stem, ext := s, ""
	if i := strings.LastIndexByte(s, '.'); i > 0 && len(s)-i <= 6 && !digits(s[i+1:]) {
		stem, ext = s[:i], s[i:]
	}
	if !strings.ContainsAny(stem, "0123456789") {
		return clean(s, maxSegment)
	}
	if identifier(stem) {
		return idSegment + clean(ext, maxSegment)
	}
	return clean(numbered(stem)+ext, maxSegment)
}

// identifier reports whether all of a segment is an id: a number, a UUID, a hash, a date, an IP address, a token.
func identifier(s string) bool {
	var digit, letter, upper, lower, hex, sign int
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			digit++
			hex++
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			letter++
			if c|0x20 <= 'f' {
				hex++
			}
			if c < 'a' {
				upper++
			} else {
				lower++
			}
		case c == '-' || c == '_' || c == ':' || c == '.' || c == '=' || c == '+':
			sign++
		default:
			return false
		}
	}
	switch {
	case digit == 0:
		return false
	case letter == 0: // numbers, dates, versions
		return true
	case hex+sign == len(s) && hex >= 8: // UUIDs and hashes
		return true
	case letter+digit == 26 && lower == 0, letter+digit == 26 && upper == 0 && digit > 3: // ULIDs
		return true
	}
	return secret(s) || len(s) >= 16 && upper > 0 && lower > 0 && digit > 1 && sign == 0
}

// numbered replaces the numbers between signs: order-17 is order-{id}. Numbers within a word are its own: s3, v2, oauth2.
func numbered(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		end := strings.IndexAny(s[i:], "-_.:,=")
		if end < 0 {
			end = len(s) - i
		}
		if part := s[i : i+end]; digits(part) {
			b.WriteString(idSegment)
		} else {
			b.WriteString(part)
		}
		if i += end; i < len(s) {
			b.WriteByte(s[i])
		}
		i++
	}
	return b.String()
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
