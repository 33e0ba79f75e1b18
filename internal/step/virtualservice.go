package step

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

// routing collects what steps do to the routes of one host, so that the routes are rewritten once: first what is for all
// of them, then the copies that are narrowed by a match.
type routing struct {
	object *unstructured.Unstructured
	edits  []edit
}

// edit changes one route in place.
type edit struct {
	step  scenario.Step
	match *scenario.Match // nil: all routes that have destinations
	// unmatchedOnly leaves routes with a match alone, unless all have one.
	unmatchedOnly bool
	apply         func(route map[string]any)
}

// route registers an edit of the routes of a host.
func (c *compiler) route(h Host, e edit) {
	e.step = c.step
	u := c.virtualService(h)
	if u == nil {
		return
	}
	k := keyOf(u)
	if c.routes[k] == nil {
		c.routes[k] = &routing{object: u}
	}
	c.routes[k].edits = append(c.routes[k].edits, e)
}

// virtualService returns the service of the host to change; nil when there is none to choose, which was reported.
func (c *compiler) virtualService(h Host) *unstructured.Unstructured {
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
		return c.edit(exact[0], h.FQDN)
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

func isForSidecars(u *unstructured.Unstructured) bool {
	gateways, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "gateways")
	return len(gateways) == 0 || slices.Contains(gateways, "mesh")
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
	routes := mapsIn(specOf(u), "http")
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
	spec := child(r.object.Object, "spec")
	routes := mapsIn(spec, "http")
	for _, e := range r.edits {
		if e.match == nil {
			applyToAll(routes, e)
		}
	}
	var out []map[string]any
	for _, route := range routes {
		if hasDestinations(route) {
			out = append(out, r.narrowed(c, route)...)
		}
		out = append(out, route)
	}
	spec["http"] = toList(out)
}

func applyToAll(routes []map[string]any, e edit) {
	allMatched := !slices.ContainsFunc(routes, func(route map[string]any) bool { return hasDestinations(route) && !hasMatch(route) })
	for _, route := range routes {
		if hasDestinations(route) && (!e.unmatchedOnly || allMatched || !hasMatch(route)) {
			e.apply(route)
		}
	}
}

// narrowed are the copies of a route that come before it, one for each match that a step names.
func (r *routing) narrowed(c *compiler, route map[string]any) []map[string]any {
	var copies []map[string]any
	byMatch := map[string]map[string]any{}
	for _, e := range r.edits {
		if e.match == nil {
			continue
		}
		clone, ok := byMatch[matchID(e.match)]
		if !ok {
			if clone, ok = r.copyFor(c, route, e); !ok {
				continue
			}
			clone["name"] = fmt.Sprintf("%s-match%d", nameOf(route), len(copies)+1)
			byMatch[matchID(e.match)] = clone
			copies = append(copies, clone)
		}
		e.apply(clone)
	}
	return copies
}

// copyFor is the route narrowed to the step's match; false when the route's own match stands against it.
func (r *routing) copyFor(c *compiler, route map[string]any, e edit) (clone map[string]any, ok bool) {
	conditions, conflict := conjunction(mapsIn(route, "match"), matchFields(e.match))
	if conflict != "" {
		what := fmt.Sprintf("the route %s of the VirtualService %s matches on %s already", nameOf(route), r.object.GetName(), conflict)
		c.problems = append(c.problems, e.step.Problem("match."+conflict, what, "change that route by a manifest"))
		return nil, false
	}
	clone = copyOf(route)
	clone["match"] = toList(conditions)
	return clone, true
}

// nameOf is the route's name, or default for one without.
func nameOf(route map[string]any) string {
	if name := str(route, "name"); name != "" {
		return name
	}
	return "default"
}

// conjunction adds the narrowing conditions to each alternative that the route already has.
func conjunction(alternatives []map[string]any, narrow map[string]any) (out []map[string]any, conflict string) {
	if len(alternatives) == 0 {
		return []map[string]any{narrow}, ""
	}
	for _, a := range alternatives {
		both := copyOf(a)
		for _, field := range []string{"headers", "sourceLabels", "uri"} {
			wanted, ok := narrow[field].(map[string]any)
			if !ok {
				continue
			}
			have, _ := both[field].(map[string]any)
			if field == "uri" && have != nil || !disjoint(have, wanted) {
				return nil, field
			}
			both[field] = laid(have, copyOf(wanted))
		}
		out = append(out, both)
	}
	return out, ""
}

func disjoint(a, b map[string]any) bool {
	for k := range b {
		if _, ok := a[k]; ok {
			return false
		}
	}
	return true
}

func matchFields(m *scenario.Match) map[string]any {
	out := map[string]any{}
	if len(m.Headers) > 0 {
		headers := child(out, "headers")
		for name, match := range m.Headers {
			headers[name] = stringMatch(match)
		}
	}
	if m.URI != nil {
		out["uri"] = stringMatch(*m.URI)
	}
	if len(m.SourceLabels) > 0 {
		labels := child(out, "sourceLabels")
		for k, v := range m.SourceLabels {
			labels[k] = v
		}
	}
	return out
}

func stringMatch(m scenario.StringMatch) map[string]any {
	switch {
	case m.Exact != "":
		return map[string]any{"exact": m.Exact}
	case m.Prefix != "":
		return map[string]any{"prefix": m.Prefix}
	}
	return map[string]any{"regex": m.Regex}
}

// matchID tells matches apart, "" is none.
func matchID(m *scenario.Match) string {
	if m == nil {
		return ""
	}
	data, err := json.Marshal(matchFields(m))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// about names a host, and the match when there is one, in messages about contradicting steps.
func about(h Host, m *scenario.Match) string {
	if m == nil {
		return h.Short
	}
	return h.Short + " " + strings.ReplaceAll(matchID(m), `"`, "")
}
