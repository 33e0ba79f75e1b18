package step

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/gatewayapi"
	"squall/internal/scenario"
)

// proveManifest proves what the objects do that those before them did not do, as the shorthands prove it. What it cannot
// prove is stated. Of faults that the load does not come to, the proof is demanded when nothing else is proven: a manifest that
// only holds those shows nothing.
func proveManifest(c *compiler, s scenario.Step) []Proof {
	sources, ok := c.sources(s)
	if !ok {
		return nil
	}
	c.missed = nil
	stated := len(c.unproven)
	var out []Proof
	for _, src := range sources {
		u := &unstructured.Unstructured{Object: src.object}
		if u.GetNamespace() == "" && !scenario.ClusterScoped(u.GetKind()) {
			u = u.DeepCopy()
			u.SetNamespace(c.opts.Namespace)
		}
		before := c.base.objects[keyOf(u)]
		if before != nil && reflect.DeepEqual(specOf(before), specOf(u)) {
			continue
		}
		for _, p := range c.proveObject(before, u) {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	if len(out) == 0 {
		out = c.missed
	}
	if len(out) == 0 && len(c.unproven) == stated {
		c.state("nothing in it has a proof: it brings nothing new, or subsets or Kubernetes objects alone; write checks that show it")
	}
	return out
}

func (c *compiler) proveObject(before, u *unstructured.Unstructured) []Proof {
	gvk := u.GroupVersionKind()
	switch gvk.Group + "/" + gvk.Kind {
	case networking + "/VirtualService":
		return c.proveService(before, u)
	case gatewayapi.Group + "/" + gatewayapi.Kind:
		return c.proveHTTPRoute(before, u)
	case networking + "/DestinationRule":
		return c.proveRule(before, u)
	case security + "/PeerAuthentication":
		return c.provePeerAuthentication(before, u)
	case security + "/RequestAuthentication":
		return c.proveTokens(selectorOf(u))
	case security + "/AuthorizationPolicy":
		spec := specOf(u)
		return c.proveAccess(access{
			name: u.GetName(), workload: selectorOf(u), action: str(spec, "action"), denyAll: len(fields.Maps(spec, "rules")) == 0,
			dryRun: u.GetAnnotations()[dryRun] == "true",
		})
	case networking + "/Gateway":
		c.state("Gateway %s: only requests through it show it", u.GetName())
	default:
		if strings.HasSuffix(gvk.Group, ".istio.io") {
			c.state("%s %s: Squall does not know what requests meet by it; write checks that show it", gvk.Kind, u.GetName())
		}
	}
	return nil
}

// proveHTTPRoute proves it as the VirtualServices that istiod makes of it.
func (c *compiler) proveHTTPRoute(before, u *unstructured.Unstructured) (out []Proof) {
	services, old := asServices(u), asServices(before)
	if len(services) == 0 {
		c.state("HTTPRoute %s: none of its parents is a Service; write checks that show it", u.GetName())
	}
	for i, v := range services {
		var was *unstructured.Unstructured
		if i < len(old) {
			was = old[i]
		}
		out = append(out, c.proveService(was, v)...)
	}
	return out
}

func (c *compiler) provePeerAuthentication(before, u *unstructured.Unstructured) []Proof {
	mode := func(u *unstructured.Unstructured) string {
		if u == nil {
			return ""
		}
		mode, _, _ := unstructured.NestedString(u.Object, "spec", "mtls", "mode")
		return mode
	}
	if specOf(u)["portLevelMtls"] != nil && !sameIn(before, u, "portLevelMtls") {
		c.state("PeerAuthentication %s: Squall has no proof of the modes of single ports", u.GetName())
	}
	switch {
	case mode(u) == "" || mode(u) == "UNSET" || mode(u) == mode(before):
		return nil
	case u.GetNamespace() != c.opts.Namespace && u.GetNamespace() != rootNamespace:
		c.state("PeerAuthentication %s: it is for another namespace", u.GetName())
		return nil
	}
	return c.proveMode(mode(u), selectorOf(u))
}

// proveRule proves the limits that a DestinationRule sets for the host or its subsets, and states the rest.
func (c *compiler) proveRule(before, u *unstructured.Unstructured) (out []Proof) {
	name, _, _ := unstructured.NestedString(u.Object, "spec", "host")
	h, ok := c.set.Resolve(istioName(name, u.GetNamespace()), c.opts.Namespace)
	if !ok {
		c.state("DestinationRule %s: %s is no service", u.GetName(), name)
		return nil
	}
	policies, old := policiesOf(u), map[string]map[string]any{}
	if before != nil {
		old = policiesOf(before)
	}
	for _, subset := range sortedKeys(policies) {
		for _, field := range sortedKeys(policies[subset]) {
			value := policies[subset][field]
			if reflect.DeepEqual(value, old[subset][field]) {
				continue
			}
			switch pool, _ := value.(map[string]any); field {
			case "connectionPool":
				out = append(out, c.provePool(h, subset, pool)...)
			case "outlierDetection":
				c.state("DestinationRule %s: its outlierDetection need not eject a pod under this load; a check such as ejections(%q) > 0 asks that it does",
					u.GetName(), c.called(h))
			default:
				c.state("DestinationRule %s: Squall has no proof of its %s; write checks that show it", u.GetName(), field)
			}
		}
	}
	return out
}

// policiesOf are the traffic policies of a rule by subset, "" for that of the host.
func policiesOf(u *unstructured.Unstructured) map[string]map[string]any {
	out := map[string]map[string]any{}
	if policy, ok := specOf(u)["trafficPolicy"].(map[string]any); ok {
		out[""] = policy
	}
	for _, s := range fields.Maps(specOf(u), "subsets") {
		if policy, ok := s["trafficPolicy"].(map[string]any); ok {
			out[str(s, "name")] = policy
		}
	}
	return out
}

// provePool proves a connection pool as a step circuitBreaker with its limits.
func (c *compiler) provePool(h Host, subset string, pool map[string]any) []Proof {
	has := func(part, field string) bool {
		settings, _ := pool[part].(map[string]any)
		return settings[field] != nil
	}
	switch {
	case has("tcp", "maxConnections"), has("http", "http1MaxPendingRequests"), has("http", "http2MaxRequests"):
		return c.proofAt("circuitBreaker", h, subset, c.isTarget(h))
	case has("http", "maxRetries"):
		return c.proofAt("maxRetries", h, subset, c.isTarget(h))
	case has("http", "maxRequestsPerConnection"):
		return c.proofAt("maxRequestsPerConnection", h, subset, c.isTarget(h))
	case has("tcp", "connectTimeout"):
		c.state("the time-out of connections to %s is a limit that need not be reached", c.called(h))
		return nil
	}
	c.state("the connection pool of %s: Squall has no proof of its fields; write checks that show it", subsetOf(h, subset))
	return nil
}
