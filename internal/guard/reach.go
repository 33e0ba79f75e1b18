package guard

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

// Touches are what an object does: it is in a namespace, and rules for hosts of other namespaces have their effect there too.
func Touches(u *unstructured.Unstructured, why string) []Touch {
	ref := mesh.RefOf(u)
	first := Touch{Namespace: ref.Namespace, Object: ref, Why: why}
	if ref.Kind == "Namespace" && ref.APIVersion == "v1" {
		first.Namespace = ref.Name
	}
	out := []Touch{first}
	for _, h := range hosts(u) {
		if ns := namespaceOf(h); ns != "" && ns != ref.Namespace {
			text := "calls of " + h
			if why != "" {
				text = why + ", " + text
			}
			out = append(out, Touch{Namespace: ns, Object: ref, Why: text})
		}
	}
	for _, ns := range parents(u) {
		if ns != ref.Namespace {
			out = append(out, Touch{Namespace: ns, Object: ref, Why: strings.TrimPrefix(why+", attached there", ", ")})
		}
	}
	return out
}

// parents are the namespaces that a route of the Gateway API names for what it is attached to.
func parents(u *unstructured.Unstructured) []string {
	if u.GroupVersionKind().Group != "gateway.networking.k8s.io" {
		return nil
	}
	var out []string
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "parentRefs") // the API refuses another type
	for _, p := range list {
		p, _ := p.(map[string]any)
		if ns, _ := p["namespace"].(string); ns != "" {
			out = append(out, ns)
		}
	}
	return out
}

// hosts are those whose calls a rule of Istio's changes, for every caller in the mesh unless it is exported to fewer.
func hosts(u *unstructured.Unstructured) []string {
	if !strings.HasSuffix(u.GroupVersionKind().Group, "networking.istio.io") {
		return nil
	}
	switch u.GetKind() {
	case "VirtualService", "ServiceEntry":
		list, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "hosts") // the API refuses another type
		return list
	case "DestinationRule":
		host, _, _ := unstructured.NestedString(u.Object, "spec", "host")
		return []string{host}
	}
	return nil
}

// namespaceOf is the namespace that a host names, "" when it names none. *.local is that of every namespace.
func namespaceOf(host string) string {
	parts := strings.Split(host, ".")
	if len(parts) >= 3 && parts[2] == "svc" {
		return parts[1]
	}
	return ""
}
