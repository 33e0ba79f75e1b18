package record

import (
	"encoding/json"
	"math"
	"strconv"
)

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// appendRequest appends what json.Marshal makes of q, byte for byte, without reflection and allocation.
func appendRequest(b []byte, q *Request) []byte {
	b = appendFloat(append(b, `{"t":`...), q.Start)
	b = appendFloat(append(b, `,"lat":`...), q.Latency)
	b = strconv.AppendInt(append(b, `,"code":`...), int64(q.Code), 10)
	b = strconv.AppendInt(append(b, `,"conn":`...), int64(q.Conn), 10)
	b = strconv.AppendInt(append(b, `,"bytes":`...), q.Bytes, 10)
	if q.ID != "" {
		b = appendString(append(b, `,"id":`...), q.ID)
	}
	if q.Version != "" {
		b = appendString(append(b, `,"ver":`...), q.Version)
	}
	if q.Found != "" {
		b = appendString(append(b, `,"found":`...), q.Found)
	}
	if q.Error != "" {
		b = appendString(append(b, `,"err":`...), q.Error)
	}
	if q.Late != 0 {
		b = appendFloat(append(b, `,"late":`...), q.Late)
	}
	if q.Worker != 0 {
		b = strconv.AppendInt(append(b, `,"w":`...), int64(q.Worker), 10)
	}
	return append(b, '}')
}

// AppendRequest appends the request as a line of requests.ndjson, without its end. Times that are no finite numbers cannot be read
// again.
func AppendRequest(b []byte, q *Request) []byte { return appendRequest(b, q) }

func appendFloat(b []byte, f float64) []byte {
	if a := math.Abs(f); a == 0 || (a >= 1e-6 && a < 1e21) {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' { // e-09 is e-9 in encoding/json
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	return b
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if !plain(s[i]) || s[i] == '<' || s[i] == '>' || s[i] == '&' {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendEscaped leaves the rare strings to encoding/json; invalid UTF-8 becomes U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	e, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...) // json.Marshal has no error for a string
	}
	return append(b, e...)
}

// plain says that a byte stands for itself within a JSON string.
func plain(c byte) bool { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' }
