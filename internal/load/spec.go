// Package load drives Fortio's load at a target and hands over one record per call. It is the only importer of Fortio.
//
// Fortio gives the schedule: its periodic runner decides when which connection makes a call, evenly, with jitter or as fast
// as it can, by number or by time, and its ping service is the gRPC call. The HTTP/1.1 call is made here, on a connection of
// our own and with net/http to read the answer, and not by Fortio's fast client, since what that says cannot be judged by:
// it reports an answer that breaks off in its body as 200, sends a request again on its own when a kept connection fails,
// closes the connection on any status but 2xx and reads no further, does not say why a call failed, and cannot be
// interrupted. This one is as fast. HTTP/2 is net/http's transport, one per connection.
//
// Interruption: when the context ends, Fortio's runner is aborted, which stops what waits for its turn; each call looks at
// the context before it sends anything, which stops a runner that is behind its schedule and goes on; and calls under way
// fail at once, HTTP/1.1 because its socket's deadline is set to the past, the others because they follow the context.
package load

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// Protocol is how a load speaks to its target.
type Protocol string

// The protocols. H2 is HTTP/2 with prior knowledge on http URLs, and by TLS on https URLs. GRPC calls Fortio's ping service,
// fgrpc.PingServer/Ping, with the body as payload.
const (
	HTTP1 Protocol = "http/1.1"
	H2    Protocol = "h2"
	GRPC  Protocol = "grpc"
)

// DefaultTimeout is how long a call may take when Spec.Timeout is 0.
const DefaultTimeout = 10 * time.Second

// userAgent is the User-Agent of calls whose Headers have none.
const userAgent = "squall"

// Header is one header of each request. The order is kept for HTTP/1.1, and a name may come more than once.
type Header struct{ Name, Value string }

// Spec is one phase's load.
type Spec struct {
	URL      string // http or https; its host is the Host header, whatever Dial says
	Protocol Protocol
	// Dial is the ip:port or host:port where the URL's host is reached, such as a sidecar's outbound listener. Empty: the URL's
	// own host and port.
	Dial    string
	TLS     *TLS     `json:"-"` // for https URLs; nil: the system's authorities
	Method  string   // empty: GET, or POST with a body
	Headers []Header // Host replaces the URL's
	Body    []byte

	Connections int           // each has at most one call under way
	QPS         float64       // over all connections; 0: as fast as it can
	Requests    int64         // how many calls, exactly; or
	Duration    time.Duration // for how long calls are started; those under way are finished
	Timeout     time.Duration // of one call, from connecting to the last byte; 0: DefaultTimeout
	WarmUp      int64         // calls made before the load, over the connections and as fast as they can

	Jitter    bool // with QPS: each wait is 10 % longer or shorter, by Fortio's own random source, which Seed does not reach
	Uniform   bool // with QPS: the connections take turns rather than call together
	NoCatchUp bool // with QPS and Duration: calls that are late are left out
	Seed      int64

	NewConnectionPerRequest bool
	// RequestID makes each call carry an x-request-id of its own, unless Headers has one, so that a call without an answer can
	// be found in access logs and traces.
	RequestID bool
	// VersionHeader is the header of the answer that names the version that answered. Empty: none does.
	VersionHeader string
	// Find is looked for in each answer.
	Find []Find
}

// Validate returns all that is wrong, joined, each as "field: what". It refuses the loads that Fortio would change silently:
// those with so few calls that connections would stay idle.
func (s Spec) Validate() error {
	errs := []error{s.validateTarget(), s.validateHeaders(), s.validateFind(), s.TLS.Validate()}
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(s.Connections < 1, "connections: must be at least 1, not %d", s.Connections)
	wrong(s.QPS < 0 || s.QPS > 1e9 || s.QPS != s.QPS, "qps: must be 0, which is as fast as it can, or up to 1e9, not %v", s.QPS)
	wrong(s.Requests < 0, "requests: must be positive, not %d", s.Requests)
	wrong(s.Duration < 0, "duration: must be positive, not %v", s.Duration)
	wrong(s.Timeout < 0, "timeout: must be positive, not %v", s.Timeout)
	wrong(s.WarmUp < 0, "warmUp: must not be negative, not %d", s.WarmUp)
	wrong(s.Requests == 0 && s.Duration == 0, "requests: say how many, or a duration")
	wrong(s.Requests > 0 && s.Duration > 0, "requests: give these or a duration, not both")
	wrong(s.Protocol == GRPC && !utf8.Valid(s.Body), "body: a gRPC ping carries text, and this is no UTF-8")
	wrong(s.QPS == 0 && (s.Jitter || s.Uniform || s.NoCatchUp), "qps: jitter, uniform and noCatchUp need one")
	wrong(s.NoCatchUp && s.Requests > 0, "noCatchUp: leaves calls out, so it needs a duration and not a number of requests")
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.validateCalls()
}

// validateCalls checks that each connection has calls enough for Fortio: two with a QPS, else one.
func (s Spec) validateCalls() error {
	calls, each := s.Requests, int64(1)
	if s.QPS > 0 {
		each = 2
		if s.Duration > 0 {
			calls = int64(s.QPS * s.Duration.Seconds())
		}
	} else if s.Duration > 0 {
		return nil
	}
	if calls >= each*int64(s.Connections) || (s.Requests == 1 && s.Connections == 1) {
		return nil
	}
	return fmt.Errorf("connections: %d connections need at least %d calls, and this load has %d: ask for fewer connections or more calls",
		s.Connections, each*int64(s.Connections), calls)
}

func (s Spec) validateTarget() error {
	var errs []error
	switch s.Protocol {
	case "", HTTP1, H2, GRPC:
	default:
		errs = append(errs, fmt.Errorf("protocol: %q is none of %s, %s and %s", s.Protocol, HTTP1, H2, GRPC))
	}
	u, err := url.Parse(s.URL)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("url: %w", err))
	case u.Scheme != "http" && u.Scheme != "https":
		errs = append(errs, fmt.Errorf("url: %q must begin with http:// or https://", s.URL))
	case u.Hostname() == "":
		errs = append(errs, fmt.Errorf("url: %q has no host", s.URL))
	case u.User != nil:
		errs = append(errs, fmt.Errorf("url: a user in the URL is not sent; give an Authorization header"))
	}
	if s.Dial != "" {
		if _, port, err := net.SplitHostPort(s.Dial); err != nil || port == "" {
			errs = append(errs, fmt.Errorf("dial: %q must be host:port", s.Dial))
		}
	}
	if m := s.HTTPMethod(); !httpguts.ValidHeaderFieldName(m) || m == http.MethodConnect {
		errs = append(errs, fmt.Errorf("method: %q is no method of a load", m))
	} else if s.Protocol == GRPC && m != http.MethodPost && s.Method != "" {
		errs = append(errs, fmt.Errorf("method: gRPC has none but POST, not %s", m))
	}
	return errors.Join(errs...)
}

// framing are the headers that say how a message is framed, which is not the author's to say.
func framing() []string {
	return []string{"Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Te", "Trailer", "Expect"}
}

func (s Spec) validateHeaders() error {
	var errs []error
	for _, h := range s.Headers {
		switch name := http.CanonicalHeaderKey(h.Name); {
		case !httpguts.ValidHeaderFieldName(h.Name):
			errs = append(errs, fmt.Errorf("headers: %q is no name of a header", h.Name))
		case !httpguts.ValidHeaderFieldValue(h.Value):
			errs = append(errs, fmt.Errorf("headers: the value of %s has characters that no header can have", h.Name))
		case slices.Contains(framing(), name):
			errs = append(errs, fmt.Errorf("headers: %s is set by the protocol; for a connection per request there is newConnectionPerRequest", h.Name))
		case s.Protocol == GRPC && strings.HasPrefix(strings.ToLower(h.Name), "grpc-"):
			errs = append(errs, fmt.Errorf("headers: %s is set by gRPC", h.Name))
		}
	}
	if s.VersionHeader != "" && !httpguts.ValidHeaderFieldName(s.VersionHeader) {
		errs = append(errs, fmt.Errorf("versionHeader: %q is no name of a header", s.VersionHeader))
	}
	return errors.Join(errs...)
}

func (s Spec) protocol() Protocol {
	if s.Protocol == "" {
		return HTTP1
	}
	return s.Protocol
}

// HTTPMethod is the method of each call.
func (s Spec) HTTPMethod() string {
	switch {
	case s.Method != "":
		return s.Method
	case len(s.Body) > 0:
		return http.MethodPost
	}
	return http.MethodGet
}

// CallTimeout is how long one call may take.
func (s Spec) CallTimeout() time.Duration {
	if s.Timeout == 0 {
		return DefaultTimeout
	}
	return s.Timeout
}

// host is the Host header or authority.
func (s Spec) host(u *url.URL) string {
	for _, h := range s.Headers {
		if strings.EqualFold(h.Name, "Host") {
			return h.Value
		}
	}
	return u.Host
}

// HasHeader says whether Headers has one of that name.
func (s Spec) HasHeader(name string) bool {
	return slices.ContainsFunc(s.Headers, func(h Header) bool { return strings.EqualFold(h.Name, name) })
}
