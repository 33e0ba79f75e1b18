package rules

import (
	"fmt"
	"slices"
	"strings"
)

// Proxy is what stands between a caller and the mesh.
type Proxy int

// The proxies of callers.
const (
	NoProxy Proxy = iota
	Sidecar
	// GatewayProxy is the pod of an ingress or egress gateway: Gateways and the VirtualServices bound to them hold for it.
	GatewayProxy
)

// Caller is who sends a request, as the rules see it.
type Caller struct {
	Namespace string
	Labels    map[string]string
	Proxy     Proxy
	// ServiceAccount is part of the identity that the proxy shows; "" is default.
	ServiceAccount string
}

// CallerOf is the caller that a workload's pods are.
func CallerOf(w *Workload) Caller {
	c := Caller{Namespace: w.Namespace, Labels: w.Labels, ServiceAccount: w.ServiceAccount}
	if w.Sidecar {
		c.Proxy = Sidecar
	}
	return c
}

// Principal is the identity of the caller's proxy, or "" without one.
func (c Caller) Principal() string {
	if c.Proxy == NoProxy {
		return ""
	}
	account := c.ServiceAccount
	if account == "" {
		account = "default"
	}
	return "cluster.local/ns/" + c.Namespace + "/sa/" + account
}

// Routing is how a caller's proxy routes requests for a host and port.
type Routing struct {
	// Service is nil when no service has the host, which is usual at a gateway.
	Service *Service
	Port    int
	// Rules are the VirtualServices that hold, of which a sidecar takes one and a gateway all; none is Istio's default route.
	Rules []*VirtualService
	// Ignored are VirtualServices for the same host that do not hold because another is older.
	Ignored []*VirtualService
	// Routes are tried in order. A request that fits none is answered 404 by the caller's proxy.
	Routes []*Route
	// Unknown is why the routing cannot be told, or "".
	Unknown string
}

// Routing finds the rules of the caller's proxy for a host (full, or short for the caller's namespace) and port. For a gateway
// the host is the request's Host header.
func (m *Model) Routing(c Caller, host string, port int) Routing {
	r := Routing{Service: m.Service(host, c.Namespace), Port: port}
	switch c.Proxy {
	case NoProxy:
		r.Routes = m.defaultRoute(r.Service, port)
		return r
	case GatewayProxy:
		m.gatewayRules(c, host, &r)
	case Sidecar:
		m.sidecarRules(c, host, &r)
		if len(r.Rules) == 0 {
			r.Routes = m.defaultRoute(r.Service, port)
			return r
		}
	}
	for _, v := range r.Rules {
		for i := range v.Spec.GetHttp() {
			route := m.route(v, i, port)
			r.Routes = append(r.Routes, route)
		}
	}
	if s := r.Service; s != nil && c.Proxy == Sidecar {
		p, found := s.Port(port)
		switch {
		case !found:
			r.Unknown = fmt.Sprintf("%s has no port %d", s.Host, port)
		case p.HTTP() == No:
			r.Unknown = fmt.Sprintf("port %d of %s is %s, for which HTTP rules do not hold", port, s.Host, p.Protocol)
		case p.HTTP() == Unknown:
			r.Unknown = fmt.Sprintf("port %d of %s names no protocol, so that the proxy guesses it", port, s.Host)
		case len(r.Routes) == 0:
			r.Unknown = r.Rules[0].Ref.String() + " has no HTTP routes"
		}
	}
	return r
}

// sidecarRules takes the VirtualService with the exact host, else with the longest wildcard: of several the first in the order
// private to the caller's namespace, exported to it, public; and then the oldest.
func (m *Model) sidecarRules(c Caller, host string, r *Routing) {
	name := host
	if r.Service != nil {
		name = r.Service.Host
	}
	best := ""
	var fit []*VirtualService
	for _, v := range m.VirtualServices {
		if !slices.Contains(v.Gateways, MeshGateway) || !exported(v.Ref, v.Spec.GetExportTo(), c.Namespace) || v.port != 0 && v.port != r.Port {
			continue
		}
		for _, h := range v.Hosts {
			if !covers(h, name) || len(h) < len(best) || h != name && best == name {
				continue
			}
			if h != best {
				best, fit = h, nil
			}
			fit = append(fit, v)
			break
		}
	}
	slices.SortStableFunc(fit, func(a, b *VirtualService) int { return publicity(a) - publicity(b) })
	if len(fit) > 0 {
		r.Rules, r.Ignored = fit[:1], fit[1:]
	}
}

// publicity is 0 for what only one's own namespace sees, 2 for what all see.
func publicity(v *VirtualService) int {
	to := v.Spec.GetExportTo()
	switch {
	case len(to) == 0 || slices.Contains(to, "*"):
		return 2
	case len(to) == 1 && (to[0] == "." || to[0] == v.Ref.Object.GetNamespace()):
		return 0
	}
	return 1
}

// gatewayRules merges all VirtualServices with the most specific host that fits, oldest first.
func (m *Model) gatewayRules(c Caller, host string, r *Routing) {
	names, why := m.gatewaysOf(c, host, r.Port)
	if r.Unknown = why; why != "" || len(names) == 0 {
		return
	}
	best := ""
	for _, v := range m.VirtualServices {
		if !slices.ContainsFunc(v.Gateways, func(g string) bool { return slices.Contains(names, g) }) {
			continue
		}
		for _, h := range v.Hosts {
			if !covers(h, host) || len(h) < len(best) || h != host && best == host {
				continue
			}
			if h != best {
				best, r.Rules = h, nil
			}
			r.Rules = append(r.Rules, v)
			break
		}
	}
}

// gatewaysOf are the names of the Gateways that the pod serves and that have a server for the port and the host. why is why it
// cannot be told.
func (m *Model) gatewaysOf(c Caller, host string, port int) (names []string, why string) {
	for _, g := range m.Gateways {
		if !includes(c.Labels, g.Spec.GetSelector()) {
			continue
		}
		for i, s := range g.Spec.GetServers() {
			ref := g.Ref.At(".servers[%d]", i)
			if !slices.ContainsFunc(s.GetHosts(), func(h string) bool {
				_, name, found := strings.Cut(h, "/")
				if !found {
					name = h
				}
				return covers(name, host)
			}) {
				continue
			}
			switch {
			case int(s.GetPort().GetNumber()) != port:
				why = fmt.Sprintf("%s is for port %d, and whether port %d leads there is not known", ref, s.GetPort().GetNumber(), port)
			case s.GetTls() != nil:
				return nil, ref.String() + " terminates TLS or redirects to it"
			default:
				names = append(names, g.Name)
			}
		}
	}
	if len(names) > 0 {
		why = ""
	}
	return names, why
}

// Pick finds the route that a request takes. No: none fits, and the proxy answers 404. Unknown: the route is the first that may be
// taken, and others may be taken as well.
func (r Routing) Pick(req Request, c Caller, gateways ...string) (*Route, Truth) {
	for _, route := range r.Routes {
		switch route.Fits(req, c, gateways...) {
		case Yes:
			return route, Yes
		case Unknown:
			return route, Unknown
		}
	}
	return nil, No
}

// Reachable are the routes that a request may take: one, when it can be told.
func (r Routing) Reachable(req Request, c Caller, gateways ...string) []*Route {
	var out []*Route
	for _, route := range r.Routes {
		fit := route.Fits(req, c, gateways...)
		if fit != No {
			out = append(out, route)
		}
		if fit == Yes {
			break
		}
	}
	return out
}

// GatewayNames are the Gateways that the caller's pod serves, for Pick and Fits; mesh for a sidecar.
func (m *Model) GatewayNames(c Caller) []string {
	if c.Proxy != GatewayProxy {
		return []string{MeshGateway}
	}
	var out []string
	for _, g := range m.Gateways {
		if includes(c.Labels, g.Spec.GetSelector()) {
			out = append(out, g.Name)
		}
	}
	return out
}
