package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	v1 "istio.io/api/networking/v1"
)

// defaultRetryOn is what Istio retries unless a rule says otherwise: twice, and of the answers none, since it names no status code.
const (
	defaultRetryOn  = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	defaultAttempts = 2
)

// Route is one HTTP route.
type Route struct {
	Ref  Ref
	Spec *v1.HTTPRoute // nil for Istio's default route
	Name string        // default for Istio's default route
	// Destinations have shares that sum to 1; empty when the proxy answers by itself.
	Destinations []Destination
	Delay        *Delay
	Abort        *Abort
	// Timeout of 0 is none.
	Timeout    time.Duration
	TimeoutRef Ref
	Retries    Retries
	Mirrors    []Destination
	// Status is what the proxy answers by itself, of a redirect or a direct response; 0 when it forwards.
	Status int
	// NoCluster is the status of the answer when a destination is no service.
	NoCluster int
	// Unknown is why what the route does cannot be told, such as a delegate.
	Unknown string

	gateways []string // of the VirtualService
	ns       string
}

// Destination is where a share of requests, or of copies, goes.
type Destination struct {
	Ref    Ref
	Host   string // full name
	Subset string
	Port   int
	Share  float64 // 0 to 1
}

// Delay holds a share of requests back before they are routed.
type Delay struct {
	Ref   Ref
	Share float64
	Fixed time.Duration
}

// Abort answers a share of requests in the caller's proxy.
type Abort struct {
	Ref    Ref
	Share  float64
	Status int    // HTTP
	GRPC   string // gRPC's status, when Status is 0
}

// Retries is what the caller's proxy tries again.
type Retries struct {
	Ref      Ref // zero: Istio's default
	Attempts int // beyond the first
	On       []string
	Codes    []int
	PerTry   time.Duration // 0 is none
}

// Retried says whether an answer with the code is tried again.
func (r Retries) Retried(code int) bool {
	if r.Attempts == 0 {
		return false
	}
	for _, on := range r.On {
		switch on {
		case "5xx":
			if code >= 500 {
				return true
			}
		case "gateway-error":
			if code >= 502 && code <= 504 {
				return true
			}
		case "retriable-4xx":
			if code == 409 {
				return true
			}
		case "retriable-status-codes":
			for _, c := range r.Codes {
				if c == code {
					return true
				}
			}
		}
	}
	return false
}

// Answers says whether any answer of a service is tried again, and not only what fails on the way.
func (r Retries) Answers() bool {
	return r.Has("5xx", "gateway-error", "retriable-4xx") || r.Has("retriable-status-codes") && len(r.Codes) > 0
}

// Has says whether one of the conditions, in Envoy's words, is tried again.
func (r Retries) Has(conditions ...string) bool {
	for _, on := range r.On {
		for _, c := range conditions {
			if r.Attempts > 0 && on == c {
				return true
			}
		}
	}
	return false
}

func defaultRetries() Retries {
	return Retries{Attempts: defaultAttempts, On: strings.Split(defaultRetryOn, ",")}
}

func (m *Model) defaultRoute(s *Service, port int) []*Route {
	if s == nil {
		return nil
	}
	return []*Route{{
		Name: "default", Retries: defaultRetries(), NoCluster: 503, gateways: []string{MeshGateway},
		Destinations: []Destination{{Host: s.Host, Port: port, Share: 1}},
	}}
}

// route reads one http route of a VirtualService.
func (m *Model) route(v *VirtualService, i, port int) *Route {
	spec := v.Spec.GetHttp()[i]
	r := &Route{
		Ref: v.Ref.At("%s", v.httpPath(i)), Spec: spec, Name: spec.GetName(), NoCluster: 503,
		gateways: v.Gateways, ns: v.Ref.Object.GetNamespace(),
	}
	backends := ".route[%d]"
	if v.IsGatewayAPI() {
		r.NoCluster, backends = 500, ".backendRefs[%d]"
	}
	if v.IsGatewayAPI() && spec.GetRewrite() != nil {
		r.Unknown = r.Ref.String() + " rewrites the request, and what comes of that is not known"
	}
	if spec.GetDelegate() != nil {
		r.Unknown = r.Ref.At(".delegate").String() + ": routes of a delegate are not known"
	}
	r.Status = answered(spec)
	r.split(m, port, backends)
	r.faults()
	r.Timeout, r.TimeoutRef = spec.GetTimeout().AsDuration(), r.Ref.At(".timeout")
	r.Retries = r.retries()
	r.mirrors(m, port)
	return r
}

// answered is the status of what the proxy answers by itself.
func answered(spec *v1.HTTPRoute) int {
	switch {
	case spec.GetRedirect() != nil:
		if code := spec.GetRedirect().GetRedirectCode(); code != 0 {
			return int(code)
		}
		return 301
	case spec.GetDirectResponse() != nil:
		return int(spec.GetDirectResponse().GetStatus())
	}
	return 0
}

// split reads the destinations. One alone gets everything, whatever its weight; of several, those of weight 0 get nothing.
func (r *Route) split(m *Model, port int, path string) {
	sum := 0.0
	for _, d := range r.Spec.GetRoute() {
		sum += float64(d.GetWeight())
	}
	for i, d := range r.Spec.GetRoute() {
		share := 1.0
		if len(r.Spec.GetRoute()) > 1 {
			if d.GetWeight() == 0 {
				continue
			}
			share = float64(d.GetWeight()) / sum
		}
		out := m.destination(d.GetDestination(), r.ns, port)
		out.Ref, out.Share = r.Ref.At(path, i), share
		r.Destinations = append(r.Destinations, out)
	}
	if len(r.Destinations) == 0 && r.Status == 0 && r.Unknown == "" {
		r.Unknown = r.Ref.String() + " has no destination"
	}
}

// destination completes the host; without a port it is the caller's, or the service's only one.
func (m *Model) destination(d *v1.Destination, ns string, port int) Destination {
	out := Destination{Host: fullName(d.GetHost(), ns), Subset: d.GetSubset(), Port: int(d.GetPort().GetNumber())}
	if out.Port == 0 {
		out.Port = port
		if s := m.Service(out.Host, ns); s != nil && len(s.Ports) == 1 {
			out.Port = s.Ports[0].Number
		}
	}
	return out
}

// faults reads delay and abort. A percentage that is not there is none.
func (r *Route) faults() {
	ref := r.Ref.At(".fault")
	if d := r.Spec.GetFault().GetDelay(); d != nil {
		share := float64(d.GetPercent()) / 100 //nolint:staticcheck // the old name is still honoured
		if d.GetPercentage() != nil {
			share = percent(d.GetPercentage())
		}
		if d.GetFixedDelay() != nil {
			r.Delay = &Delay{ref.At(".delay"), share, d.GetFixedDelay().AsDuration()}
		}
	}
	if a := r.Spec.GetFault().GetAbort(); a != nil {
		r.Abort = &Abort{Ref: ref.At(".abort"), Share: percent(a.GetPercentage()), Status: int(a.GetHttpStatus()), GRPC: a.GetGrpcStatus()}
	}
}

func (r *Route) retries() Retries {
	spec := r.Spec.GetRetries()
	if spec == nil {
		return defaultRetries()
	}
	out := Retries{Ref: r.Ref.At(".retries"), Attempts: int(spec.GetAttempts()), PerTry: spec.GetPerTryTimeout().AsDuration()}
	if out.Attempts <= 0 {
		out.Attempts = 0
		return out
	}
	on := spec.GetRetryOn()
	if on == "" {
		on = defaultRetryOn
	}
	for _, word := range strings.Split(on, ",") {
		word = strings.TrimSpace(word)
		if code, err := strconv.Atoi(word); err == nil {
			out.Codes = append(out.Codes, code)
		} else if word != "" {
			out.On = append(out.On, word)
		}
	}
	if len(out.Codes) > 0 && !out.Has("retriable-status-codes") {
		out.On = append(out.On, "retriable-status-codes")
	}
	return out
}

func (r *Route) mirrors(m *Model, port int) {
	if d := r.Spec.GetMirror(); d != nil {
		out := m.destination(d, r.ns, port)
		out.Ref, out.Share = r.Ref.At(".mirror"), 1
		switch {
		case r.Spec.GetMirrorPercentage() != nil:
			out.Share = percent(r.Spec.GetMirrorPercentage())
		case r.Spec.GetMirrorPercent() != nil: //nolint:staticcheck // the old name is still honoured
			out.Share = float64(r.Spec.GetMirrorPercent().GetValue()) / 100 //nolint:staticcheck // as above
		}
		r.Mirrors = append(r.Mirrors, out)
	}
	for i, p := range r.Spec.GetMirrors() {
		out := m.destination(p.GetDestination(), r.ns, port)
		out.Ref, out.Share = r.Ref.At(".mirrors[%d]", i), 1
		if p.GetPercentage() != nil {
			out.Share = percent(p.GetPercentage())
		}
		r.Mirrors = append(r.Mirrors, out)
	}
}

// percent is a share as Envoy gets it: in whole millionths.
func percent(p *v1.Percent) float64 {
	return float64(uint32(p.GetValue()*10000)) / 1e6
}

// String names the destination as a person does.
func (d Destination) String() string {
	if d.Subset == "" {
		return d.Host
	}
	return fmt.Sprintf("%s subset %s", d.Host, d.Subset)
}
