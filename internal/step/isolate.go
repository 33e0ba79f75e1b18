package step

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

// isolate makes the NetworkPolicy of a partition on a cluster. Whether the cluster's network heeds it is told by what requests meet:
// the step's proof.
func (c *compiler) isolate(spec *scenario.Partition) {
	if spec.Workload != "" {
		if u, ok := c.workload("workload", spec.Workload); ok && c.hasReplicas(u) {
			name := "squall-cut-" + spec.Workload
			c.newNetworkPolicy(u, name, map[string]any{"policyTypes": []any{"Ingress", "Egress"}})
			c.reconnect(name, nil, u)
			c.reconnect(name+"-out", templateLabels(u), nil)
			c.onAll(u, false)
		}
		return
	}
	to, ok := c.workload("to", spec.To)
	from, known := c.deployment("from", spec.From)
	if !ok || !known || !c.hasReplicas(to) {
		return
	}
	others := othersThan(templateLabels(from))
	if len(others) == 0 {
		c.problem("from", "the pods of "+spec.From+" have no labels, by which a NetworkPolicy tells them", "")
		return
	}
	name := "squall-cut-" + spec.From + "-" + spec.To
	c.newNetworkPolicy(to, name, map[string]any{
		"policyTypes": []any{"Ingress"}, "ingress": []any{map[string]any{"from": others}},
	})
	c.reconnect(name, templateLabels(from), to)
	c.act(to, 0, false)
}

// othersThan are the peers of a NetworkPolicy that are all pods but those with the labels: a pod is another when one of them differs.
func othersThan(labels map[string]string) []any {
	var out []any
	for _, name := range sortedKeys(labels) {
		out = append(out, map[string]any{
			"namespaceSelector": map[string]any{},
			"podSelector": map[string]any{"matchExpressions": []any{
				map[string]any{"key": name, "operator": "NotIn", "values": []any{labels[name]}},
			}},
		})
	}
	return out
}

// newNetworkPolicy makes a policy for the pods of the Deployment.
func (c *compiler) newNetworkPolicy(u *unstructured.Unstructured, name string, spec map[string]any) {
	selector, _, _ := unstructured.NestedFieldCopy(u.Object, "spec", "selector")
	spec["podSelector"] = selector
	taken := func(u *unstructured.Unstructured) bool {
		return u.GetName() == name && u.GetNamespace() == c.opts.Namespace
	}
	if slices.ContainsFunc(c.set.list("networking.k8s.io", "NetworkPolicy"), taken) {
		c.problem("", "there is a NetworkPolicy "+name+" already", "")
		return
	}
	c.edit(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
		"metadata": map[string]any{"name": name, "namespace": c.opts.Namespace}, "spec": spec,
	}}, "")
}

// reconnect makes the proxies of the callers, those with the labels or all of the namespace, give up their connections to the services of
// the Deployment, or to all for none: many networks heed a new policy for new connections only. A cluster whose metadata differ is
// another one to Envoy, which takes the pool of connections of the one before.
func (c *compiler) reconnect(name string, callers map[string]string, to *unstructured.Unstructured) {
	match := map[string]any{"context": "SIDECAR_OUTBOUND"}
	if to != nil {
		h, _, ok := c.facing(to)
		if !ok {
			return // nobody calls it
		}
		match["cluster"] = map[string]any{"service": h.FQDN}
	}
	spec := map[string]any{"configPatches": []any{map[string]any{
		"applyTo": "CLUSTER", "match": match,
		"patch": map[string]any{"operation": "MERGE", "value": map[string]any{
			"metadata": map[string]any{"filter_metadata": map[string]any{"squall": map[string]any{"cut": name}}},
		}},
	}}}
	if len(callers) > 0 {
		labels := map[string]any{}
		for k, v := range callers {
			labels[k] = v
		}
		spec["workloadSelector"] = map[string]any{"labels": labels}
	}
	c.edit(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
		"metadata": map[string]any{"name": name, "namespace": c.opts.Namespace}, "spec": spec,
	}}, "")
}
