package step

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
)

// edge is whose requests the rules of a VirtualService are for, as far as proofs look at them.
type edge struct {
	host    Host     // whose callers; of a service that only gateways follow, where its first route leads
	direct  bool     // the load generator's own proxy follows the rules
	request *Request // what comes to the rules; nil is not known
	gateway bool     // only gateways follow them
}

// edgesOf are the edges that the service rules. Hosts that no service has are left out.
func (c *compiler) edgesOf(u *unstructured.Unstructured) []edge {
	var out []edge
	if !isForSidecars(u) {
		e := edge{gateway: true}
		if slices.ContainsFunc(c.selectorsOf(u), c.targetsGateway) {
			e.request = c.opts.Request
		}
		for _, route := range fields.Maps(specOf(u), "http") {
			for _, name := range destinationsOf(route, u.GetNamespace()) {
				if h, ok := c.set.Resolve(name, c.opts.Namespace); ok {
					e.host = h
					return []edge{e}
				}
			}
		}
		return nil
	}
	for _, host := range hostsOf(u) {
		h, ok := c.set.Resolve(istioName(host, u.GetNamespace()), c.opts.Namespace)
		if !ok || slices.ContainsFunc(out, func(e edge) bool { return e.host.FQDN == h.FQDN }) {
			continue
		}
		e := edge{host: h, direct: c.isTarget(h)}
		if e.direct {
			e.request = c.opts.Request
		}
		out = append(out, e)
	}
	return out
}

// selectorsOf are the labels of the gateways that follow the service, as far as they are known.
func (c *compiler) selectorsOf(u *unstructured.Unstructured) (out []map[string]string) {
	gateways, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "gateways")
	for _, name := range gateways {
		namespace, short, qualified := strings.Cut(name, "/")
		if !qualified {
			namespace, short = u.GetNamespace(), name
		}
		if g, ok := c.set.objects[key{networking, "Gateway", namespace, short}]; ok {
			labels, _, _ := unstructured.NestedStringMap(g.Object, "spec", "selector")
			out = append(out, labels)
		}
	}
	return out
}

// proveService proves what a VirtualService does that it did not do before; before may be nil.
func (c *compiler) proveService(before, u *unstructured.Unstructured) (out []Proof) {
	for _, kind := range []string{"tcp", "tls"} {
		if list := fields.Maps(specOf(u), kind); len(list) > 0 && !sameIn(before, u, kind) {
			c.state(u.GetKind()+" %s: Squall has no proof of routes for %s", u.GetName(), kind)
		}
	}
	edges := c.edgesOf(u)
	if len(edges) == 0 {
		c.state(u.GetKind()+" %s: none of its hosts is a service", u.GetName())
		return nil
	}
	for _, e := range edges {
		out = append(out, c.proveFaults(e, before, u)...)
		if !sameWays(before, u) {
			out = append(out, c.proveDestinations(&e, u)...)
		}
	}
	c.stateLimits(edges[0].host, before, u)
	return out
}

// oldRoute is the route that had the same match before, nil for none.
func oldRoute(before *unstructured.Unstructured, route map[string]any) map[string]any {
	if before == nil {
		return nil
	}
	for _, old := range fields.Maps(specOf(before), "http") {
		if reflect.DeepEqual(old["match"], route["match"]) {
			return old
		}
	}
	return nil
}

func sameIn(before, u *unstructured.Unstructured, field string) bool {
	return before != nil && reflect.DeepEqual(specOf(before)[field], specOf(u)[field])
}

// sameWays says whether requests take the same ways as before.
func sameWays(before, u *unstructured.Unstructured) bool {
	ways := func(u *unstructured.Unstructured) (out []any) {
		for _, route := range fields.Maps(specOf(u), "http") {
			out = append(out, route["match"], route["route"])
		}
		return out
	}
	return before != nil && reflect.DeepEqual(ways(before), ways(u)) && sameIn(before, u, "hosts") && sameIn(before, u, "gateways")
}

// proveFaults proves the faults and mirrors that are new. A fault on a route that the load does not take is stated, and its
// proof is in c.missed.
func (c *compiler) proveFaults(e edge, before, u *unstructured.Unstructured) (out []Proof) {
	routes := fields.Maps(specOf(u), "http")
	reached := reaches(routes, e.request)
	for _, kind := range []string{"delay", "abort"} {
		out = append(out, c.proveFault(kind, e, before, u, reached)...)
	}
	for i, route := range routes {
		old := oldRoute(before, route)
		if reached[i] == never || reflect.DeepEqual(old["mirror"], route["mirror"]) && reflect.DeepEqual(old["mirrors"], route["mirrors"]) {
			continue
		}
		for _, to := range mirrorsOf(route) {
			if h, ok := c.set.Resolve(istioName(str(to, "host"), u.GetNamespace()), c.opts.Namespace); ok {
				out = append(out, c.proveCopies(h, str(to, "subset"))...)
			}
		}
	}
	return out
}

// proveFault proves the faults of a kind that are new, all of them by one proof.
func (c *compiler) proveFault(kind string, e edge, before, u *unstructured.Unstructured, reached []reach) []Proof {
	var fresh, missed, kept []map[string]any
	for i, route := range fields.Maps(specOf(u), "http") {
		fault, _ := route["fault"].(map[string]any)
		oldFault, _ := oldRoute(before, route)["fault"].(map[string]any)
		switch {
		case fault[kind] == nil:
		case reflect.DeepEqual(fault[kind], oldFault[kind]):
			kept = append(kept, route)
		case reached[i] == never:
			missed = append(missed, route)
			c.state(u.GetKind()+" %s: no request of the load comes to the %s on its route %d", u.GetName(), kind, i+1)
		default:
			fresh = append(fresh, route)
		}
	}
	if len(fresh) == 0 {
		if len(missed) > 0 {
			c.missed = append(c.missed, c.proveApart(kind, e.host, e.direct, ownFaults(u, kind, missed, kept), false)...)
		}
		return nil
	}
	return c.proveApart(kind, e.host, e.direct, ownFaults(u, kind, fresh, append(kept, missed...)), false)
}

func mirrorsOf(route map[string]any) (out []map[string]any) {
	if to, ok := route["mirror"].(map[string]any); ok {
		out = append(out, to)
	}
	for _, m := range fields.Maps(route, "mirrors") {
		out = append(out, fields.Child(m, "destination"))
	}
	return out
}

// stateLimits names what is new in the routes and has no proof: limits that need not be reached, and fields of which the
// proxies count nothing.
func (c *compiler) stateLimits(h Host, before, u *unstructured.Unstructured) {
	limits := map[string]string{
		"timeout": "timeouts(%s) > 0", "retries": "retries(%s) > 0",
	}
	proven := []string{"match", "name", "route", "fault", "mirror", "mirrors", "mirrorPercentage", "mirrorPercent", "mirror_percent"}
	said := map[string]bool{}
	for _, route := range fields.Maps(specOf(u), "http") {
		old := oldRoute(before, route)
		for field, value := range route {
			if slices.Contains(proven, field) || reflect.DeepEqual(old[field], value) {
				continue
			}
			said[field] = true
		}
	}
	var others []string
	for _, field := range sortedKeys(said) {
		if check, ok := limits[field]; ok {
			c.state(u.GetKind()+" %s: its %s need not take effect on this load; a check such as "+check+" asks that it does",
				u.GetName(), field, fmt.Sprintf("%q", c.called(h)))
			continue
		}
		others = append(others, field)
	}
	if len(others) > 0 {
		c.state(u.GetKind()+" %s: Squall has no proof of %s; write checks that show it", u.GetName(), strings.Join(others, ", "))
	}
}
