package step

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

func mtls(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.MTLS)
	if len(spec.Workload) > 0 && len(matching(c.set.podLabels(c.opts.Namespace), spec.Workload)) == 0 {
		c.problem("workload", "no pod has the labels "+inWords(spec.Workload), "")
		return
	}
	thing := "the namespace " + c.opts.Namespace
	if len(spec.Workload) > 0 {
		thing = "the pods with " + inWords(spec.Workload)
	}
	if !c.claim(thing, "mtls", "mode", spec.Mode) {
		return
	}
	policy, ok := c.peerAuthentication(spec.Workload)
	if !ok {
		return
	}
	child(child(policy.Object, "spec"), "mtls")["mode"] = spec.Mode
}

// peerAuthentication returns the policy for exactly these pods, all for none, to change.
func (c *compiler) peerAuthentication(workload map[string]string) (u *unstructured.Unstructured, ok bool) {
	var found []*unstructured.Unstructured
	for _, u := range c.set.list(security, "PeerAuthentication") {
		labels, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
		if u.GetNamespace() == c.opts.Namespace && maps.Equal(labels, workload) {
			found = append(found, u)
		}
	}
	if len(found) > 1 {
		c.problem("workload", fmt.Sprintf("several PeerAuthentications are for the same pods: %s", names(found)), "merge them into one")
		return nil, false
	}
	if len(found) == 1 {
		return c.edit(found[0], ""), true
	}
	name, spec := "default", map[string]any{}
	if len(workload) > 0 {
		labels := map[string]any{}
		for k, v := range workload {
			labels[k] = v
		}
		name, spec = policyName(workload), map[string]any{"selector": map[string]any{"matchLabels": labels}}
	}
	if _, taken := c.set.objects[key{security, "PeerAuthentication", c.opts.Namespace, name}]; taken {
		name += "-squall"
	}
	return c.edit(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": security + "/v1",
		"kind":       "PeerAuthentication",
		"metadata":   map[string]any{"name": name, "namespace": c.opts.Namespace},
		"spec":       spec,
	}}, ""), true
}

// policyName makes a name of the labels' values.
func policyName(workload map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(workload)) {
		parts = append(parts, strings.Trim(strings.ToLower(strings.ReplaceAll(workload[k], "_", "-")), "-."))
	}
	return strings.Trim("mtls-"+strings.Join(parts, "-"), "-")
}
