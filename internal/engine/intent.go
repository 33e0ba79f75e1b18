package engine

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/guard"
	"squall/internal/image"
	"squall/internal/mesh"
)

// Intent is all that a run would do to a cluster. Nothing is sent to it.
func (k *Compiled) Intent(c *Cluster) (guard.Intent, error) {
	out := guard.Intent{Run: k.Scenario.Metadata.Name, Namespaces: slices.Clone(k.Plan.Namespaces)}
	env, err := k.cluster(c, nil)
	if err != nil {
		return out, err
	}
	for _, u := range env.Instruments(k.Plan.ProxyNamespaces()) {
		out.Touches = append(out.Touches, guard.Touches(u, "so that proxies can be read")...)
	}
	k.each(func(u *unstructured.Unstructured, step string) {
		out.Touches = append(out.Touches, guard.Touches(u, step)...)
	})
	for _, p := range k.Plan.Phases {
		for _, a := range p.Actions {
			t := guard.Touch{Namespace: a.Namespace, Object: mesh.Ref{Kind: "pods of Deployment", Namespace: a.Namespace, Name: a.Workload}, Why: a.Step}
			if a.Kind == "cordon" {
				t.Namespace, t.Object = "", mesh.Ref{Kind: "nodes of Deployment", Name: a.Workload}
			}
			out.Touches = append(out.Touches, t)
		}
	}
	return out, nil
}

// each calls f for each object that the run deploys or changes.
func (k *Compiled) each(f func(u *unstructured.Unstructured, step string)) {
	for _, u := range k.Plan.Fixtures {
		f(u, "")
	}
	for _, p := range k.Plan.Phases {
		for _, c := range p.Changes {
			if c.After != nil {
				f(c.After, c.Step)
			}
		}
	}
}

// NeedsImage says whether a pod of the run has the image, given without registry and tag.
func (k *Compiled) NeedsImage(name string) bool {
	needs := false
	k.each(func(u *unstructured.Unstructured, _ string) {
		for _, list := range []string{"containers", "initContainers"} {
			containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", list) // the API refuses another type
			for _, c := range containers {
				c, _ := c.(map[string]any)
				ref, _ := c["image"].(string)
				needs = needs || ref != "" && image.Name(ref) == name
			}
		}
	})
	return needs
}
