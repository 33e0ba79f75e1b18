package step

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"squall/internal/fields"
	"squall/internal/scenario"
)

// overflows is what a breaker shed: Envoy counts what exceeds the limit of requests apart from what exceeds the others.
const overflows = "upstream_rq_pending_overflow|upstream_rq_active_overflow"

// evidence are the expressions that prove a kind. In direct and elsewhere, HOST stands for the host in quotes and SUBSET for
// the subset in quotes with its comma. direct is for the host that the load calls: the client's own proxy acts. elsewhere
// is for a host further on: another proxy acts.
type evidence struct{ text, direct, elsewhere string }

func evidences() map[string]evidence {
	return map[string]evidence{
		// Envoy sheds with the flag UO and never retries what it shed, so that each such answer is one overflow.
		"circuitBreaker": {"the caller's proxy shed requests above the limits, and each such answer has the flag UO",
			`overflow(HOSTSUBSET) > 0 && overflow(HOST) == count(flag("UO"))`,
			`elsewhere(HOST, "` + overflows + `"SUBSET) > 0`},
		"maxRetries": {"the caller's proxy left out retries above the limit",
			`cluster(HOST, "upstream_rq_retry_overflow"SUBSET) > 0`,
			`elsewhere(HOST, "upstream_rq_retry_overflow"SUBSET) > 0`},
		"maxRequestsPerConnection": {"the caller's proxy closed connections that had served as many requests as they may",
			`cluster(HOST, "upstream_cx_max_requests"SUBSET) > 0`,
			`elsewhere(HOST, "upstream_cx_max_requests"SUBSET) > 0`},
		"connectTimeout": {"the caller's proxy gave up making connections",
			`cluster(HOST, "upstream_cx_connect_timeout"SUBSET) > 0`,
			`elsewhere(HOST, "upstream_cx_connect_timeout"SUBSET) > 0`},
		"outlier": {"the caller's proxy ejected pods",
			`ejections(HOSTSUBSET) > 0`,
			`elsewhere(HOST, "outlier_detection.ejections_enforced_total"SUBSET) > 0`},
		"delay": {"the caller's proxy delayed requests, and each of them has the flag DI",
			`delays() > 0 && delays() == count(flag("DI"))`,
			`elsewhere("fault\\.delays_injected") > 0`},
		"abort": {"the caller's proxy aborted requests, and each of them has the flag FI",
			`aborts() > 0 && aborts() == count(flag("FI"))`,
			`elsewhere("fault\\.aborts_injected") > 0`},
		"timeout": {"the caller's proxy gave requests up, with the flag UT",
			`timeouts(HOST) > 0 && count(flag("UT")) > 0`,
			`elsewhere(HOST, "upstream_rq_timeout"SUBSET) > 0`},
		"retries": {"the caller's proxy tried requests again",
			`retries(HOST) > 0`,
			`elsewhere(HOST, "upstream_rq_retry"SUBSET) > 0`},
		"noRetries": {"the caller's proxy tried no request again",
			`retries(HOST) == 0 && count() > 0`,
			`elsewhere(HOST, "upstream_rq_retry"SUBSET) == 0`},
		"share": {"the subset got requests",
			`cluster(HOST, "upstream_rq_total"SUBSET) > 0`,
			`elsewhere(HOST, "upstream_rq_total"SUBSET) > 0`},
		"noShare": {"the subset got no requests",
			`cluster(HOST, "upstream_rq_total"SUBSET) == 0`,
			`elsewhere(HOST, "upstream_rq_total"SUBSET) == 0`},
	}
}

// onlyHere is added to a fault on the host that the load calls, when no step of the kind is for another host.
func onlyHere() map[string]string {
	return map[string]string{
		"delay":          ` && elsewhere("fault\\.delays_injected") == 0`,
		"abort":          ` && elsewhere("fault\\.aborts_injected") == 0`,
		"circuitBreaker": ` && elsewhere(HOST, "` + overflows + `"SUBSET) == 0`,
		"outlier":        ` && elsewhere(HOST, "outlier_detection.ejections_enforced_total"SUBSET) == 0`,
		"timeout":        ` && elsewhere(HOST, "upstream_rq_timeout"SUBSET) == 0`,
		"retries":        ` && elsewhere(HOST, "upstream_rq_retry"SUBSET) == 0`,
	}
}

// proof fills in the evidence of that name for the callers of the host.
func (c *compiler) proof(evidence, host, subset string) []Proof {
	h, ok := c.set.Resolve(host, c.opts.Namespace)
	if !ok {
		return nil
	}
	return c.proofAt(evidence, h, subset, c.isTarget(h) || c.isBehindTarget(h))
}

// proofAt is proof where it is known whether the load generator's own proxy acts.
func (c *compiler) proofAt(evidence string, h Host, subset string, direct bool) []Proof {
	e := evidences()[evidence]
	argument := ""
	if subset != "" {
		argument = ", " + strconv.Quote(subset)
	}
	fill := strings.NewReplacer("HOST", strconv.Quote(c.called(h)), "SUBSET", argument)
	if gateway := c.gatewayTo(h); gateway != "" && !direct {
		return []Proof{{c.step.String(), strings.Replace(e.text, "the caller's proxy", "the gateway", 1), atGateway(e.elsewhere, gateway, h, subset)}}
	}
	if !direct {
		return []Proof{{c.step.String(), e.text, fill.Replace(e.elsewhere)}}
	}
	expr := e.direct
	if more, ok := onlyHere()[evidence]; ok && !c.hasKindElsewhere(evidence) && !c.isElsewhere(evidence, h) {
		expr += more
	}
	return []Proof{{c.step.String(), e.text, fill.Replace(expr)}}
}

// gatewayTo is the gateway's service that the load calls and that leads to the host, "" when there is none.
func (c *compiler) gatewayTo(h Host) string {
	target, ok := c.set.Resolve(c.opts.Target, c.opts.Namespace)
	if !ok || target.service.GetKind() != "Service" {
		return ""
	}
	for _, u := range c.leadingTo(h) {
		if slices.ContainsFunc(c.selectorsOf(u), c.targetsGateway) {
			return target.Short
		}
	}
	return ""
}

// atGateway is an evidence of other proxies, looked at in the gateway's alone. A stat of a host becomes one of its clusters, as a regular
// expression, in which a bar between stats needs parentheses.
func atGateway(elsewhere, gateway string, h Host, subset string) string {
	clusters := `cluster\\.outbound\\|[0-9]+\\|` + cmp.Or(subset, `[^|]*`) + `\\|` + strings.ReplaceAll(h.FQDN, ".", `\\.`) + `\\.`
	of := fmt.Sprintf("proxy(%q).counter(", gateway)
	out := strings.ReplaceAll(elsewhere, `elsewhere(HOST, "`, of+`"`+clusters)
	return strings.NewReplacer(overflows, "(?:"+overflows+")", "elsewhere(", of, "SUBSET", "").Replace(out)
}

// called is the host as checks name it.
func (c *compiler) called(h Host) string {
	if h.Namespace != c.opts.Namespace && h.Short != h.FQDN {
		return h.Short + "." + h.Namespace
	}
	return h.Short
}

func (c *compiler) hasKindElsewhere(kind string) bool {
	return slices.ContainsFunc(c.steps, func(s scenario.Step) bool {
		h, ok := c.set.Resolve(s.Host(), c.opts.Namespace)
		return s.Kind == kind && ok && !c.isTarget(h)
	})
}

// proveCircuitBreaker asks for overflow, or when only other limits are set for what the first of them does.
func proveCircuitBreaker(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.CircuitBreaker)
	evidence := "circuitBreaker"
	if spec.MaxConnections == 0 && spec.HTTP1MaxPendingRequests == 0 && spec.HTTP2MaxRequests == 0 {
		switch {
		case spec.MaxRetries > 0:
			evidence = "maxRetries"
		case spec.MaxRequestsPerConnection > 0:
			evidence = "maxRequestsPerConnection"
		default:
			evidence = "connectTimeout"
		}
	}
	return c.proof(evidence, spec.Host, spec.Subset)
}

func proveOutlier(c *compiler, s scenario.Step) []Proof {
	return c.proof("outlier", s.Host(), s.Spec.(*scenario.Outlier).Subset)
}

func proveDelay(c *compiler, s scenario.Step) []Proof   { return c.proveOnRoutes("delay", s) }
func proveAbort(c *compiler, s scenario.Step) []Proof   { return c.proveOnRoutes("abort", s) }
func proveTimeout(c *compiler, s scenario.Step) []Proof { return c.proveOnRoutes("timeout", s) }

func proveRetries(c *compiler, s scenario.Step) []Proof {
	if s.Spec.(*scenario.Retries).Attempts == 0 {
		return c.proveOnRoutes("noRetries", s)
	}
	return c.proveOnRoutes("retries", s)
}

func proveWeights(c *compiler, s scenario.Step) []Proof {
	shares := s.Spec.(*scenario.Weights).Subsets
	if other, ok := c.takenBefore(s); ok {
		c.state("all requests of the load take the route at %s", other.At(""))
		return nil
	}
	var out []Proof
	for _, subset := range slices.Sorted(maps.Keys(shares)) {
		name := "share"
		if shares[subset] == 0 {
			if name = "noShare"; c.opts.Midway || matchOf(s) != nil {
				continue // other requests may go there
			}
		}
		proofs := c.proof(name, s.Host(), subset)
		if c.isMirroredTo(s.Host(), subset) {
			proofs = c.proveShareBesideCopies(s.Host(), subset, shares[subset] == 0)
		}
		for _, p := range proofs {
			p.Text = strings.Replace(p.Text, "the subset", "the subset "+subset, 1)
			out = append(out, p)
		}
	}
	return out
}

// takenBefore is the step route of the same host, if there is one, that takes all requests of the load before s can.
func (c *compiler) takenBefore(s scenario.Step) (other scenario.Step, ok bool) {
	h, found := c.set.Resolve(s.Host(), c.opts.Namespace)
	isRoute := s.Kind == "route" && matchOf(s) != nil
	if !found || !c.isTarget(h) && c.gatewayTo(h) == "" || matchOf(s) != nil && !isRoute {
		return other, false
	}
	for _, other := range c.steps {
		if other.Path == s.Path && isRoute {
			break // routes are looked at in the order of their steps
		}
		o, found := c.set.Resolve(other.Host(), c.opts.Namespace)
		if m := matchOf(other); other.Kind == "route" && m != nil && found && o.FQDN == h.FQDN && fitsRoute(onRoute(m), c.opts.Request) == always {
			return other, true
		}
	}
	return other, false
}

// onRoute is a route with the match.
func onRoute(m *scenario.Match) map[string]any { return map[string]any{"match": []any{matchFields(m)}} }

// isMirroredTo says whether a step sends copies of requests to the subset too. Envoy's counters do not tell them apart.
func (c *compiler) isMirroredTo(host, subset string) bool {
	h, _ := c.set.Resolve(host, c.opts.Namespace)
	return slices.ContainsFunc(c.steps, func(s scenario.Step) bool {
		spec, ok := s.Spec.(*scenario.Mirror)
		if !ok || spec.To.Subset != subset {
			return false
		}
		to, _ := c.set.Resolve(cmp.Or(spec.To.Host, spec.Host), c.opts.Namespace)
		return to.FQDN == h.FQDN
	})
}

// proveShareBesideCopies asks the load generator who answered it: the answers to copies are thrown away.
func (c *compiler) proveShareBesideCopies(host, subset string, none bool) []Proof {
	h, ok := c.set.Resolve(host, c.opts.Namespace)
	version := c.subsetVersion(h, subset)
	if !ok || version == "" || !c.isTarget(h) {
		return nil
	}
	expr := fmt.Sprintf("count(version == %q)", version)
	if none {
		return []Proof{{c.step.String(), evidences()["noShare"].text + " but copies", expr + " == 0"}}
	}
	return []Proof{{c.step.String(), evidences()["share"].text + " beside copies", expr + " > 0"}}
}

// proveMirror asks the logs of both sides for copies: Istio gives them no mark of their own, and Envoy's counters do not tell them apart.
func proveMirror(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.Mirror)
	to, ok := c.set.Resolve(cmp.Or(spec.To.Host, spec.Host), c.opts.Namespace)
	if !ok {
		return nil
	}
	return c.proveCopies(to, spec.To.Subset)
}

func (c *compiler) proveCopies(to Host, subset string) []Proof {
	of := strconv.Quote(to.Short)
	if version := c.subsetVersion(to, subset); subset != "" && version != "" {
		of += fmt.Sprintf(", version == %q", version)
	}
	return []Proof{{c.step.String(), "requests reached " + subsetOf(to, subset) + " beyond those that their callers sent there: copies",
		"copies(" + of + ").count > 0"}}
}

// proveRoute looks at the subset, and where the load generator's proxy chooses the route also at the route's name.
func proveRoute(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.Route)
	h, ok := c.set.Resolve(spec.Host, c.opts.Namespace)
	to, known := c.set.Resolve(cmp.Or(spec.To.Host, spec.Host), c.opts.Namespace)
	if !ok || !known {
		return nil
	}
	if other, ok := c.takenBefore(s); ok {
		c.state("all requests of the load take the route at %s", other.At(""))
		return nil
	}
	direct := c.isTarget(h)
	proofs := c.proofAt("share", to, spec.To.Subset, direct)
	proofs[0].Text = strings.Replace(proofs[0].Text, "the subset", subsetOf(to, spec.To.Subset), 1)
	if c.gatewayTo(h) != "" && !direct && spec.Match != nil {
		return c.proveGatewayRoute(h, spec, proofs)
	}
	own, others := c.routesFor(spec)
	switch {
	case len(own) > 0 && direct:
		taken := "route == " + strings.Join(own, " || route == ")
		expr := "count(" + taken + ") > 0"
		if fitsRoute(onRoute(spec.Match), c.opts.Request) == always && !c.opts.Midway {
			expr += " && count(route != " + strings.Join(own, " && route != ") + ") == 0"
		}
		proofs = append(proofs, Proof{s.String(), "requests that match took the route", expr})
	case spec.Match != nil && len(others) > 0:
		c.state("the requests that match are not told apart from those that %s leads to %s too", strings.Join(others, ", "), subsetOf(to, spec.To.Subset))
	}
	return proofs
}

// proveGatewayRoute leaves the step without a proof when no request of the load fits its match. What a gateway's counters cannot
// tell apart is stated.
func (c *compiler) proveGatewayRoute(h Host, spec *scenario.Route, proofs []Proof) []Proof {
	if fitsRoute(onRoute(spec.Match), c.opts.Request) == never {
		return c.unprovable("no request of the load fits the match")
	}
	for _, u := range c.leadingTo(h) {
		r := c.routes[keyOf(u)]
		if r == nil {
			continue
		}
		for _, route := range fields.Maps(specOf(c.changes[keyOf(u)].After), "http") {
			isOwn := slices.ContainsFunc(r.copies[c.step.Path], func(own map[string]any) bool {
				return nameOf(own) == nameOf(route) || strings.HasPrefix(nameOf(route), nameOf(own)+"-match")
			})
			if !isOwn && slices.Contains(destinationsOf(route, u.GetNamespace()), h.FQDN) && leadsToSubset(route, spec.To.Subset) {
				c.state("the requests that match are not told apart from those that %s leads to %s too", nameOf(route), subsetOf(h, spec.To.Subset))
			}
		}
	}
	return proofs
}

// routesFor are the names, in quotes, of the route that the step made and its copies, and those of all others that lead to the
// same subset.
func (c *compiler) routesFor(spec *scenario.Route) (own, others []string) {
	if spec.Match == nil {
		return nil, nil
	}
	for _, k := range c.order {
		r := c.routes[k]
		if r == nil || !slices.ContainsFunc(r.edits, func(e edit) bool { return e.insert && e.step.Path == c.step.Path }) {
			continue
		}
		base := ""
		routes := fields.Maps(specOf(c.changes[k].After), "http")
		for _, route := range routes {
			if base == "" && reflect.DeepEqual(route["match"], onRoute(spec.Match)["match"]) {
				base = strings.TrimSuffix(str(route, "name"), "."+c.opts.Marker)
			}
		}
		for _, route := range routes {
			name := str(route, "name")
			switch {
			case base != "" && (strings.HasPrefix(name, base+".") || strings.HasPrefix(name, base+"-match") || name == base):
				own = append(own, strconv.Quote(name))
			case leadsToSubset(route, spec.To.Subset):
				others = append(others, name)
			}
		}
	}
	return own, others
}

func leadsToSubset(route map[string]any, subset string) bool {
	return slices.ContainsFunc(fields.Maps(route, "route"), func(d map[string]any) bool {
		to, _ := d["destination"].(map[string]any)
		return str(to, "subset") == subset && d["weight"] != int64(0)
	})
}
