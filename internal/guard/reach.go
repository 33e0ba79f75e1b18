package guard

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

// Touches are what an object does: it is in a namespace, and rules for hosts of other namespaces have their effect there too.
func Touches(u *unstructured.Unstructured, why string) []Touch {
	ref := mesh.RefOf(u)
	first := Touch{Namespace: ref.Namespace, Object: ref, Why: why}
	if ref.IsNamespace() {
		first.Namespace = ref.Name
	}
	out := []Touch{first}
	also := func(namespace, text string) {
		out = append(out, Touch{Namespace: namespace, Object: ref, Why: strings.TrimPrefix(why+", "+text, ", ")})
	}
	for _, h := range hosts(u) {
		ns := namespaceOf(h)
		switch {
		case ns != "" && ns != ref.Namespace:
			also(ns, "calls of "+h)
		case ns == "" && ofAllNamespaces(h) && inMesh(u):
			also("", "calls of "+h)
		}
	}
	for _, ns := range slices.Concat(parents(u), gateways(u)) {
		if ns != ref.Namespace {
			also(ns, "attached there")
		}
	}
	return out
}

// gateways are the namespaces of the Istio gateways that a VirtualService is bound to.
func gateways(u *unstructured.Unstructured) []string {
	if !strings.HasSuffix(u.GroupVersionKind().Group, "networking.istio.io") || u.GetKind() != "VirtualService" {
		return nil
	}
	var out []string
	list, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "gateways") // the API refuses another type
	for _, g := range list {
		if ns, _, ok := strings.Cut(g, "/"); ok && ns != "." {
			out = append(out, ns)
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

// ofAllNamespaces reports whether a host is that of services of every namespace, such as *.local or *.svc.cluster.local.
func ofAllNamespaces(host string) bool {
	return host == "*" || strings.HasPrefix(host, "*.") && strings.HasSuffix("svc.cluster.local", strings.TrimPrefix(host, "*."))
}

// inMesh reports whether a rule is for callers of other namespaces in the mesh: it is not kept to its own, nor to gateways.
func inMesh(u *unstructured.Unstructured) bool {
	to, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "exportTo")
	at, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "gateways") // the API refuses another type of both
	here := len(to) > 0 && !slices.ContainsFunc(to, func(ns string) bool { return ns != "." && ns != u.GetNamespace() })
	return !here && (len(at) == 0 || slices.Contains(at, "mesh"))
}

// namespaceOf is the namespace that a host names, "" when it names none.
func namespaceOf(host string) string {
	parts := strings.Split(host, ".")
	if len(parts) >= 3 && parts[2] == "svc" {
		return parts[1]
	}
	return ""
}
