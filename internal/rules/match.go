package rules

import (
	"net/url"
	"regexp"
	"strings"

	v1 "istio.io/api/networking/v1"
)

// Request is what a route's match is asked of.
type Request struct {
	Method string // "" is not known
	Path   string // with the query; "" is not known
	// Authority is the Host header; "" is not known.
	Authority string
	Port      int
	Headers   map[string]string
	// Others says that the request may have headers that are not in Headers.
	Others bool
}

// Fits says whether the request fits the route's match, whatever comes before it. Gateways are the caller's names of gateways;
// none is mesh.
func (r *Route) Fits(req Request, c Caller, gateways ...string) Truth {
	if r.Spec == nil || len(r.Spec.GetMatch()) == 0 {
		return Yes
	}
	if len(gateways) == 0 {
		gateways = []string{MeshGateway}
	}
	out := No
	for _, m := range r.Spec.GetMatch() {
		out = out.or(fromCaller(m, req, c, gateways).and(fitsMatch(m, req)))
	}
	return out
}

// fromCaller is the part of a match that istiod decides: a match that is not for this proxy does not come to it. As in Istio,
// gateways in a match make its source labels and namespace void.
func fromCaller(m *v1.HTTPMatchRequest, req Request, c Caller, gateways []string) Truth {
	if m.GetPort() != 0 && req.Port != 0 && int(m.GetPort()) != req.Port {
		return No
	}
	if m.GetPort() != 0 && req.Port == 0 {
		return Unknown
	}
	if len(m.GetGateways()) > 0 {
		for _, g := range m.GetGateways() {
			for _, have := range gateways {
				if g == have || strings.HasSuffix(have, "/"+g) {
					return Yes
				}
			}
		}
		return No
	}
	return truth(includes(c.Labels, m.GetSourceLabels()) && (m.GetSourceNamespace() == "" || m.GetSourceNamespace() == c.Namespace))
}

// fitsMatch is the part of a match that the proxy decides.
func fitsMatch(m *v1.HTTPMatchRequest, req Request) Truth {
	path, query, _ := strings.Cut(req.Path, "?")
	out := fitsText(m.GetUri(), path, req.Path != "", m.GetIgnoreUriCase())
	out = out.and(fitsText(m.GetMethod(), req.Method, req.Method != "", false))
	out = out.and(fitsText(m.GetAuthority(), req.Authority, req.Authority != "", false))
	if m.GetScheme() != nil {
		out = out.and(Unknown)
	}
	for name, want := range m.GetHeaders() {
		out = out.and(req.fitsHeader(name, want))
	}
	for name, want := range m.GetWithoutHeaders() {
		out = out.and(req.lacksHeader(name, want))
	}
	for name, want := range m.GetQueryParams() {
		out = out.and(fitsQuery(name, want, query, req.Path != ""))
	}
	return out
}

// fitsText says whether the text fits; a match that is not there fits everything.
func fitsText(m *v1.StringMatch, text string, known, ignoreCase bool) Truth {
	if m == nil {
		return Yes
	}
	if !known {
		return Unknown
	}
	fold := func(s string) string { return s }
	if ignoreCase {
		fold = strings.ToLower
	}
	switch t := m.GetMatchType().(type) {
	case *v1.StringMatch_Exact:
		return truth(fold(text) == fold(t.Exact))
	case *v1.StringMatch_Prefix:
		return truth(strings.HasPrefix(fold(text), fold(t.Prefix)))
	case *v1.StringMatch_Regex:
		re, err := regexp.Compile("^(?:" + t.Regex + ")$")
		if err != nil {
			return Unknown
		}
		return truth(re.MatchString(text))
	}
	return Yes
}

// anything says that a match only asks that there is something: Istio reads an empty match and the regular expression * so.
func anything(m *v1.StringMatch) bool {
	return m.GetMatchType() == nil || m.GetRegex() == "*"
}

// header finds a header. known is false when the request may have it all the same.
func (r Request) header(name string) (value string, found, known bool) {
	if strings.HasPrefix(name, "@request.auth.claims") {
		return "", false, false
	}
	for k, v := range r.Headers {
		if strings.EqualFold(k, name) {
			return v, true, true
		}
	}
	return "", false, !r.Others && !added(name)
}

// added names headers that a client or a proxy on the way adds by itself.
func added(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{
		":", "host", "cookie", "authorization", "user-agent", "accept", "content-", "x-forwarded-", "x-request-id", "x-envoy-", "x-b3-", "traceparent",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func (r Request) fitsHeader(name string, want *v1.StringMatch) Truth {
	value, found, known := r.header(name)
	switch {
	case !known:
		return Unknown
	case !found:
		return No
	case anything(want):
		return Yes
	}
	return fitsText(want, value, true, false)
}

// lacksHeader takes a header that is missing as empty, unless any value is unwanted.
func (r Request) lacksHeader(name string, want *v1.StringMatch) Truth {
	value, found, known := r.header(name)
	switch {
	case !known:
		return Unknown
	case anything(want):
		return truth(!found)
	}
	return fitsText(want, value, true, false).not()
}

func fitsQuery(name string, want *v1.StringMatch, query string, known bool) Truth {
	if !known {
		return Unknown
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Unknown
	}
	switch {
	case !values.Has(name):
		return No
	case anything(want):
		return Yes
	}
	return fitsText(want, values.Get(name), true, false)
}
