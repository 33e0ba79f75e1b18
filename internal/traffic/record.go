// Package traffic is the interface-traffic record: one for each entry of a proxy's access log, whatever protocol it came by. It says
// which workload called which, by which interface, and what came of it. Interfaces are path templates; secrets are taken out before
// anything is kept.
package traffic

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Reporter is the proxy that wrote a record: the caller's or the callee's. A request through two sidecars has a record of each.
type Reporter string

// The reporters, as Istio names them.
const (
	Source      Reporter = "source"
	Destination Reporter = "destination"
)

// Unknown is a duration that the proxy did not tell, such as the upstream's when nothing was sent upstream. It is never 0.
const Unknown time.Duration = -1

// Bounds of what a proxy can tell: no entry that exceeds them is meant, and one alone would spoil the sums of all others.
const (
	MaxBytes    int64         = 1 << 50
	MaxDuration time.Duration = 365 * 24 * time.Hour
)

// Plausible is a duration that was told, or Unknown if none can have been so long or less than nothing.
func Plausible(d time.Duration) time.Duration {
	if d < 0 || d > MaxDuration {
		return Unknown
	}
	return d
}

// Workload is one end of a request. What is not known is empty.
type Workload struct {
	Namespace string
	Name      string // the workload: a Deployment's name
	Service   string // the Kubernetes service, without namespace
	Version   string // the label version
	Pod       string
	Address   string // IP:port
}

// Record is one request, or one TCP connection, as one proxy saw it.
type Record struct {
	ID          ID
	Time        time.Time // when the request began, by the proxy's clock
	Reporter    Reporter
	Run, Stage  string
	Source      Workload
	Destination Workload

	Protocol  string // HTTP/1.1, HTTP/2, HTTP/3, TCP
	Method    string // one of HTTP's, or OtherMethod; empty for TCP
	Path      string // as requested, without secrets
	Interface string // the template that Path belongs to, or Other
	Authority string
	Scheme    string

	Code      int    // 0: there was no answer, or it is TCP
	Flags     string // Envoy's response flags, by comma: "UF,URX"
	Details   string // Envoy's response code details
	Duration  time.Duration
	Upstream  time.Duration // from the first byte sent upstream to the last one received, or Unknown
	FirstByte time.Duration // to the first byte of the answer sent downstream, or Unknown

	BytesReceived, BytesSent int64 // bodies of HTTP, payload of TCP
	Attempts                 int

	RequestID, TraceID string
	UserAgent          string
	Principal          string // the caller's SPIFFE identity, by mutual TLS
	Route, Cluster     string
	Headers            map[string]string // those that the proxy was told to log, redacted
}

// Failed reports whether the request counts as an error: no answer, or a server's error. TCP fails when a flag says so.
func (r *Record) Failed() bool {
	if r.Protocol == "TCP" {
		return r.Flags != ""
	}
	return r.Code == 0 || r.Code >= 500
}

// ID identifies a record: 8 bytes of time, so that stores get them nearly sorted, and 8 bytes of a hash. The same entry has the same
// id whenever and by whomever it is sent, so that storing it twice is storing it once.
type ID [16]byte

// String is the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Hash is the part of the id that is not its time.
func (id ID) Hash() int64 { return int64(binary.BigEndian.Uint64(id[8:])) }

// NewID makes an id of its two parts; the time counts in nanoseconds since 1970.
func NewID(nanos, hash int64) (id ID) {
	binary.BigEndian.PutUint64(id[:8], uint64(nanos))
	binary.BigEndian.PutUint64(id[8:], uint64(hash))
	return id
}

// ParseID reads what String writes.
func ParseID(s string) (id ID, err error) {
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("a record's id has %d hexadecimal digits, not %d", 2*len(id), len(s))
	}
	_, err = hex.Decode(id[:], []byte(s))
	return id, err
}

// identify makes the id from what no two entries of one proxy share: its request on its connection, and what became of it. Node is the
// proxy's name, and stream Envoy's own name of the request, if it told it.
func (r *Record) identify(node, stream string) {
	h := sha256.New()
	var n [8]byte
	text := func(s string) {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	number := func(v int64) {
		binary.BigEndian.PutUint64(n[:], uint64(v))
		h.Write(n[:])
	}
	for _, s := range []string{node, stream, r.RequestID, r.Source.Address, r.Destination.Address, r.Method, r.Path, r.Flags, r.Cluster} {
		text(s)
	}
	for _, v := range []int64{r.Time.UnixNano(), int64(r.Duration), int64(r.FirstByte), int64(r.Code), r.BytesReceived, r.BytesSent} {
		number(v)
	}
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	r.ID = NewID(r.Time.UnixNano(), int64(binary.BigEndian.Uint64(sum[:8])))
}

// The times that a record may have: those whose nanoseconds fit, with room for a window around them.
var errTime = errors.New("no time between 1971 and 2200")

// Valid says what is wrong with a record that no store could keep.
func (r *Record) Valid() error {
	switch y := r.Time.Year(); {
	case y < 1971 || y > 2200:
		return fmt.Errorf("a record of %v: %w", r.Time, errTime)
	case r.Reporter != Source && r.Reporter != Destination:
		return fmt.Errorf("a record's reporter is %q: it is %s or %s", r.Reporter, Source, Destination)
	case r.ID == ID{}:
		return errors.New("a record has no id")
	}
	return nil
}
