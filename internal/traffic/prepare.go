package traffic

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// OtherMethod stands for all methods that HTTP does not define, so that a client cannot invent interfaces.
const OtherMethod = "_OTHER"

// maxAhead is how far a proxy's clock may be ahead of this one.
const maxAhead = time.Minute

// The longest texts that are kept, in bytes.
const (
	maxPath  = 2048
	maxText  = 512
	maxShort = 256
)

// Preparer makes records fit to be kept: it redacts, names the interface and gives the id. It may be used by many at once.
type Preparer struct {
	redact *Redactor
	names  *Interfaces
	now    func() time.Time
}

// NewPreparer makes one. A nil now is the machine's clock.
func NewPreparer(redact *Redactor, names *Interfaces, now func() time.Time) *Preparer {
	if now == nil {
		now = time.Now
	}
	return &Preparer{redact, names, now}
}

// Prepare completes a record in place. Node is the name of the proxy that wrote it, and stream Envoy's own name of the request, or
// empty. An entry without a usable time, as of a proxy whose clock is ahead, gets the time at which it came: it would not be found else, or hide all
// others, as pages show what is newest.
// Numbers that cannot be meant are brought within their bounds. The id is made of the raw entry, so that other rules do not make another
// record of it.
func (p *Preparer) Prepare(r *Record, node, stream string) {
	if now := p.now(); r.Time.Year() < 1971 || r.Time.After(now.Add(maxAhead)) {
		r.Time = now
	}
	r.Time = r.Time.UTC()
	r.identify(node, stream)
	r.bound()
	r.Method = method(r.Method, r.Protocol)
	if r.Protocol != "TCP" {
		path := p.redact.Path(r.Path)
		r.Interface = p.names.Of(Key{r.Destination.Namespace, service(r)}, r.Method, r.Path)
		r.Path = path
	}
	r.Authority = clean(p.redact.authority(r.Authority), maxShort)
	r.UserAgent = clean(p.redact.Text(r.UserAgent), maxText)
	r.Details = clean(p.redact.Text(r.Details), maxText)
	r.Headers = p.redact.Headers(r.Headers)
	for _, s := range []*string{
		&r.Run, &r.Stage, &r.Protocol, &r.Scheme, &r.Flags, &r.RequestID, &r.TraceID, &r.Principal, &r.Route, &r.Cluster,
		&r.Source.Namespace, &r.Source.Name, &r.Source.Service, &r.Source.Version, &r.Source.Pod, &r.Source.Address,
		&r.Destination.Namespace, &r.Destination.Name, &r.Destination.Service, &r.Destination.Version, &r.Destination.Pod, &r.Destination.Address,
	} {
		*s = clean(*s, maxShort)
	}
}

func (r *Record) bound() {
	for _, d := range []*time.Duration{&r.Duration, &r.Upstream, &r.FirstByte} {
		*d = Plausible(*d)
	}
	for _, n := range []*int64{&r.BytesReceived, &r.BytesSent} {
		*n = min(max(*n, 0), MaxBytes)
	}
}

// service is what the interfaces of a record are counted for.
func service(r *Record) string {
	if r.Destination.Service != "" {
		return r.Destination.Service
	}
	return r.Destination.Name
}

func method(m, protocol string) string {
	known := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
	if m == "" && protocol == "TCP" || slices.Contains(known, m) {
		return m
	}
	return OtherMethod
}

// clean cuts a text at limit, and replaces what is no UTF-8 and what would move a terminal's cursor.
func clean(s string, limit int) string {
	plain := len(s) <= limit
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit] + "…"
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\uFFFD'
		}
		return r
	}, s)
}
