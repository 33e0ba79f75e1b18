package step

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/gatewayapi"
	"squall/internal/scenario"
)

// asServices are the VirtualServices that istiod makes of an HTTPRoute, with its kind and name, so that it is proven as one of them is.
func asServices(u *unstructured.Unstructured) (out []*unstructured.Unstructured) {
	if u == nil {
		return nil
	}
	for _, s := range gatewayapi.Services(u) {
		v := &unstructured.Unstructured{Object: map[string]any{"spec": s.Spec}}
		v.SetAPIVersion(u.GetAPIVersion())
		v.SetKind(u.GetKind())
		v.SetName(u.GetName())
		v.SetNamespace(u.GetNamespace())
		for _, route := range fields.Maps(s.Spec, "http") {
			for _, m := range fields.Maps(route, "match") {
				delete(m, "port") // the load's, or else its requests do not come here at all
				if len(m) == 0 {
					delete(route, "match")
				}
			}
		}
		out = append(out, v)
	}
	return out
}

// backends are the full names of the hosts that the route leads requests to.
func backends(u *unstructured.Unstructured) []string {
	var out []string
	for _, v := range asServices(u) {
		for _, route := range fields.Maps(specOf(v), "http") {
			for _, name := range destinationsOf(route, u.GetNamespace()) {
				if !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	return out
}

// ruled is the host of the step and the HTTPRoute that it was compiled to, as a VirtualService.
func (c *compiler) ruled(s scenario.Step) (h Host, r *ruling, v *unstructured.Unstructured) {
	h, ok := c.set.Resolve(s.Host(), c.opts.Namespace)
	if !ok {
		return h, nil, nil
	}
	for k, r := range c.httpRoutes {
		if r.host.FQDN == h.FQDN {
			return h, r, asServices(c.changes[k].After)[0]
		}
	}
	return h, nil, nil
}

// proveGatewayTimeout looks at the clusters of all Services that the route leads to: it is there that Envoy counts.
func proveGatewayTimeout(c *compiler, s scenario.Step) []Proof {
	h, r, v := c.ruled(s)
	if r == nil {
		return nil
	}
	own, others := c.timedRules(s, h, r, v)
	var here, elsewhere []string
	for _, name := range backends(r.object) {
		if to, ok := c.set.Resolve(name, c.opts.Namespace); ok {
			here = append(here, fmt.Sprintf("timeouts(%q)", c.called(to)))
			elsewhere = append(elsewhere, fmt.Sprintf("elsewhere(%q, %q)", c.called(to), "upstream_rq_timeout"))
		}
	}
	text := evidences()["timeout"].text
	if !c.isTarget(h) {
		if len(others) > 0 {
			return c.unprovable(notApart, strings.Join(others, ", "), "timeout")
		}
		return []Proof{{s.String(), text, strings.Join(elsewhere, " + ") + " > 0"}}
	}
	expr := strings.Join(here, " + ") + ` > 0 && count(flag("UT")) > 0`
	switch {
	case len(others) > 0 && len(own) == 0:
		return c.unprovable("all requests of the load take %s", strings.Join(others, ", "))
	case len(others) > 0:
		text += onOwn
		expr += seenOn("timeout", own)
	}
	if !c.hasKindElsewhere("timeout") {
		expr += " && " + strings.Join(elsewhere, " + ") + " == 0"
	}
	return []Proof{{s.String(), text, expr}}
}

// timedRules are the names, in quotes, of the rules that the step gives a timeout, and those of others that have one and that requests can
// come to.
func (c *compiler) timedRules(s scenario.Step, h Host, r *ruling, v *unstructured.Unstructured) (own, others []string) {
	request := c.opts.Request
	if !c.isTarget(h) {
		request = nil
	}
	mine := c.madeRules(r, s.Path, v)
	var theirs []string
	for _, o := range c.steps {
		if o.Kind == s.Kind && o.Path != s.Path {
			theirs = append(theirs, c.madeRules(r, o.Path, v)...)
		}
	}
	routes := fields.Maps(specOf(v), "http")
	for i, reach := range reaches(routes, request) {
		name := nameOf(routes[i])
		isOwn := slices.Contains(mine, name) || matchOf(s) == nil && !slices.Contains(theirs, name)
		switch {
		case reach == never || !gives(routes[i], "timeout"):
		case isOwn:
			own = append(own, strconv.Quote(name))
		default:
			others = append(others, "the rule "+name)
		}
	}
	if len(own) == 0 && len(mine) > 0 {
		own = []string{strconv.Quote(mine[0])} // no request of the load comes to it
	}
	return own, others
}

// madeRules are the names of the rules that are for a step's match, and of their copies for other matches.
func (c *compiler) madeRules(r *ruling, path string, v *unstructured.Unstructured) (out []string) {
	for _, name := range r.made[path] {
		out = append(out, strings.TrimSuffix(name+"."+c.opts.Marker, "."))
	}
	for _, route := range fields.Maps(specOf(v), "http") {
		name := nameOf(route)
		if !slices.Contains(out, name) && slices.ContainsFunc(out, func(o string) bool { return isOwnRule(o, name, c.opts.Marker) }) {
			out = append(out, name)
		}
	}
	return out
}

func proveGatewayWeights(c *compiler, s scenario.Step) []Proof {
	shares := s.Spec.(*scenario.Weights).Subsets
	h, r, v := c.ruled(s)
	if r == nil {
		return nil
	}
	direct := c.isTarget(h)
	if matchOf(s) == nil && c.passesBy(h, v, shares) {
		return nil
	}
	whole := matchOf(s) == nil && !c.opts.Midway
	var out []Proof
	for _, subset := range slices.Sorted(maps.Keys(shares)) {
		name := "share"
		if shares[subset] == 0 {
			if name = "noShare"; !whole {
				continue // other requests may go there
			}
		}
		to, ok := c.set.Resolve(h.Short+"-"+subset+"."+h.Namespace, c.opts.Namespace)
		if !ok {
			continue
		}
		proofs := c.proofAt(name, to, "", direct)
		if slices.ContainsFunc(copiesOf(v), func(host string) bool { return host == to.FQDN }) {
			proofs = c.proveAnswersBesideCopies(to, direct, shares[subset] == 0)
		}
		out = append(out, c.named(proofs, way{host: to})...)
	}
	if led := backends(r.object); whole && direct && !slices.Contains(led, h.FQDN) {
		out = append(out, Proof{s.String(), fmt.Sprintf("no request to %s went elsewhere than to the Services of its versions", h.Short),
			fmt.Sprintf("cluster(%q, \"upstream_rq_total\") == 0", c.called(h))})
	}
	return out
}

// passesBy says whether no request of the load can come to a rule that leads to one of the hosts, or to one of the subsets' Services;
// then that is stated.
func (c *compiler) passesBy(h Host, v *unstructured.Unstructured, subsets map[string]scenario.Share, hosts ...string) bool {
	for subset, share := range subsets {
		if to, ok := c.set.Resolve(h.Short+"-"+subset+"."+h.Namespace, c.opts.Namespace); ok && share > 0 {
			hosts = append(hosts, to.FQDN)
		}
	}
	request := c.opts.Request
	if !c.isTarget(h) {
		request = nil
	}
	routes := fields.Maps(specOf(v), "http")
	for i, reach := range reaches(routes, request) {
		if reach != never && slices.ContainsFunc(destinationsOf(routes[i], v.GetNamespace()), func(name string) bool { return slices.Contains(hosts, name) }) {
			return false
		}
	}
	c.state("all requests of the load take a more specific rule of the HTTPRoute %s", v.GetName())
	return true
}

// copiesOf are the full names of the hosts that copies go to.
func copiesOf(v *unstructured.Unstructured) (out []string) {
	for _, route := range fields.Maps(specOf(v), "http") {
		for _, to := range mirrorsOf(route) {
			out = append(out, istioName(str(to, "host"), v.GetNamespace()))
		}
	}
	return out
}

// proveAnswersBesideCopies asks the load generator who answered it, since Envoy's counters do not tell copies apart.
func (c *compiler) proveAnswersBesideCopies(to Host, direct, none bool) []Proof {
	version := c.onlyVersion(to)
	if version == "" || !direct {
		return nil
	}
	if none {
		return []Proof{{c.step.String(), evidences()["noShare"].text + " but copies", fmt.Sprintf("count(version == %q) == 0", version)}}
	}
	return []Proof{{c.step.String(), evidences()["share"].text + " beside copies", fmt.Sprintf("count(version == %q) > 0", version)}}
}

// onlyVersion is the label version that all pods of the host have, or "".
func (c *compiler) onlyVersion(h Host) string {
	pods, _ := c.set.pods(h)
	version := ""
	for i, labels := range pods {
		if i > 0 && labels["version"] != version {
			return ""
		}
		version = labels["version"]
	}
	return version
}

func proveGatewayMirror(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.Mirror)
	h, r, _ := c.ruled(s)
	to, ok := c.destinationService(h, spec.To)
	if r == nil || !ok {
		return nil
	}
	return c.proveCopies(to, "")
}

// destinationService is the Service that a step leads to.
func (c *compiler) destinationService(h Host, d scenario.Destination) (to Host, ok bool) {
	to, ok = h, true
	if d.Host != "" {
		to, ok = c.set.Resolve(d.Host, c.opts.Namespace)
	}
	if d.Subset != "" && ok {
		to, ok = c.set.Resolve(to.Short+"-"+d.Subset+"."+to.Namespace, c.opts.Namespace)
	}
	return to, ok
}

// proveGatewayRouted looks at the Service, and where the load generator's proxy chooses the rule also at the rule's name.
func proveGatewayRouted(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.Route)
	h, r, v := c.ruled(s)
	to, ok := c.destinationService(h, spec.To)
	if r == nil || !ok {
		return nil
	}
	direct := c.isTarget(h)
	if spec.Match == nil && c.passesBy(h, v, nil, to.FQDN) {
		return nil
	}
	proofs := c.named(c.proofAt("share", to, "", direct), way{host: to})
	if spec.Match == nil || !direct {
		return proofs
	}
	own, comes := c.madeRules(r, s.Path, v), never
	routes := fields.Maps(specOf(v), "http")
	for i, reach := range reaches(routes, c.opts.Request) {
		if !slices.Contains(own, nameOf(routes[i])) {
			continue
		}
		if reach == always || comes == never {
			comes = reach
		}
	}
	if comes == never && fitsRoute(onRoute(spec.Match), c.opts.Request) != never {
		c.state("all requests of the load take a more specific rule of the HTTPRoute %s", r.object.GetName())
		return nil
	}
	for i := range own {
		own[i] = strconv.Quote(own[i])
	}
	expr := "count(route == " + strings.Join(own, " || route == ") + ") > 0"
	if comes == always && !c.opts.Midway {
		expr += " && count(route != " + strings.Join(own, " && route != ") + ") == 0"
	}
	return append(proofs, Proof{s.String(), "requests that match took the rule", expr})
}

// isOwnRule says whether a rule is the one called own, or a copy of it for the match of another step.
func isOwnRule(own, name, marker string) bool {
	return name == own || strings.HasPrefix(name, strings.TrimSuffix(own, "."+marker)+"-match")
}

// isBehindTarget says whether an HTTPRoute leads requests for the host that the load calls to this one, whose rules the load generator's
// own proxy then follows too.
func (c *compiler) isBehindTarget(h Host) bool {
	target, ok := c.set.Resolve(c.opts.Target, c.opts.Namespace)
	return ok && slices.ContainsFunc(c.httpRoutesOf(target), func(u *unstructured.Unstructured) bool { return slices.Contains(backends(u), h.FQDN) })
}
