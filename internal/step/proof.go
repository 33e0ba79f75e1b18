package step

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

// evidence are the expressions that prove a kind. In direct and elsewhere, HOST stands for the host in quotes and SUBSET for
// the subset in quotes with its comma. direct is for the host that the load calls: the client's own proxy acts. elsewhere
// is for a host further on: another proxy acts.
type evidence struct{ text, direct, elsewhere string }

func evidences() map[string]evidence {
	return map[string]evidence{
		// Envoy sheds with the flag UO and never retries what it shed, so that each such answer is one overflow.
		"circuitBreaker": {"the caller's proxy shed requests above the limits, and each such answer has the flag UO",
			`overflow(HOSTSUBSET) > 0 && overflow(HOST) == count(flag("UO"))`,
			`elsewhere(HOST, "upstream_rq_pending_overflow"SUBSET) > 0`},
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
		"circuitBreaker": ` && elsewhere(HOST, "upstream_rq_pending_overflow"SUBSET) == 0`,
		"outlier":        ` && elsewhere(HOST, "outlier_detection.ejections_enforced_total"SUBSET) == 0`,
		"timeout":        ` && elsewhere(HOST, "upstream_rq_timeout"SUBSET) == 0`,
		"retries":        ` && elsewhere(HOST, "upstream_rq_retry"SUBSET) == 0`,
	}
}

// proof fills in the evidence of that name.
func (c *compiler) proof(evidence, host, subset string) []Proof {
	h, ok := c.set.Resolve(host, c.opts.Namespace)
	if !ok {
		return nil
	}
	e := evidences()[evidence]
	argument := ""
	if subset != "" {
		argument = ", " + strconv.Quote(subset)
	}
	name := h.Short
	if h.Namespace != c.opts.Namespace && name != h.FQDN {
		name += "." + h.Namespace
	}
	fill := strings.NewReplacer("HOST", strconv.Quote(name), "SUBSET", argument)
	if !c.isTarget(h) {
		return []Proof{{c.step.String(), e.text, fill.Replace(e.elsewhere)}}
	}
	expr := e.direct
	if more, ok := onlyHere()[evidence]; ok && !c.hasKindElsewhere(evidence) {
		expr += more
	}
	return []Proof{{c.step.String(), e.text, fill.Replace(expr)}}
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

func proveDelay(c *compiler, s scenario.Step) []Proof   { return c.proof("delay", s.Host(), "") }
func proveAbort(c *compiler, s scenario.Step) []Proof   { return c.proof("abort", s.Host(), "") }
func proveTimeout(c *compiler, s scenario.Step) []Proof { return c.proof("timeout", s.Host(), "") }

func proveRetries(c *compiler, s scenario.Step) []Proof {
	if s.Spec.(*scenario.Retries).Attempts == 0 {
		return c.proof("noRetries", s.Host(), "")
	}
	return c.proof("retries", s.Host(), "")
}

func proveWeights(c *compiler, s scenario.Step) []Proof {
	shares := s.Spec.(*scenario.Weights).Subsets
	var out []Proof
	for _, subset := range slices.Sorted(maps.Keys(shares)) {
		name := "share"
		if shares[subset] == 0 {
			name = "noShare"
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

// proveMirror compares what arrived at the copies' target with what the load generator had answered by it: the rest are
// copies. Istio gives copies no mark of their own, and Envoy's counters do not tell them apart.
func proveMirror(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.Mirror)
	to, ok := c.set.Resolve(cmp.Or(spec.To.Host, spec.Host), c.opts.Namespace)
	if !ok {
		return nil
	}
	arrived, answered := fmt.Sprintf("records(%q).count", to.Short), "0"
	if version := c.subsetVersion(to, spec.To.Subset); spec.To.Subset != "" && version != "" {
		arrived = fmt.Sprintf("records(%q, version == %q).count", to.Short, version)
		if c.isTarget(to) {
			answered = fmt.Sprintf("count(version == %q)", version)
		}
	}
	return []Proof{{s.String(), "more requests reached " + subsetOf(to, spec.To.Subset) + " than it answered: the rest are copies",
		arrived + " > " + answered}}
}

// proveMTLS looks at who the callers were to the proxies that the policy is for.
func proveMTLS(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.MTLS)
	services := c.servicesOf(spec.Workload)
	if len(services) == 0 {
		return nil
	}
	sum := func(predicate string) string {
		parts := make([]string, len(services))
		for i, name := range services {
			parts[i] = fmt.Sprintf("records(%q%s).count", name, predicate)
		}
		return strings.Join(parts, " + ")
	}
	some := sum("") + " > 0"
	switch {
	case spec.Mode == "STRICT" && c.opts.Plaintext:
		return []Proof{{s.String(), "connections without TLS were refused, so no request arrived",
			sum("") + ` == 0 && count(error == "reset") + count(error == "eof") > 0`}}
	case spec.Mode == "STRICT":
		return []Proof{{s.String(), "every request came with the identity of its caller",
			sum(`, principal == ""`) + " == 0 && " + some}}
	case spec.Mode == "DISABLE":
		return []Proof{{s.String(), "every request came without TLS", sum(`, principal != ""`) + " == 0 && " + some}}
	}
	return []Proof{{s.String(), "requests arrived", some}}
}

// servicesOf are the services whose pods have the labels: the load's target alone, when it is one of them.
func (c *compiler) servicesOf(workload map[string]string) []string {
	var out []string
	for _, u := range c.set.list("", "Service") {
		selector, ok, _ := unstructured.NestedStringMap(u.Object, "spec", "selector")
		if u.GetNamespace() != c.opts.Namespace || !ok {
			continue
		}
		pods := matching(matching(c.set.podLabels(c.opts.Namespace), selector), workload)
		if len(selector) == 0 || len(pods) == 0 || len(workload) == 0 && c.hasOwnMode(pods) {
			continue
		}
		if h, ok := c.set.Resolve(u.GetName(), c.opts.Namespace); ok && c.opts.Target != "" && c.isTarget(h) {
			return []string{h.Short}
		}
		out = append(out, u.GetName())
	}
	return out
}

// hasOwnMode says whether a policy for some of the pods overrides that of the namespace.
func (c *compiler) hasOwnMode(pods []map[string]string) bool {
	return slices.ContainsFunc(c.set.list(security, "PeerAuthentication"), func(u *unstructured.Unstructured) bool {
		labels, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
		return u.GetNamespace() == c.opts.Namespace && len(labels) > 0 && len(matching(pods, labels)) > 0
	})
}

// proveManifest proves the faults that a manifest's VirtualServices hold.
func proveManifest(c *compiler, s scenario.Step) []Proof {
	sources, ok := c.sources(s)
	if !ok {
		return nil
	}
	var out []Proof
	for _, src := range sources {
		u := &unstructured.Unstructured{Object: src.object}
		if u.GetKind() != "VirtualService" || u.GroupVersionKind().Group != networking {
			continue
		}
		for _, kind := range faultsIn(u) {
			for _, host := range hostsOf(u) {
				out = append(out, c.proof(kind, host, "")...)
			}
		}
	}
	return out
}

func faultsIn(u *unstructured.Unstructured) []string {
	var kinds []string
	for _, route := range mapsIn(specOf(u), "http") {
		for _, kind := range []string{"delay", "abort"} {
			fault, _ := route["fault"].(map[string]any)
			if fault[kind] != nil && !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds
}
