package step

import (
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/scenario"
)

// routing collects what steps do to the routes of one host, so that the routes are rewritten once: first what is for all
// of them, then the copies that are narrowed by a match.
type routing struct {
	object *unstructured.Unstructured
	edits  []edit
	copies map[string][]map[string]any // the routes that are for a step's match, by the step's path
}

// edit changes one route in place.
type edit struct {
	step  scenario.Step
	match *scenario.Match // nil: all routes that have destinations
	// insert puts a route for the match before all others, instead of copies of each route.
	insert bool
	// first makes the copies for the match before those of edits that are not first, so that these reach them too.
	first bool
	// unmatchedOnly leaves routes with a match alone, unless all have one.
	unmatchedOnly bool
	apply         func(route map[string]any)
	// leadsTo narrows the edit to routes to this host, when it is not "".
	leadsTo, namespace string
}

// reaches says whether the edit is for the route, its match apart.
func (e edit) reaches(route map[string]any) bool {
	if e.leadsTo == "" {
		return hasDestinations(route)
	}
	return slices.Contains(destinationsOf(route, e.namespace), e.leadsTo)
}

// destinationsOf are the full names of the hosts that the route leads to.
func destinationsOf(route map[string]any, namespace string) []string {
	var out []string
	for _, d := range fields.Maps(route, "route") {
		to, _ := d["destination"].(map[string]any)
		if name := istioName(str(to, "host"), namespace); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// route registers an edit of the routes to a host: of the sidecars that call it, and of the gateways that lead to it.
func (c *compiler) route(h Host, e edit) {
	e.step = c.step
	u := c.virtualService(h)
	if u == nil {
		return
	}
	c.register(u, e)
	for _, g := range c.gatewayServices(h) {
		if keyOf(g) == keyOf(u) {
			continue
		}
		e.leadsTo, e.namespace, e.insert, e.first = h.FQDN, g.GetNamespace(), false, e.insert
		c.register(c.edit(g, ""), e)
	}
}

func (c *compiler) register(u *unstructured.Unstructured, e edit) {
	k := keyOf(u)
	if c.routes[k] == nil {
		c.routes[k] = &routing{object: u, copies: map[string][]map[string]any{}}
	}
	c.routes[k].edits = append(c.routes[k].edits, e)
}

// leadingTo are the VirtualServices by which gateways lead to the host.
func (c *compiler) leadingTo(h Host) []*unstructured.Unstructured {
	return slices.DeleteFunc(c.set.list(networking, "VirtualService"), func(u *unstructured.Unstructured) bool {
		return !isForGateways(u) || !slices.ContainsFunc(fields.Maps(specOf(u), "http"), func(route map[string]any) bool {
			return slices.Contains(destinationsOf(route, u.GetNamespace()), h.FQDN)
		})
	})
}

// gatewayServices are those leading to the host. One that mixes it with other hosts is a problem.
func (c *compiler) gatewayServices(h Host) []*unstructured.Unstructured {
	out := c.leadingTo(h)
	for _, u := range out {
		for _, route := range fields.Maps(specOf(u), "http") {
			if hosts := destinationsOf(route, u.GetNamespace()); len(hosts) > 1 && slices.Contains(hosts, h.FQDN) {
				c.problem("host", fmt.Sprintf("the route %s of the VirtualService %s leads from a gateway to other hosts too", nameOf(route), u.GetName()),
					"give each host a route of its own")
				return nil
			}
		}
	}
	return out
}

// virtualService returns the service of the host to change; nil when there is none to choose, which was reported.
func (c *compiler) virtualService(h Host) *unstructured.Unstructured {
	if routes := c.httpRoutesOf(h); len(routes) > 0 {
		hint := "take it away, or write api: gateway in the step"
		if slices.Contains([]string{"delay", "abort", "retries"}, c.step.Kind) {
			hint = "take it away: an HTTPRoute has no " + c.step.Kind
		}
		c.problem("host", fmt.Sprintf("the HTTPRoute %s has routes to %s, and Istio follows either that or a VirtualService, by their age",
			names(routes), h.Short), hint)
		return nil
	}
	var exact, wild []*unstructured.Unstructured
	for _, u := range c.set.list(networking, "VirtualService") {
		if !isForSidecars(u) {
			continue
		}
		for _, host := range hostsOf(u) {
			switch {
			case istioName(host, u.GetNamespace()) == h.FQDN:
				exact = append(exact, u)
			case covers(host, h.FQDN):
				wild = append(wild, u)
			}
		}
	}
	exact = slices.Compact(exact)
	switch {
	case len(exact) > 1:
		c.problem("host", fmt.Sprintf("%s has several VirtualServices: %s", h.Short, names(exact)),
			"Istio takes one of them only; merge them")
		return nil
	case len(exact) == 1:
		if !c.canRoute(h, exact[0]) {
			return nil
		}
		return c.edit(exact[0], callersOf(exact[0], h))
	case len(wild) > 0:
		c.problem("host", fmt.Sprintf("the VirtualService %s takes the requests to %s by a wildcard", names(wild), h.Short),
			"give the host a VirtualService of its own")
		return nil
	}
	host := c.hostFor(h)
	return c.edit(c.newObject("VirtualService", h, map[string]any{
		"hosts": []any{host},
		"http":  []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": host}}}}},
	}), h.FQDN)
}

// callersOf is the host whose callers a service concerns: "", every proxy, for one that gateways follow too.
func callersOf(u *unstructured.Unstructured, h Host) string {
	if isForGateways(u) {
		return ""
	}
	return h.FQDN
}

func isForSidecars(u *unstructured.Unstructured) bool {
	gateways, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "gateways")
	return len(gateways) == 0 || slices.Contains(gateways, "mesh")
}

// isForGateways says whether gateways follow the service, alone or beside sidecars.
func isForGateways(u *unstructured.Unstructured) bool {
	gateways, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "gateways")
	return slices.ContainsFunc(gateways, func(name string) bool { return name != "mesh" })
}

func hostsOf(u *unstructured.Unstructured) []string {
	hosts, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "hosts")
	return hosts
}

// canRoute says whether the service's routes can be changed for this host alone; when not it is reported.
func (c *compiler) canRoute(h Host, u *unstructured.Unstructured) bool {
	for _, host := range hostsOf(u) {
		other, ok := c.set.Resolve(istioName(host, u.GetNamespace()), c.opts.Namespace)
		if ok && other.FQDN != h.FQDN {
			c.problem("host", fmt.Sprintf("the VirtualService %s is for %s too, so the step would reach it as well",
				u.GetName(), other.Short), "give each host a VirtualService of its own")
			return false
		}
	}
	routes := fields.Maps(specOf(u), "http")
	if !slices.ContainsFunc(routes, hasDestinations) {
		c.problem("host", fmt.Sprintf("the VirtualService %s has no HTTP route with destinations", u.GetName()), "")
		return false
	}
	return true
}

func hasDestinations(route map[string]any) bool { return len(asList(route["route"])) > 0 }

func hasMatch(route map[string]any) bool { return len(asList(route["match"])) > 0 }

// finishRoutes applies the edits of all hosts.
func (c *compiler) finishRoutes() {
	for _, k := range c.order {
		if r := c.routes[k]; r != nil {
			r.rewrite(c)
		}
	}
}

func (r *routing) rewrite(c *compiler) {
	spec := fields.Child(r.object.Object, "spec")
	routes := fields.Maps(spec, "http")
	for _, e := range r.edits {
		if e.match == nil {
			applyToAll(routes, e)
		}
	}
	routes = append(r.inserted(routes), routes...)
	reached := map[string]bool{}
	for _, first := range []bool{true, false} {
		var out []map[string]any
		for _, route := range routes {
			out = append(out, r.narrowed(c, route, first, reached)...)
			out = append(out, route)
		}
		routes = out
	}
	for _, e := range r.edits {
		if e.match != nil && !e.insert && e.leadsTo == "" && !reached[matchID(e.match)] {
			c.problems = append(c.problems, e.step.Problem("match",
				fmt.Sprintf("no route of the VirtualService %s takes such requests", r.object.GetName()), "change its routes by a manifest"))
		}
	}
	spec["http"] = toList(routes)
}

func applyToAll(routes []map[string]any, e edit) {
	allMatched := !slices.ContainsFunc(routes, func(route map[string]any) bool { return e.reaches(route) && !hasMatch(route) })
	for _, route := range routes {
		if e.reaches(route) && (!e.unmatchedOnly || allMatched || !hasMatch(route)) {
			e.apply(route)
		}
	}
}

// inserted are the new routes that come before all others, in the order of their steps: each is what such requests have so
// far, without a match of their own, but leads elsewhere.
func (r *routing) inserted(routes []map[string]any) []map[string]any {
	base := map[string]any{}
	for _, route := range routes {
		if hasDestinations(route) && !hasMatch(route) {
			base = route
			break
		}
	}
	var out []map[string]any
	seen := map[string]bool{}
	for _, e := range r.edits {
		if !e.insert || seen[matchID(e.match)] {
			continue
		}
		seen[matchID(e.match)] = true
		route := copyOf(base)
		route["match"] = []any{matchFields(e.match)}
		route["name"] = fmt.Sprintf("%s-route%d", nameOf(base), len(out)+1)
		e.apply(route)
		out = append(out, route)
	}
	return out
}

// narrowed are the copies of a route that come before it, one for each match that a step names, of the edits that are first or
// of the others; it notes which matches the
// route takes part in. A route that is for a match alone is changed in place.
func (r *routing) narrowed(c *compiler, route map[string]any, first bool, reached map[string]bool) []map[string]any {
	var copies []map[string]any
	byMatch := map[string]map[string]any{}
	for _, e := range r.edits {
		if e.match == nil || e.insert || e.first != first || !e.reaches(route) {
			continue
		}
		id := matchID(e.match)
		clone, ok := byMatch[id]
		if !ok {
			if clone = r.copyFor(c, route, e); clone == nil {
				continue
			}
			if reflect.DeepEqual(clone["match"], route["match"]) {
				clone = route
			} else {
				clone["name"] = fmt.Sprintf("%s-match%d", nameOf(route), len(copies)+1)
				copies = append(copies, clone)
			}
			byMatch[id], reached[id] = clone, true
		}
		e.apply(clone)
		r.copies[e.step.Path] = append(r.copies[e.step.Path], clone)
	}
	return copies
}

// copyFor is the route narrowed to the step's match; nil when no request can fit both, or when that cannot be told, which
// was reported.
func (r *routing) copyFor(c *compiler, route map[string]any, e edit) map[string]any {
	conditions, conflict := conjunction(fields.Maps(route, "match"), matchFields(e.match))
	if conflict != "" {
		what := fmt.Sprintf("the route %s of the VirtualService %s matches on %s already", nameOf(route), r.object.GetName(), conflict)
		c.problems = append(c.problems, e.step.Problem("match."+conflict, what, "change that route by a manifest"))
		return nil
	}
	if len(conditions) == 0 {
		return nil
	}
	clone := copyOf(route)
	clone["match"] = toList(conditions)
	return clone
}

// nameOf is the route's name, or default for one without.
func nameOf(route map[string]any) string {
	if name := str(route, "name"); name != "" {
		return name
	}
	return "default"
}
