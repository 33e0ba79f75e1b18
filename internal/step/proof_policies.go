package step

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/scenario"
)

func proveMTLS(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.MTLS)
	return c.proveMode(spec.Mode, spec.Workload)
}

// proveMode looks at who the callers were to the proxies that the policy is for.
func (c *compiler) proveMode(mode string, workload map[string]string) []Proof {
	services := c.servicesOf(workload, c.hasOwnMode)
	if len(services) == 0 {
		return c.unprovable("no service has pods that it is for, so that no access log tells who called them")
	}
	step := c.step.String()
	sum := func(predicate string) string { return arrived(services, predicate) }
	some := sum("") + " > 0"
	switch {
	case mode == "STRICT" && c.opts.Plaintext:
		return []Proof{{step, "connections without TLS were refused, so no request arrived",
			sum("") + ` == 0 && count(error == "reset") + count(error == "eof") > 0`}}
	case mode == "STRICT":
		return []Proof{{step, "every request came with the identity of its caller",
			sum(`, principal == ""`) + " == 0 && " + some}}
	case mode == "DISABLE":
		return []Proof{{step, "every request came without TLS", sum(`, principal != ""`) + " == 0 && " + some}}
	}
	return []Proof{{step, "requests arrived", some}}
}

// arrived is how many requests came to the services' proxies, of those that fit the predicate, which begins with a comma.
func arrived(services []string, predicate string) string {
	parts := make([]string, len(services))
	for i, name := range services {
		parts[i] = fmt.Sprintf("access(%q%s).count", name, predicate)
	}
	return strings.Join(parts, " + ")
}

// servicesOf are the services whose pods have the labels: the load's target alone, when it is one of them.
func (c *compiler) servicesOf(workload map[string]string, isExempt func(pods []map[string]string) bool) []string {
	var out []string
	for _, u := range c.set.list("", "Service") {
		selector, ok, _ := unstructured.NestedStringMap(u.Object, "spec", "selector")
		if u.GetNamespace() != c.opts.Namespace || !ok {
			continue
		}
		pods := matching(matching(c.set.podLabels(c.opts.Namespace), selector), workload)
		if len(selector) == 0 || len(pods) == 0 || len(workload) == 0 && isExempt(pods) {
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

func noneExempt([]map[string]string) bool { return false }

func proveJWT(c *compiler, s scenario.Step) []Proof {
	return c.proveTokens(s.Spec.(*scenario.JWT).Workload)
}

// proveTokens looks at the filter that checks tokens, which a proxy has only under such a policy.
func (c *compiler) proveTokens(workload map[string]string) []Proof {
	services := c.servicesOf(workload, noneExempt)
	if len(services) == 0 {
		c.state("no service has the pods that it is for")
		return nil
	}
	return []Proof{{c.step.String(), "the callee's proxy judged the tokens of requests",
		inbound(services, "jwt_authn", "allowed") + " + " + inbound(services, "jwt_authn", "denied") + " > 0"}}
}

// inbound is the sum of a counter of the services' own proxies.
func inbound(services []string, filter, counter string) string {
	parts := make([]string, len(services))
	for i, name := range services {
		parts[i] = fmt.Sprintf("proxy(%q).counter(%q)", name, `http\.inbound_.*\.`+filter+`\.`+counter)
	}
	return strings.Join(parts, " + ")
}

func proveAuthorize(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.Authorize)
	return c.proveAccess(access{
		name: c.made[s.Path], workload: spec.Workload, action: spec.Action, denyAll: spec.DenyAll, dryRun: spec.DryRun,
	})
}

// access is what a policy does, its rules apart.
type access struct {
	name            string
	workload        map[string]string
	action          string // "" is ALLOW
	denyAll, dryRun bool
}

// proveAccess looks at what the callee's proxy allowed and refused.
func (c *compiler) proveAccess(a access) []Proof {
	services := c.servicesOf(a.workload, noneExempt)
	switch {
	case len(services) == 0:
		c.state("no service has the pods that it is for")
		return nil
	case a.action == "AUDIT" || a.action == "CUSTOM":
		c.state("what a policy with the action %s does is not in the proxies' counters", a.action)
		return nil
	}
	prefix := ""
	if a.dryRun {
		prefix = ".*shadow_"
	}
	allowed, denied := inbound(services, "rbac", prefix+"allowed"), inbound(services, "rbac", prefix+"denied")
	text, expr := "the callee's proxy judged requests by a policy", allowed+" + "+denied+" > 0"
	isDenial := a.action == "DENY"
	if none := a.denyAll && !isDenial && !c.isAllowedBesides(a.workload); isDenial || none {
		text, expr = "the callee's proxy refused requests", denied+" > 0"
		policy := "policy[" + a.name + "]"
		if none {
			policy = "matched_policy[none]" // no policy allowed them
		}
		if !a.dryRun {
			text += " by the policy, as its access log says"
			expr += " && " + arrived(services, fmt.Sprintf(", details.contains(%q)", policy)) + " > 0"
		}
	}
	if a.dryRun {
		text += ", and only counted it"
	}
	return []Proof{{c.step.String(), text, expr}}
}

// isAllowedBesides says whether another policy allows some requests to pods of the load's target.
func (c *compiler) isAllowedBesides(workload map[string]string) bool {
	pods := c.set.podLabels(c.opts.Namespace)
	if h, ok := c.set.Resolve(c.opts.Target, c.opts.Namespace); ok {
		if own, known := c.set.pods(h); known {
			pods = own
		}
	}
	return slices.ContainsFunc(c.set.list(security, "AuthorizationPolicy"), func(u *unstructured.Unstructured) bool {
		spec := specOf(u)
		isAllow := str(spec, "action") == "" || str(spec, "action") == "ALLOW"
		return u.GetNamespace() == c.opts.Namespace && isAllow && len(fields.Maps(spec, "rules")) > 0 &&
			len(matching(matching(pods, workload), selectorOf(u))) > 0
	})
}

// targetsGateway says whether the load calls a gateway with these labels; that of a gateway outside of the plan is not known,
// and then it may.
func (c *compiler) targetsGateway(selector map[string]string) bool {
	h, ok := c.set.Resolve(c.opts.Target, c.opts.Namespace)
	if !ok {
		return c.opts.Target != ""
	}
	labels, _, _ := unstructured.NestedStringMap(h.service.Object, "spec", "selector")
	return includes(labels, selector)
}

// proveGateway asks that requests came through it to one of the services that it leads to.
func proveGateway(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.Gateway)
	selector := spec.Selector
	if len(selector) == 0 {
		selector = map[string]string{"istio": "ingressgateway"}
	}
	if !c.targetsGateway(selector) {
		c.state("the load does not call the gateway")
		return nil
	}
	u, ok := c.set.objects[key{networking, "VirtualService", c.opts.Namespace, spec.Name}]
	if !ok {
		return nil
	}
	return c.proveDestinations(nil, u)
}
