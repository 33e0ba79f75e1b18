package step

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"squall/internal/fields"
	"squall/internal/scenario"
)

// gatewayHost is callerHost for a step that an HTTPRoute takes, with the step's match.
func (c *compiler) gatewayHost(s scenario.Step) (h Host, match map[string]any, ok bool) {
	if h, ok = c.callerHost(s.Host()); !ok {
		return h, nil, false
	}
	if gateway := c.gatewayTo(h); gateway != "" && !c.isTarget(h) {
		c.problem("host", fmt.Sprintf("the load comes through %s, which does not follow an HTTPRoute whose parent is a Service", gateway),
			"write api: istio in the step")
		return h, nil, false
	}
	match, ok = c.httpMatch(matchOf(s))
	return h, match, ok
}

func gatewayTimeout(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Timeout)
	h, match, ok := c.gatewayHost(s)
	if !ok || !c.claim(about(h, spec.Match), "timeout", "timeout", spec.Timeout) {
		return
	}
	value, ok := gatewayDuration(spec.Timeout)
	if !ok {
		c.problem("timeout", "the Gateway API has no times below a millisecond", "round it, or write api: istio in the step")
		return
	}
	c.rule(h, ruleEdit{match: match, apply: func(rule map[string]any) { fields.Child(rule, "timeouts")["request"] = value }})
}

func gatewayWeights(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Weights)
	h, match, ok := c.gatewayHost(s)
	if !ok {
		return
	}
	subsets := slices.Sorted(maps.Keys(spec.Subsets))
	var to []map[string]any
	for _, name := range subsets {
		ok = c.claim(about(h, spec.Match), "weight of "+name, scenario.Field("subsets", name), spec.Subsets[name]) && ok
		service, found := c.serviceOf(h, scenario.Field("subsets", name), name)
		if !found {
			ok = false
			continue
		}
		ref := backend(service.Short, c.onlyPort(service))
		ref["weight"] = int64(spec.Subsets[name])
		to = append(to, ref)
	}
	if !ok || !c.claim(about(h, spec.Match), "weights", "subsets", subsets) {
		return
	}
	c.rule(h, ruleEdit{match: match, unmatchedOnly: true, apply: func(rule map[string]any) { lead(rule, to) }})
}

// lead replaces the backends of a rule; what the rule has for a Service stays with it.
func lead(rule map[string]any, to []map[string]any) {
	old := fields.Maps(rule, "backendRefs")
	out := make([]any, len(to))
	for i, ref := range to {
		ref = copyOf(ref)
		for _, o := range old {
			if str(o, "name") == str(ref, "name") && o["filters"] != nil {
				ref["filters"] = o["filters"]
			}
		}
		out[i] = ref
	}
	rule["backendRefs"] = out
}

func gatewayMirror(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Mirror)
	h, match, ok := c.gatewayHost(s)
	if !ok {
		return
	}
	to, ref, ok := c.backendOf(h, spec.To)
	if !ok {
		return
	}
	if to.FQDN == h.FQDN {
		c.problem("to", "is the mirrored host itself", "name a subset or another host")
		return
	}
	if !c.claim(about(h, spec.Match), "mirror", "", fmt.Sprintf("%v%% to %s", spec.Percent, to.Short)) {
		return
	}
	filter := map[string]any{"backendRef": ref}
	switch p := float64(spec.Percent); {
	case p == 100:
	case p == math.Trunc(p):
		filter["percent"] = int64(p)
	default:
		filter["fraction"] = map[string]any{"numerator": int64(math.Round(p * 1e4)), "denominator": int64(1e6)}
	}
	c.rule(h, ruleEdit{match: match, apply: func(rule map[string]any) {
		rule["filters"] = append(asList(rule["filters"]), map[string]any{"type": "RequestMirror", "requestMirror": copyOf(filter)})
	}})
}

func gatewayRoute(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Route)
	h, match, ok := c.gatewayHost(s)
	if !ok {
		return
	}
	to, ref, ok := c.backendOf(h, spec.To)
	if !ok || !c.claim(about(h, spec.Match), "route", "to", to.Short) {
		return
	}
	c.rule(h, ruleEdit{match: match, insert: match != nil, unmatchedOnly: true, apply: func(rule map[string]any) {
		lead(rule, []map[string]any{ref})
	}})
}

// backendOf resolves where a step on the host leads: a Service, which for a subset is one of the subset's own.
func (c *compiler) backendOf(h Host, d scenario.Destination) (to Host, ref map[string]any, ok bool) {
	to = h
	if d.Host != "" {
		if to, ok = c.host("to.host", d.Host); !ok {
			return to, nil, false
		}
	}
	if d.Subset != "" {
		if to, ok = c.serviceOf(to, "to.subset", d.Subset); !ok {
			return to, nil, false
		}
	}
	port := int64(d.Port)
	if port == 0 {
		port = c.onlyPort(to)
	}
	ref = backend(to.Short, port)
	if to.Namespace != h.Namespace {
		ref["namespace"] = to.Namespace
	}
	return to, ref, port != 0
}

// refuseElsewhere refuses limits for pods that no request comes to by the cluster they are set for, since an HTTPRoute leads the requests
// to other Services.
func (c *compiler) refuseElsewhere() {
	for _, s := range c.steps {
		var subset string
		switch spec := s.Spec.(type) {
		case *scenario.CircuitBreaker:
			subset = spec.Subset
		case *scenario.Outlier:
			subset = spec.Subset
		default:
			continue
		}
		h, ok := c.set.Resolve(s.Host(), c.opts.Namespace)
		if !ok {
			continue
		}
		for _, u := range c.httpRoutesOf(h) {
			var others []string
			leadsHere := false
			for _, to := range backends(u) {
				if to == h.FQDN {
					leadsHere = true
				} else if other, ok := c.set.Resolve(to, c.opts.Namespace); ok {
					others = append(others, other.Short)
				}
			}
			if len(others) > 0 && (subset != "" || !leadsHere) {
				c.problems = append(c.problems, s.Problem("host", fmt.Sprintf("the HTTPRoute %s leads the requests to other Services, for which limits of %s do not hold",
					u.GetName(), subsetOf(h, subset)), fmt.Sprintf("name one of %v as the host", others)))
			}
		}
	}
}
