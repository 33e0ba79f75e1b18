package record

import (
	"encoding/json"
	"fmt"
)

// accessFields reads the members of an Access.
type accessFields struct {
	a        Access
	in       interned
	required bool // the code was seen
}

func (f *accessFields) field(key, value []byte, quoted bool) error {
	v := set{value, quoted}
	a := &f.a
	switch string(key) {
	case "start":
		if !quoted {
			return errUnusual
		}
		if err := a.Start.UnmarshalText(value); err != nil {
			return errUnusual
		}
		return nil
	case "duration_ms":
		return v.float(&a.Duration)
	case "duration_us":
		return v.float(&a.Micros)
	case "code":
		f.required = value != nil
		return v.int(&a.Code)
	case "attempts":
		return v.int(&a.Attempts)
	case "bytes_sent":
		return v.int64(&a.BytesSent, 64)
	case "request_id":
		return v.str(&a.RequestID, nil)
	}
	if s := a.text(key); s != nil {
		return v.str(s, f.in)
	}
	return unknown(key, "start", "duration_ms", "method", "path", "authority", "code", "flags", "details", "route",
		"upstream_cluster", "upstream_host", "downstream", "principal", "request_id", "attempts", "bytes_sent", "load", "duration_us")
}

// text is the member of that name, of those whose values come again and again, or nil.
func (a *Access) text(key []byte) *string {
	switch string(key) {
	case "method":
		return &a.Method
	case "path":
		return &a.Path
	case "authority":
		return &a.Authority
	case "flags":
		return &a.Flags
	case "details":
		return &a.Details
	case "route":
		return &a.Route
	case "upstream_cluster":
		return &a.Cluster
	case "upstream_host":
		return &a.Upstream
	case "downstream":
		return &a.Downstream
	case "principal":
		return &a.Principal
	case "load":
		return &a.Load
	}
	return nil
}

// parseAccess reads one access log entry. An entry without a code is an error; null strings, Envoy's way to say that there
// is none, are empty.
func parseAccess(line []byte, p *parser) (Access, error) {
	f := &p.access
	f.a, f.required = Access{}, false
	if err := scanFlat(line, f); err == nil && f.required {
		return f.a, nil
	}
	return slowAccess(line)
}

func slowAccess(line []byte) (Access, error) {
	var a struct {
		Access
		Code *int `json:"code"`
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return Access{}, err
	}
	if a.Code == nil {
		return Access{}, fmt.Errorf("an access log entry without a code: %.100q", line)
	}
	a.Access.Code = *a.Code
	return a.Access, nil
}

// AccessReader reads access log entries. It keeps strings that come again and again, up to a limit. It is not safe for concurrent use.
type AccessReader struct{ p *parser }

// NewAccessReader makes a reader.
func NewAccessReader() *AccessReader { return &AccessReader{newParser()} }

// Read reads one entry. One without a code is an error.
func (r *AccessReader) Read(line []byte) (Access, error) { return parseAccess(line, r.p) }
