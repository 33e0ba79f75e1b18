package step

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/scenario"
)

// owns says whether a route, of the VirtualService with the key, has what a step gives.
type owns func(k key, route map[string]any) bool

// proveOnRoutes proves what a step gives to the routes of its host: a fault, a timeout or retries.
func (c *compiler) proveOnRoutes(evidence string, s scenario.Step) []Proof {
	h, ok := c.set.Resolve(s.Host(), c.opts.Namespace)
	if !ok {
		return nil
	}
	return c.proveApart(evidence, h, c.isTarget(h) || c.isBehindTarget(h), c.ownRoutes(s), matchOf(s) != nil)
}

// proveApart proves it so that the same on other routes, which may be of another step, an earlier stage or a fixture, does not stand in for
// it. The load generator's proxy logs the names of routes; the counters of other proxies have none, so that there nothing tells them apart.
func (c *compiler) proveApart(evidence string, h Host, direct bool, own owns, matched bool) []Proof {
	proofs := c.proofAt(evidence, h, "", direct)
	others := c.others(evidence, h, direct, own)
	isTried := evidence == "retries" || evidence == "noRetries" // Istio tries requests on any route again, though no rule says so
	switch {
	case len(proofs) == 0 || len(others) == 0 && !(direct && isTried && matched):
		return proofs
	case !direct:
		return c.unprovable(notApart, strings.Join(namesOf(others), ", "), noun(evidence))
	}
	names := c.ownNames(h, own, others)
	if len(names) == 0 {
		return c.unprovable("the routes of the step have no names of their own, by which its %s is told from that of %s", noun(evidence),
			strings.Join(namesOf(others), ", "))
	}
	if evidence == "noRetries" {
		isOwn, taken := onRoutes(names)
		proofs[0].Text = "the caller's proxy tried no request on the step's routes again"
		proofs[0].Expr = fmt.Sprintf("count(%s) > 0 && count(attempts > 1 && %s) == 0", isOwn, taken)
		return proofs
	}
	proofs[0].Text += onOwn
	proofs[0].Expr += seenOn(evidence, names)
	return proofs
}

// notApart is why a step further on is unprovable, with what has the same too and what it is.
const notApart = "%s has a %s too, and the counters of the proxies further on do not tell which of them took effect: leave one of them out, or " +
	"say in unproven which check shows it"

// onOwn is what seenOn adds to a proof.
const onOwn = ", and some of them took the step's routes"

// onRoutes is the condition that a request took one of the routes, alone and beside others.
func onRoutes(names []string) (alone, beside string) {
	alone = "route == " + strings.Join(names, " || route == ")
	if len(names) == 1 {
		return alone, alone
	}
	return alone, "(" + alone + ")"
}

// seenOn asks, beside a proof of the evidence, that it was met on one of the routes.
func seenOn(evidence string, names []string) string {
	sign := map[string]string{"delay": `flag("DI")`, "abort": `flag("FI")`, "timeout": `flag("UT")`, "retries": "attempts > 1"}[evidence]
	_, taken := onRoutes(names)
	return fmt.Sprintf(" && count(%s && %s) > 0", sign, taken)
}

// noun is what the evidence is of.
func noun(evidence string) string {
	if evidence == "retries" || evidence == "noRetries" {
		return "policy of retries"
	}
	return evidence
}

// ownRoutes are those that a step is compiled to. Where another step of its kind has a match of its own, that one's routes are not among
// them.
func (c *compiler) ownRoutes(s scenario.Step) owns {
	among := func(list []map[string]any, route map[string]any) bool {
		return slices.ContainsFunc(list, func(r map[string]any) bool { return reflect.DeepEqual(r, route) })
	}
	return func(k key, route map[string]any) bool {
		r := c.routes[k]
		if r == nil {
			return false
		}
		if matchOf(s) != nil {
			return among(r.copies[s.Path], route)
		}
		isReached := slices.ContainsFunc(r.edits, func(e edit) bool { return e.step.Path == s.Path && e.reaches(route) })
		return isReached && !slices.ContainsFunc(c.steps, func(o scenario.Step) bool {
			return o.Kind == s.Kind && o.Path != s.Path && among(r.copies[o.Path], route)
		})
	}
}

// ownFaults are the routes of a manifest's object that are given the faults of the fresh ones, and not the kept ones: also those that steps
// narrowed for a match of theirs.
func ownFaults(u *unstructured.Unstructured, kind string, fresh, kept []map[string]any) owns {
	faultOf := func(route map[string]any) any {
		fault, _ := route["fault"].(map[string]any)
		return fault[kind]
	}
	return func(k key, route map[string]any) bool {
		return k == keyOf(u) && gives(route, kind) &&
			slices.ContainsFunc(fresh, func(f map[string]any) bool { return reflect.DeepEqual(faultOf(f), faultOf(route)) }) &&
			!slices.ContainsFunc(kept, func(o map[string]any) bool { return reflect.DeepEqual(o["match"], route["match"]) })
	}
}

// otherRoute is a route that has what a step gives, and is not of that step.
type otherRoute struct {
	object *unstructured.Unstructured
	route  map[string]any
}

func namesOf(others []otherRoute) []string {
	var out []string
	for _, o := range others {
		if name := "the VirtualService " + o.object.GetName(); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// others are the routes that the evidence could be of instead of the step's own, as far as requests can come to them.
func (c *compiler) others(evidence string, h Host, direct bool, own owns) (out []otherRoute) {
	for _, u := range c.set.list(networking, "VirtualService") {
		if !c.isSeenWith(evidence, h, direct, u) {
			continue
		}
		var request *Request // of services further on it is not known
		if direct {
			request = c.opts.Request
		}
		routes := fields.Maps(specOf(u), "http")
		for i, reach := range reaches(routes, request) {
			if reach != never && gives(routes[i], evidence) && !own(keyOf(u), routes[i]) {
				out = append(out, otherRoute{u, routes[i]})
			}
		}
	}
	return out
}

// gives says whether the route has what the evidence is of, and may show it: what is switched off does not.
func gives(route map[string]any, evidence string) bool {
	fault, _ := route["fault"].(map[string]any)
	switch evidence {
	case "delay", "abort":
		of, _ := fault[evidence].(map[string]any)
		return of != nil && !isOff(of)
	case "timeout":
		d, err := time.ParseDuration(str(route, "timeout"))
		return route["timeout"] != nil && (err != nil || d != 0)
	}
	policy, _ := route["retries"].(map[string]any)
	return policy != nil && (evidence == "noRetries" || !isZero(policy["attempts"]))
}

// isOff says whether a fault is for no requests. Without a percentage it is for all.
func isOff(fault map[string]any) bool {
	if share, ok := fault["percentage"].(map[string]any); ok {
		return share["value"] == nil || isZero(share["value"])
	}
	return isZero(fault["percent"])
}

// isZero says whether a number is there and is 0.
func isZero(v any) bool {
	switch n := v.(type) {
	case int:
		return n == 0
	case int64:
		return n == 0
	case float64:
		return n == 0
	}
	return false
}

// isElsewhere says whether faults of the kind are in force for other hosts than the load's own, so that other proxies may count some.
func (c *compiler) isElsewhere(evidence string, h Host) bool {
	isFault := evidence == "delay" || evidence == "abort"
	return isFault && len(c.others(evidence, h, false, func(key, map[string]any) bool { return false })) > 0
}

// isSeenWith says whether what the service's routes give may show in the counters that prove the same for the host: those of the load
// generator's proxy, of the gateway that the load calls, or of all others. Faults are counted without a host, the rest by it.
func (c *compiler) isSeenWith(evidence string, h Host, direct bool, u *unstructured.Unstructured) bool {
	target, known := c.set.Resolve(c.opts.Target, c.opts.Namespace)
	isFault := evidence == "delay" || evidence == "abort"
	switch {
	case direct:
		return isForSidecars(u) && (known && mayRule(u, target.FQDN) || mayRule(u, h.FQDN))
	case !isFault:
		return mayRule(u, h.FQDN) || slices.ContainsFunc(fields.Maps(specOf(u), "http"), func(route map[string]any) bool {
			return slices.Contains(destinationsOf(route, u.GetNamespace()), h.FQDN)
		})
	case c.gatewayTo(h) != "":
		return isForGateways(u) || len(hostsOf(u)) == 0
	}
	return isForGateways(u) || !known || len(hostsOf(u)) == 0 || slices.ContainsFunc(hostsOf(u), func(host string) bool {
		return istioName(host, u.GetNamespace()) != target.FQDN
	})
}

// mayRule says whether the service may be for requests to the host. One without hosts is delegated to, for the hosts of another.
func mayRule(u *unstructured.Unstructured, fqdn string) bool {
	return len(hostsOf(u)) == 0 || slices.ContainsFunc(hostsOf(u), func(host string) bool {
		name := istioName(host, u.GetNamespace())
		return name == fqdn || covers(name, fqdn)
	})
}

// ownNames are the names, in quotes, that the load generator's proxy logs for the step's routes and for no other that it could be taken for.
func (c *compiler) ownNames(h Host, own owns, others []otherRoute) (out []string) {
	var foreign []string
	for _, o := range others {
		foreign = append(foreign, loggedNames(o.route)...)
	}
	for _, u := range c.set.list(networking, "VirtualService") {
		if !c.isSeenWith("", h, true, u) {
			continue
		}
		for _, route := range fields.Maps(specOf(u), "http") {
			for _, name := range loggedNames(route) {
				if own(keyOf(u), route) && name != "" && !slices.Contains(foreign, name) && !slices.Contains(out, strconv.Quote(name)) {
					out = append(out, strconv.Quote(name))
				}
			}
		}
	}
	return out
}

// loggedNames are those under which Envoy has a route: Istio appends the names of its matches.
func loggedNames(route map[string]any) (out []string) {
	name := str(route, "name")
	for _, m := range fields.Maps(route, "match") {
		logged := name
		if ending := strings.TrimSpace(str(m, "name")); ending != "" {
			logged += "." + ending
		}
		out = append(out, logged)
	}
	if len(out) == 0 {
		out = append(out, name)
	}
	return out
}
