package step

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingv1 "istio.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/scenario"
)

func circuitBreaker(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.CircuitBreaker)
	h, ok := c.callerHost(spec.Host)
	if !ok {
		return
	}
	for field, value := range map[string]any{
		"maxConnections": spec.MaxConnections, "http1MaxPendingRequests": spec.HTTP1MaxPendingRequests,
		"http2MaxRequests": spec.HTTP2MaxRequests, "maxRequestsPerConnection": spec.MaxRequestsPerConnection,
		"maxRetries": spec.MaxRetries, "connectTimeout": spec.ConnectTimeout,
	} {
		if value != int32(0) && value != scenario.Duration(0) {
			c.claim(subsetOf(h, spec.Subset), field, field, value)
		}
	}
	pool := c.fields(&networkingv1.ConnectionPoolSettings{
		Tcp: &networkingv1.ConnectionPoolSettings_TCPSettings{
			MaxConnections: spec.MaxConnections, ConnectTimeout: duration(spec.ConnectTimeout),
		},
		Http: &networkingv1.ConnectionPoolSettings_HTTPSettings{
			Http1MaxPendingRequests: spec.HTTP1MaxPendingRequests, Http2MaxRequests: spec.HTTP2MaxRequests,
			MaxRequestsPerConnection: spec.MaxRequestsPerConnection, MaxRetries: spec.MaxRetries,
		},
	})
	maps.DeleteFunc(pool, func(_ string, v any) bool { return len(v.(map[string]any)) == 0 })
	c.policy(h, spec.Subset, "connectionPool", pool)
}

func outlier(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Outlier)
	h, ok := c.callerHost(spec.Host)
	if !ok {
		return
	}
	detection := &networkingv1.OutlierDetection{
		Interval: duration(spec.Interval), BaseEjectionTime: duration(spec.BaseEjectionTime),
		MaxEjectionPercent: spec.MaxEjectionPercent,
	}
	if spec.Consecutive5xxErrors != nil {
		detection.Consecutive_5XxErrors = wrapperspb.UInt32(*spec.Consecutive5xxErrors)
	}
	if spec.ConsecutiveGatewayErrors != nil {
		detection.ConsecutiveGatewayErrors = wrapperspb.UInt32(*spec.ConsecutiveGatewayErrors)
	}
	fields := c.fields(detection)
	if spec.MinHealthPercent != nil {
		fields["minHealthPercent"] = int64(*spec.MinHealthPercent)
	}
	for field, value := range fields {
		c.claim(subsetOf(h, spec.Subset), "outlier "+field, field, value)
	}
	c.policy(h, spec.Subset, "outlierDetection", fields)
}

func subsetOf(h Host, subset string) string {
	if subset == "" {
		return h.Short
	}
	return h.Short + "/" + subset
}

// policy lays a traffic policy over what the host, or one subset of it, already has.
func (c *compiler) policy(h Host, subset, field string, value map[string]any) {
	rule := c.destinationRule(h)
	if rule == nil || subset != "" && !c.subset(h, rule, "subset", subset) {
		return
	}
	spec := fields.Child(rule.Object, "spec")
	whole := fields.Child(spec, "trafficPolicy")
	if subset == "" {
		layPolicy(whole, field, value)
		for _, s := range fields.Maps(spec, "subsets") {
			own, ok := s["trafficPolicy"].(map[string]any)
			if _, overrides := own[field]; ok && (overrides || own["portLevelSettings"] != nil) {
				layPolicy(own, field, value)
			}
		}
		return
	}
	for _, s := range fields.Maps(spec, "subsets") {
		if str(s, "name") != subset {
			continue
		}
		own := fields.Child(s, "trafficPolicy")
		if _, ok := own[field]; !ok {
			// Istio does not mix the two: what the subset has replaces what the host has.
			if inherited, ok := whole[field].(map[string]any); ok {
				own[field] = copyOf(inherited)
			}
		}
		layPolicy(own, field, value)
	}
	if len(whole) == 0 {
		delete(spec, "trafficPolicy")
	}
}

// layPolicy also reaches the settings of single ports, which replace all else that is set.
func layPolicy(policy map[string]any, field string, value map[string]any) {
	own, _ := policy[field].(map[string]any)
	policy[field] = laid(own, copyOf(value))
	for _, port := range fields.Maps(policy, "portLevelSettings") {
		own, _ := port[field].(map[string]any)
		port[field] = laid(own, copyOf(value))
	}
}

// destinationRule returns the rule of the host to change; nil when there is none to choose, which was reported.
func (c *compiler) destinationRule(h Host) *unstructured.Unstructured {
	found := c.rulesOf(h)
	switch len(found) {
	case 0:
		spec := map[string]any{"host": c.hostFor(h)}
		if policy := c.wildcardPolicy(h); policy != nil {
			spec["trafficPolicy"] = policy
		}
		return c.edit(c.newObject("DestinationRule", h, spec), h.FQDN)
	case 1:
		return c.edit(found[0], h.FQDN)
	}
	c.problem("host", fmt.Sprintf("%s has several DestinationRules: %s", h.Short, names(found)), "merge them into one")
	return nil
}

// rulesOf are the host's rules in the namespace that Istio looks at: the caller's, or when it has none the service's.
func (c *compiler) rulesOf(h Host) []*unstructured.Unstructured {
	for _, ns := range []string{c.opts.Namespace, h.Namespace} {
		var found []*unstructured.Unstructured
		for _, u := range c.destinationRules(ns) {
			if host, _, _ := unstructured.NestedString(u.Object, "spec", "host"); istioName(host, ns) == h.FQDN {
				found = append(found, u)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// destinationRules are those that hold for all callers.
func (c *compiler) destinationRules(namespace string) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, u := range c.set.list(networking, "DestinationRule") {
		_, narrowed, _ := unstructured.NestedMap(u.Object, "spec", "workloadSelector")
		if u.GetNamespace() == namespace && !narrowed {
			out = append(out, u)
		}
	}
	return out
}

// wildcardPolicy is what a rule for *.local and the like gives the host: a rule of the host's own would hide it.
func (c *compiler) wildcardPolicy(h Host) map[string]any {
	var best map[string]any
	length := 0
	for _, u := range c.destinationRules(c.opts.Namespace) {
		host, _, _ := unstructured.NestedString(u.Object, "spec", "host")
		policy, ok, _ := unstructured.NestedMap(u.Object, "spec", "trafficPolicy")
		if ok && covers(host, h.FQDN) && len(host) > length {
			best, length = policy, len(host)
		}
	}
	return best
}

// subset makes sure that the rule has the subset and that pods belong to it; false when that was reported.
func (c *compiler) subset(h Host, rule *unstructured.Unstructured, field, name string) bool {
	spec := fields.Child(rule.Object, "spec")
	labels := map[string]string{"version": name}
	exists := false
	for _, s := range fields.Maps(spec, "subsets") {
		if str(s, "name") == name {
			exists = true
			labels, _, _ = unstructured.NestedStringMap(s, "labels")
		}
	}
	pods, known := c.set.pods(h)
	if known && len(matching(pods, labels)) == 0 {
		c.problem(field, fmt.Sprintf("no pod of %s has the labels of subset %s: %s", h.Short, name, inWords(labels)), versions(pods))
		return false
	}
	if !exists {
		spec["subsets"] = append(asList(spec["subsets"]), map[string]any{"name": name, "labels": map[string]any{"version": name}})
	}
	return true
}

// subsetVersion is the label version that the subset's pods have, or "".
func (c *compiler) subsetVersion(h Host, name string) string {
	for _, rule := range c.rulesOf(h) {
		for _, s := range fields.Maps(specOf(rule), "subsets") {
			if str(s, "name") == name {
				version, _, _ := unstructured.NestedString(s, "labels", "version")
				return version
			}
		}
	}
	return ""
}

func versions(pods []map[string]string) string {
	var list []string
	for _, labels := range pods {
		if v := labels["version"]; v != "" && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		return "none of its pods has a label version"
	}
	slices.Sort(list)
	return "it has " + strings.Join(list, ", ")
}

func inWords(labels map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, k+"="+labels[k])
	}
	return strings.Join(list, ",")
}

func names(list []*unstructured.Unstructured) string {
	out := make([]string, len(list))
	for i, u := range list {
		out[i] = u.GetNamespace() + "/" + u.GetName()
	}
	return strings.Join(out, ", ")
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// hostFor is how a new object of the scenario's namespace names the host.
func (c *compiler) hostFor(h Host) string {
	if h.Namespace == c.opts.Namespace {
		return h.Short
	}
	return h.FQDN
}

// newObject is named as the host; a name that another host's object has already is given an ending.
func (c *compiler) newObject(kind string, h Host, spec map[string]any) *unstructured.Unstructured {
	name := strings.ReplaceAll(h.Short, "*", "wildcard")
	if _, taken := c.set.objects[key{networking, kind, c.opts.Namespace, name}]; taken {
		name += "-squall"
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": networking + "/v1",
		"kind":       kind,
		"metadata":   map[string]any{"name": name, "namespace": c.opts.Namespace},
		"spec":       spec,
	}}
}
