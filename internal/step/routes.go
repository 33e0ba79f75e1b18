package step

import (
	"fmt"
	"maps"
	"slices"

	networkingv1 "istio.io/api/networking/v1"

	"squall/internal/fields"
	"squall/internal/scenario"
)

func delay(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Delay)
	h, ok := c.callerHost(spec.Host)
	if !ok || !c.claim(about(h, spec.Match), "delay", "", fmt.Sprintf("%v%% of %s", spec.Percent, spec.FixedDelay)) {
		return
	}
	fault := c.fields(&networkingv1.HTTPFaultInjection_Delay{
		Percentage:    percent(spec.Percent),
		HttpDelayType: &networkingv1.HTTPFaultInjection_Delay_FixedDelay{FixedDelay: duration(spec.FixedDelay)},
	})
	c.fault(h, spec.Match, "delay", fault)
}

func abort(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Abort)
	h, ok := c.callerHost(spec.Host)
	if !ok {
		return
	}
	fault := &networkingv1.HTTPFaultInjection_Abort{Percentage: percent(spec.Percent)}
	answer := fmt.Sprint(spec.HTTPStatus)
	fault.ErrorType = &networkingv1.HTTPFaultInjection_Abort_HttpStatus{HttpStatus: spec.HTTPStatus}
	if spec.GRPCStatus != "" {
		answer = spec.GRPCStatus
		fault.ErrorType = &networkingv1.HTTPFaultInjection_Abort_GrpcStatus{GrpcStatus: spec.GRPCStatus}
	}
	if c.claim(about(h, spec.Match), "abort", "", fmt.Sprintf("%v%% with %s", spec.Percent, answer)) {
		c.fault(h, spec.Match, "abort", c.fields(fault))
	}
}

// fault replaces the delay or the abort of routes; the other one stays.
func (c *compiler) fault(h Host, match *scenario.Match, field string, value map[string]any) {
	c.apart(h)
	c.route(h, edit{match: match, apply: func(route map[string]any) {
		fields.Child(route, "fault")[field] = copyOf(value)
	}})
}

func timeout(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Timeout)
	h, ok := c.callerHost(spec.Host)
	if !ok || !c.claim(about(h, spec.Match), "timeout", "timeout", spec.Timeout) {
		return
	}
	c.apart(h)
	value := c.fields(&networkingv1.HTTPRoute{Timeout: duration(spec.Timeout)})["timeout"]
	c.route(h, edit{match: spec.Match, apply: func(route map[string]any) { route["timeout"] = value }})
}

func retries(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Retries)
	h, ok := c.callerHost(spec.Host)
	if !ok || !c.claim(about(h, spec.Match), "retries", "", fmt.Sprintf("%d %s %s", spec.Attempts, spec.PerTryTimeout, spec.RetryOn)) {
		return
	}
	c.apart(h)
	value := c.fields(&networkingv1.HTTPRetry{PerTryTimeout: duration(spec.PerTryTimeout), RetryOn: spec.RetryOn})
	value["attempts"] = int64(spec.Attempts)
	c.route(h, edit{match: spec.Match, apply: func(route map[string]any) {
		old, _ := route["retries"].(map[string]any)
		if spec.Attempts == 0 {
			old = nil // Istio refuses other fields beside 0 attempts
		}
		route["retries"] = laid(old, copyOf(value))
	}})
}

// apart refuses a fault on the routes that another step gives a timeout or retries, and the other way round: Envoy
// injects faults before its router, so neither a timeout nor a retry sees them.
func (c *compiler) apart(h Host) {
	isFault := func(s scenario.Step) bool { return s.Kind == "delay" || s.Kind == "abort" }
	isPolicy := func(s scenario.Step) bool { return s.Kind == "timeout" || s.Kind == "retries" }
	for _, other := range c.steps {
		if other.Path == c.step.Path {
			return // the later of the two reports it
		}
		clash := isFault(c.step) && isPolicy(other) || isPolicy(c.step) && isFault(other)
		if o, ok := c.set.Resolve(other.Host(), c.opts.Namespace); clash && ok && o.FQDN == h.FQDN && !areApart(c.step, other) {
			c.problem("", fmt.Sprintf("is on the same route as the %s at %s, but Envoy injects faults where no timeout and no retry sees them",
				other.Kind, other.At("")), "put the fault on the next hop")
		}
	}
}

// areApart says whether no request fits the matches of both steps.
func areApart(a, b scenario.Step) bool {
	one, two := matchOf(a), matchOf(b)
	if one == nil || two == nil {
		return false
	}
	both, conflict := conjunction([]map[string]any{matchFields(one)}, matchFields(two))
	return conflict == "" && len(both) == 0
}

func matchOf(s scenario.Step) *scenario.Match {
	switch spec := s.Spec.(type) {
	case *scenario.Delay:
		return spec.Match
	case *scenario.Abort:
		return spec.Match
	case *scenario.Timeout:
		return spec.Match
	case *scenario.Retries:
		return spec.Match
	case *scenario.Weights:
		return spec.Match
	case *scenario.Mirror:
		return spec.Match
	case *scenario.Route:
		return spec.Match
	}
	return nil
}

func weights(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Weights)
	h, ok := c.callerHost(spec.Host)
	if !ok {
		return
	}
	rule := c.destinationRule(h)
	if rule == nil {
		return
	}
	subsets := slices.Sorted(maps.Keys(spec.Subsets))
	for _, name := range subsets {
		ok = c.claim(about(h, spec.Match), "weight of "+name, scenario.Field("subsets", name), spec.Subsets[name]) && ok
		ok = c.subset(h, rule, scenario.Field("subsets", name), name) && ok
	}
	if !ok || !c.claim(about(h, spec.Match), "weights", "subsets", subsets) {
		return
	}
	c.route(h, edit{match: spec.Match, unmatchedOnly: true, apply: func(route map[string]any) { split(route, subsets, spec.Subsets) }})
}

// split replaces the route's destinations by the subsets; what the route has for a subset stays with it.
func split(route map[string]any, subsets []string, shares map[string]scenario.Share) {
	old := fields.Maps(route, "route")
	var out []map[string]any
	for _, name := range subsets {
		first := fields.Child(copyOf(old[0]), "destination")
		first["subset"] = name
		to := map[string]any{"destination": first}
		for _, d := range old {
			if str(fields.Child(d, "destination"), "subset") == name {
				to = copyOf(d)
			}
		}
		to["weight"] = int64(shares[name])
		out = append(out, to)
	}
	route["route"] = toList(out)
}

func mirror(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Mirror)
	h, ok := c.callerHost(spec.Host)
	if !ok {
		return
	}
	to, destination, ok := c.destination("to", h, spec.To)
	if !ok {
		return
	}
	if to.FQDN == h.FQDN && spec.To.Subset == "" {
		c.problem("to", "is the mirrored host itself", "name a subset or another host")
		return
	}
	if !c.claim(about(h, spec.Match), "mirror", "", fmt.Sprintf("%v%% to %s", spec.Percent, subsetOf(to, spec.To.Subset))) {
		return
	}
	share := c.fields(percent(spec.Percent))
	c.route(h, edit{match: spec.Match, apply: func(route map[string]any) { addMirror(route, destination, share) }})
}

func route(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Route)
	h, ok := c.callerHost(spec.Host)
	if !ok {
		return
	}
	to, destination, ok := c.destination("to", h, spec.To)
	if !ok || !c.claim(about(h, spec.Match), "route", "to", subsetOf(to, spec.To.Subset)) {
		return
	}
	e := edit{match: spec.Match, insert: spec.Match != nil, unmatchedOnly: true}
	e.apply = func(route map[string]any) { route["route"] = []any{map[string]any{"destination": copyOf(destination)}} }
	c.route(h, e)
}

// destination resolves where a step on the host leads, and makes sure that the subset is there.
func (c *compiler) destination(field string, h Host, d scenario.Destination) (to Host, out map[string]any, ok bool) {
	to = h
	if d.Host != "" {
		if to, ok = c.host(field+".host", d.Host); !ok {
			return to, nil, false
		}
	}
	out = map[string]any{"host": c.hostFor(to)}
	if d.Subset != "" {
		rule := c.destinationRule(to)
		if rule == nil || !c.subset(to, rule, field+".subset", d.Subset) {
			return to, nil, false
		}
		out["subset"] = d.Subset
	}
	if d.Port != 0 {
		out["port"] = map[string]any{"number": int64(d.Port)}
	}
	return to, out, true
}

// addMirror keeps to the list when the route has one: Istio refuses both forms side by side.
func addMirror(route, destination, share map[string]any) {
	if list := asList(route["mirrors"]); len(list) > 0 {
		route["mirrors"] = append(list, map[string]any{"destination": copyOf(destination), "percentage": copyOf(share)})
		return
	}
	delete(route, "mirrorPercent") // the old name of the share
	route["mirror"] = copyOf(destination)
	route["mirrorPercentage"] = copyOf(share)
}

func percent(p scenario.Percent) *networkingv1.Percent {
	return &networkingv1.Percent{Value: float64(p)}
}
