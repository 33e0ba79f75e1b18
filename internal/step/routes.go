package step

import (
	"fmt"
	"maps"
	"slices"

	networkingv1 "istio.io/api/networking/v1"

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
		child(route, "fault")[field] = copyOf(value)
	}})
}

func timeout(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Timeout)
	h, ok := c.callerHost(spec.Host)
	if !ok || !c.claim(h.Short, "timeout", "timeout", spec.Timeout) {
		return
	}
	c.apart(h)
	value := c.fields(&networkingv1.HTTPRoute{Timeout: duration(spec.Timeout)})["timeout"]
	c.route(h, edit{apply: func(route map[string]any) { route["timeout"] = value }})
}

func retries(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Retries)
	h, ok := c.callerHost(spec.Host)
	if !ok || !c.claim(h.Short, "retries", "", fmt.Sprintf("%d %s %s", spec.Attempts, spec.PerTryTimeout, spec.RetryOn)) {
		return
	}
	c.apart(h)
	value := c.fields(&networkingv1.HTTPRetry{PerTryTimeout: duration(spec.PerTryTimeout), RetryOn: spec.RetryOn})
	value["attempts"] = int64(spec.Attempts)
	c.route(h, edit{apply: func(route map[string]any) {
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
		if o, ok := c.set.Resolve(other.Host(), c.opts.Namespace); clash && ok && o.FQDN == h.FQDN {
			c.problem("", fmt.Sprintf("is on the same route as the %s at %s, but Envoy injects faults where no timeout and no retry sees them",
				other.Kind, other.At("")), "put the fault on the next hop")
		}
	}
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
		ok = c.claim(h.Short, "weight of "+name, scenario.Field("subsets", name), spec.Subsets[name]) && ok
		ok = c.subset(h, rule, scenario.Field("subsets", name), name) && ok
	}
	if !ok || !c.claim(h.Short, "weights", "subsets", subsets) {
		return
	}
	c.route(h, edit{unmatchedOnly: true, apply: func(route map[string]any) { split(route, subsets, spec.Subsets) }})
}

// split replaces the route's destinations by the subsets; what the route has for a subset stays with it.
func split(route map[string]any, subsets []string, shares map[string]scenario.Share) {
	old := mapsIn(route, "route")
	var out []map[string]any
	for _, name := range subsets {
		first := child(copyOf(old[0]), "destination")
		first["subset"] = name
		to := map[string]any{"destination": first}
		for _, d := range old {
			if str(child(d, "destination"), "subset") == name {
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
	to := h
	if spec.To.Host != "" {
		if to, ok = c.host("to.host", spec.To.Host); !ok {
			return
		}
	}
	if to.FQDN == h.FQDN && spec.To.Subset == "" {
		c.problem("to", "is the mirrored host itself", "name a subset or another host")
		return
	}
	destination := map[string]any{"host": c.hostFor(to)}
	if spec.To.Subset != "" {
		rule := c.destinationRule(to)
		if rule == nil || !c.subset(to, rule, "to.subset", spec.To.Subset) {
			return
		}
		destination["subset"] = spec.To.Subset
	}
	if !c.claim(h.Short, "mirror", "", fmt.Sprintf("%v%% to %s", spec.Percent, subsetOf(to, spec.To.Subset))) {
		return
	}
	share := c.fields(percent(spec.Percent))
	c.route(h, edit{apply: func(route map[string]any) { addMirror(route, destination, share) }})
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
