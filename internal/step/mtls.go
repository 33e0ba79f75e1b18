package step

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/scenario"
)

// rootNamespace is where policies hold for the whole mesh.
const rootNamespace = "istio-system"

func mtls(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.MTLS)
	if !c.hasPods(spec.Workload) {
		return
	}
	thing, namespace := c.podsInWords(spec.Workload), c.opts.Namespace
	if spec.Scope == "mesh" {
		thing, namespace = "the mesh", rootNamespace
	}
	if !c.claim(thing, "mtls", "mode", spec.Mode) {
		return
	}
	u, ok := c.policyFor("PeerAuthentication", "mtls", namespace, spec.Workload)
	if !ok {
		return
	}
	fields.Child(fields.Child(u.Object, "spec"), "mtls")["mode"] = spec.Mode
	if spec.Scope == "mesh" {
		c.inheritMTLS()
	}
}

// inheritMTLS takes the mode out of the namespace's own policies, which would hide that of the mesh.
func (c *compiler) inheritMTLS() {
	for _, u := range c.set.list(security, "PeerAuthentication") {
		if u.GetNamespace() == c.opts.Namespace && len(selectorOf(u)) == 0 {
			fields.Child(fields.Child(c.edit(u, "").Object, "spec"), "mtls")["mode"] = "UNSET"
		}
	}
}

// hasPods reports labels that no pod has.
func (c *compiler) hasPods(workload map[string]string) bool {
	if len(workload) > 0 && len(matching(c.set.podLabels(c.opts.Namespace), workload)) == 0 {
		c.problem("workload", "no pod has the labels "+inWords(workload), "")
		return false
	}
	return true
}

func (c *compiler) podsInWords(workload map[string]string) string {
	if len(workload) > 0 {
		return "the pods with " + inWords(workload)
	}
	return "the namespace " + c.opts.Namespace
}

func selectorOf(u *unstructured.Unstructured) map[string]string {
	labels, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
	return labels
}

// policyFor returns the policy of a kind for exactly these pods, all for none, to change; ok is false when there is none to
// choose, which was reported.
func (c *compiler) policyFor(kind, prefix, namespace string, workload map[string]string) (u *unstructured.Unstructured, ok bool) {
	var found []*unstructured.Unstructured
	for _, u := range c.set.list(security, kind) {
		if u.GetNamespace() == namespace && maps.Equal(selectorOf(u), workload) {
			found = append(found, u)
		}
	}
	if len(found) > 1 {
		c.problem("workload", fmt.Sprintf("several %ss are for the same pods: %s", kind, names(found)), "merge them into one")
		return nil, false
	}
	if len(found) == 1 {
		return c.edit(found[0], ""), true
	}
	return c.newPolicy(kind, prefix, namespace, workload), true
}

// newPolicy makes a policy for the pods, named after their labels.
func (c *compiler) newPolicy(kind, prefix, namespace string, workload map[string]string) *unstructured.Unstructured {
	name, spec := "default", map[string]any{}
	if len(workload) > 0 {
		labels := map[string]any{}
		for k, v := range workload {
			labels[k] = v
		}
		name, spec = policyName(prefix, workload), map[string]any{"selector": map[string]any{"matchLabels": labels}}
	}
	free := func(name string) bool { _, taken := c.set.objects[key{security, kind, namespace, name}]; return !taken }
	unique := name
	for i := 2; !free(unique); i++ {
		unique = fmt.Sprintf("%s-squall-%d", name, i-1)
	}
	return c.edit(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": security + "/v1",
		"kind":       kind,
		"metadata":   map[string]any{"name": unique, "namespace": namespace},
		"spec":       spec,
	}}, "")
}

// policyName makes a name of the labels' values.
func policyName(prefix string, workload map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(workload)) {
		parts = append(parts, strings.Trim(strings.ToLower(strings.ReplaceAll(workload[k], "_", "-")), "-."))
	}
	return strings.Trim(prefix+"-"+strings.Join(parts, "-"), "-")
}
