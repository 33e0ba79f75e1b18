package step

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/gatewayapi"
	"squall/internal/scenario"
)

// gatewayTable are the kinds of steps that an HTTPRoute takes the place of a VirtualService for.
func gatewayTable() map[string]kind {
	nothing := func(*compiler, scenario.Step) []Proof { return nil }
	return map[string]kind{
		"delay":   {inexpressible("an HTTPRoute injects no faults"), nothing},
		"abort":   {inexpressible("an HTTPRoute injects no faults"), nothing},
		"retries": {inexpressible("an HTTPRoute of the standard channel has no retries"), nothing},
		"timeout": {gatewayTimeout, proveGatewayTimeout},
		"weights": {gatewayWeights, proveGatewayWeights},
		"mirror":  {gatewayMirror, proveGatewayMirror},
		"route":   {gatewayRoute, proveGatewayRouted},
	}
}

// isGatewayAPI says whether the step is compiled to an HTTPRoute.
func (c *compiler) isGatewayAPI(s scenario.Step) bool {
	api := s.API()
	if api == "" {
		api = c.opts.API
	}
	return api == "gateway"
}

// inexpressible refuses a step.
func inexpressible(why string) func(*compiler, scenario.Step) {
	return func(c *compiler, s scenario.Step) {
		field := ""
		if s.API() != "" {
			field = "api"
		}
		c.problem(field, why, "write api: istio in the step, which makes a VirtualService; a host can have that or an HTTPRoute, not both")
	}
}

// ruling collects what steps do to the rules of one HTTPRoute.
type ruling struct {
	object *unstructured.Unstructured
	host   Host
	edits  []ruleEdit
	made   map[string][]string // the names of the rules that are for a step's match alone, by the step's path
}

// ruleEdit changes rules in place.
type ruleEdit struct {
	step          scenario.Step
	match         map[string]any // of an HTTPRoute; nil: all rules
	insert        bool           // puts a rule for the match beside the others, instead of copies of each
	unmatchedOnly bool           // leaves rules with a match alone, unless all have one
	apply         func(rule map[string]any)
}

// rule registers an edit of the routes to a host.
func (c *compiler) rule(h Host, e ruleEdit) {
	u := c.httpRoute(h)
	if u == nil {
		return
	}
	e.step = c.step
	k := keyOf(u)
	if c.httpRoutes[k] == nil {
		c.httpRoutes[k] = &ruling{object: u, host: h, made: map[string][]string{}}
	}
	c.httpRoutes[k].edits = append(c.httpRoutes[k].edits, e)
}

// httpRoute returns the route of the host to change; nil when there is none to choose, which was reported.
func (c *compiler) httpRoute(h Host) *unstructured.Unstructured {
	port := c.onlyPort(h)
	if port == 0 {
		return nil
	}
	if rival := c.rivalService(h); rival != nil {
		c.problem("host", fmt.Sprintf("the VirtualService %s has routes to %s, and Istio follows either that or an HTTPRoute, by their age",
			rival.GetName(), h.Short), "take it away, or write api: istio in the step")
		return nil
	}
	found := c.httpRoutesOf(h)
	switch {
	case len(found) > 1:
		c.problem("host", fmt.Sprintf("%s has several HTTPRoutes: %s", h.Short, names(found)), "Istio merges them; make them one")
		return nil
	case len(found) == 1:
		if parents := gatewayapi.Parents(found[0]); len(parents) != 1 || len(fields.Maps(specOf(found[0]), "parentRefs")) != 1 {
			c.problem("host", fmt.Sprintf("the HTTPRoute %s has other parents too, so that the step would reach them as well", found[0].GetName()),
				"give each parent an HTTPRoute of its own")
			return nil
		}
		return c.edit(found[0], h.FQDN)
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gatewayapi.Group + "/" + gatewayapi.Version,
		"kind":       gatewayapi.Kind,
		"metadata":   map[string]any{"name": h.Short, "namespace": h.Namespace},
		"spec": map[string]any{
			"parentRefs": []any{map[string]any{"group": "", "kind": "Service", "name": h.Short, "port": port}},
			"rules":      []any{map[string]any{"name": "default", "backendRefs": []any{backend(h.Short, port)}}},
		},
	}}
	if _, taken := c.set.objects[keyOf(u)]; taken {
		u.SetName(h.Short + "-squall")
	}
	return c.edit(u, h.FQDN)
}

// onlyPort is the Service's port; 0 was reported.
func (c *compiler) onlyPort(h Host) int64 {
	if h.service.GetKind() != "Service" {
		c.problem("host", h.Short+" is no Service, which the parent of an HTTPRoute has to be", "write api: istio in the step")
		return 0
	}
	ports := fields.Maps(specOf(h.service), "ports")
	if len(ports) != 1 {
		c.problem("host", fmt.Sprintf("the Service %s has %d ports, and an HTTPRoute leads to one", h.Short, len(ports)),
			"write api: istio in the step, or the HTTPRoute as a manifest")
		return 0
	}
	return fields.Number(ports[0]["port"])
}

// rivalService is a VirtualService that sidecars follow for the host, nil when there is none.
func (c *compiler) rivalService(h Host) *unstructured.Unstructured {
	for _, u := range c.set.list(networking, "VirtualService") {
		if isForSidecars(u) && slices.ContainsFunc(hostsOf(u), func(host string) bool {
			return istioName(host, u.GetNamespace()) == h.FQDN || covers(host, h.FQDN)
		}) {
			return u
		}
	}
	return nil
}

// httpRoutesOf are the routes that have the host for a parent.
func (c *compiler) httpRoutesOf(h Host) []*unstructured.Unstructured {
	return slices.DeleteFunc(c.set.list(gatewayapi.Group, gatewayapi.Kind), func(u *unstructured.Unstructured) bool {
		return !slices.ContainsFunc(gatewayapi.Parents(u), func(p gatewayapi.Service) bool { return p.Host == h.FQDN })
	})
}

func backend(name string, port int64) map[string]any {
	return map[string]any{"name": name, "port": port}
}

// finishHTTPRoutes applies the edits of all hosts.
func (c *compiler) finishHTTPRoutes() {
	for _, k := range c.order {
		if r := c.httpRoutes[k]; r != nil {
			r.rewrite(c)
		}
	}
}

func (r *ruling) rewrite(c *compiler) {
	spec := fields.Child(r.object.Object, "spec")
	if spec["rules"] == nil {
		spec["rules"] = []any{map[string]any{}}
	}
	rules := fields.Maps(spec, "rules")
	named(rules)
	allMatched := !slices.ContainsFunc(rules, takesAll)
	for _, e := range r.edits {
		for _, rule := range rules {
			if e.match == nil && (!e.unmatchedOnly || allMatched || takesAll(rule)) {
				e.apply(rule)
			}
		}
	}
	inserted := r.inserted(rules)
	rules = append(inserted, rules...)
	var out []map[string]any
	reached := map[string]bool{}
	for _, rule := range rules {
		out = append(out, r.narrowed(c, rule, reached)...)
		out = append(out, rule)
	}
	for _, e := range r.edits {
		if e.match != nil && !e.insert && !reached[e.step.Path] {
			c.problems = append(c.problems, e.step.Problem("match",
				fmt.Sprintf("no rule of the HTTPRoute %s takes such requests", r.object.GetName()), "change its rules by a manifest"))
		}
	}
	spec["rules"] = toList(out)
}

// named gives rules without a name one, which shows in the proxies' configuration.
func named(rules []map[string]any) {
	for i, rule := range rules {
		if str(rule, "name") != "" {
			continue
		}
		name := "default"
		if i > 0 {
			name = fmt.Sprintf("default-%d", i+1)
		}
		rule["name"] = name
	}
}

// takesAll says whether all requests fit the rule.
func takesAll(rule map[string]any) bool {
	return slices.ContainsFunc(gatewayapi.Matches(rule), func(m map[string]any) bool {
		path, _ := m["path"].(map[string]any)
		kind, value := str(path, "type"), str(path, "value")
		everyPath := (kind == "" || kind == "PathPrefix") && (value == "" || value == "/")
		return everyPath && m["method"] == nil && len(fields.Maps(m, "headers")) == 0 && len(fields.Maps(m, "queryParams")) == 0
	})
}

// inserted are the new rules: each is what such requests have so far, but leads elsewhere. Istio looks at the more specific rules
// first, and of equally specific ones at the first.
func (r *ruling) inserted(rules []map[string]any) []map[string]any {
	base := map[string]any{"name": "default"}
	if i := slices.IndexFunc(rules, takesAll); i >= 0 {
		base = rules[i]
	}
	var out []map[string]any
	for _, e := range r.edits {
		if !e.insert {
			continue
		}
		rule := copyOf(base)
		rule["matches"] = []any{copyOf(e.match)}
		rule["name"] = fmt.Sprintf("%s-route%d", nameOf(base), len(out)+1)
		e.apply(rule)
		out = append(out, rule)
		r.made[e.step.Path] = append(r.made[e.step.Path], nameOf(rule))
	}
	return out
}

// narrowed are the copies of a rule for the matches that steps name.
func (r *ruling) narrowed(c *compiler, rule map[string]any, reached map[string]bool) []map[string]any {
	var copies []map[string]any
	var matches []map[string]any
	for _, e := range r.edits {
		if e.match == nil || e.insert {
			continue
		}
		i := slices.IndexFunc(matches, func(m map[string]any) bool { return reflect.DeepEqual(m, e.match) })
		if i < 0 {
			clone := copyOf(rule)
			conditions, conflict := bothMatches(gatewayapi.Matches(rule), e.match)
			if conflict != "" {
				what := fmt.Sprintf("the rule %s of the HTTPRoute %s matches on %s already", nameOf(rule), r.object.GetName(), conflict)
				c.problems = append(c.problems, e.step.Problem("match", what, "change that rule by a manifest"))
			}
			if len(conditions) == 0 {
				continue
			}
			clone["matches"] = toList(conditions)
			clone["name"] = fmt.Sprintf("%s-match%d", nameOf(rule), len(copies)+1)
			i, copies, matches = len(copies), append(copies, clone), append(matches, e.match)
		}
		e.apply(copies[i])
		reached[e.step.Path] = true
		r.made[e.step.Path] = append(r.made[e.step.Path], nameOf(copies[i]))
	}
	return copies
}

// markRules names every rule, and returns the mark of one that each caller's proxy has: Istio drops what follows one that takes all.
func (c *compiler) markRules(u *unstructured.Unstructured) []Mark {
	rules := fields.Maps(specOf(u), "rules")
	if len(rules) == 0 {
		return nil
	}
	named(rules)
	for _, rule := range rules {
		rule["name"] = strings.TrimSuffix(str(rule, "name"), ".") + "." + c.opts.Marker
	}
	best := max(0, slices.IndexFunc(rules, takesAll))
	return []Mark{{Kind: "route", Name: str(rules[best], "name")}}
}

// serviceOf is the Service that has the pods of one subset: the one that is called like the host and the subset, made when it is not
// there. ok is false when that was reported.
func (c *compiler) serviceOf(h Host, field, subset string) (out Host, ok bool) {
	labels := c.subsetLabels(h, subset)
	pods, _ := c.set.pods(h)
	if len(matching(pods, labels)) == 0 {
		c.problem(field, fmt.Sprintf("no pod of %s has the labels of subset %s: %s", h.Short, subset, inWords(labels)), versions(pods))
		return out, false
	}
	name := h.Short + "-" + subset
	if out, ok = c.set.Resolve(name+"."+h.Namespace, c.opts.Namespace); ok {
		of, _ := c.set.pods(out)
		if len(of) != len(matching(of, labels)) || len(of) == 0 {
			c.problem(field, fmt.Sprintf("the Service %s has other pods than those of subset %s: %s", name, subset, inWords(labels)),
				"an HTTPRoute leads to Services; change that one's selector, or write api: istio in the step")
			return out, false
		}
		return out, true
	}
	selector, _, _ := unstructured.NestedStringMap(h.service.Object, "spec", "selector")
	all := map[string]any{}
	for _, from := range []map[string]string{selector, labels} {
		for k, v := range from {
			all[k] = v
		}
	}
	var ports []any
	for _, p := range fields.Maps(specOf(h.service), "ports") {
		port := maps.Clone(p)
		delete(port, "nodePort")
		ports = append(ports, port)
	}
	c.edit(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": name, "namespace": h.Namespace},
		"spec": map[string]any{"selector": all, "ports": ports},
	}}, "")
	return c.set.Resolve(name+"."+h.Namespace, c.opts.Namespace)
}

// subsetLabels are those that a DestinationRule gives the subset, or else the label version.
func (c *compiler) subsetLabels(h Host, subset string) map[string]string {
	for _, rule := range c.rulesOf(h) {
		for _, s := range fields.Maps(specOf(rule), "subsets") {
			if str(s, "name") == subset {
				labels, _, _ := unstructured.NestedStringMap(s, "labels")
				return labels
			}
		}
	}
	return map[string]string{"version": subset}
}
