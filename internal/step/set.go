package step

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const clusterDomain = ".svc.cluster.local"

// Set is the objects that a mesh has, or will have once its fixtures are applied. Objects are told apart by group, kind,
// namespace and name, so that v1, v1beta1 and v1alpha3 of Istio are the same object.
type Set struct {
	objects map[key]*unstructured.Unstructured
	order   []key
}

type key struct{ group, kind, namespace, name string }

func keyOf(u *unstructured.Unstructured) key {
	gvk := u.GroupVersionKind()
	return key{gvk.Group, gvk.Kind, u.GetNamespace(), u.GetName()}
}

// NewSet makes a set of objects, which must have their namespaces. The set never changes them.
func NewSet(objects []*unstructured.Unstructured) *Set {
	s := &Set{objects: map[key]*unstructured.Unstructured{}}
	for _, u := range objects {
		s.put(u)
	}
	return s
}

func (s *Set) put(u *unstructured.Unstructured) {
	k := keyOf(u)
	if _, ok := s.objects[k]; !ok {
		s.order = append(s.order, k)
	}
	s.objects[k] = u
}

func (s *Set) clone() *Set { return &Set{maps.Clone(s.objects), slices.Clone(s.order)} }

// list returns the objects of a kind in the order they came.
func (s *Set) list(group, kind string) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, k := range s.order {
		if k.group == group && k.kind == kind {
			out = append(out, s.objects[k])
		}
	}
	return out
}

// Host is a service that requests can be sent to.
type Host struct {
	FQDN      string // httpbin.squall.svc.cluster.local
	Short     string // httpbin; for hosts outside of Kubernetes the FQDN
	Namespace string // of the Service or ServiceEntry
	service   *unstructured.Unstructured
}

// Resolve finds what a person means by a host, seen from a namespace: a Service's short name, name.namespace,
// name.namespace.svc or full name, or a host of a ServiceEntry.
func (s *Set) Resolve(name, namespace string) (Host, bool) {
	full := strings.TrimSuffix(strings.TrimSuffix(name, clusterDomain), ".svc")
	short, ns, dotted := strings.Cut(full, ".")
	if !dotted {
		ns = namespace
	}
	if u, ok := s.objects[key{"", "Service", ns, short}]; ok {
		return Host{short + "." + ns + clusterDomain, short, ns, u}, true
	}
	for _, u := range s.list(networking, "ServiceEntry") {
		hosts, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "hosts")
		for _, h := range hosts {
			if h == name || covers(h, name) {
				return Host{name, name, u.GetNamespace(), u}, true
			}
		}
	}
	return Host{}, false
}

// Hosts lists the names that Resolve knows, short where the Service is in the namespace.
func (s *Set) Hosts(namespace string) []string {
	var names []string
	for _, u := range s.list("", "Service") {
		name := u.GetName()
		if u.GetNamespace() != namespace {
			name += "." + u.GetNamespace()
		}
		names = append(names, name)
	}
	for _, u := range s.list(networking, "ServiceEntry") {
		hosts, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "hosts")
		names = append(names, hosts...)
	}
	return names
}

// covers says whether a wildcard such as *.example.com or * holds for the name.
func covers(wildcard, name string) bool {
	suffix, ok := strings.CutPrefix(wildcard, "*")
	return ok && strings.HasSuffix(name, suffix)
}

// istioName is how Istio reads a host in an object of the namespace: only names without dots are completed.
func istioName(host, namespace string) string {
	if strings.Contains(host, ".") || strings.HasPrefix(host, "*") {
		return host
	}
	return host + "." + namespace + clusterDomain
}

// podLabels are the labels of the workloads that have replicas in the namespace.
func (s *Set) podLabels(namespace string) []map[string]string {
	var out []map[string]string
	for _, k := range s.order {
		u := s.objects[k]
		if k.namespace != namespace {
			continue
		}
		if k.group == "" && k.kind == "Pod" {
			out = append(out, u.GetLabels())
			continue
		}
		labels, found, _ := unstructured.NestedStringMap(u.Object, "spec", "template", "metadata", "labels")
		replicas, given, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
		if found && (!given || replicas > 0) {
			out = append(out, labels)
		}
	}
	return out
}

// pods are the labels of the host's pods; known is false when it cannot be told which they are.
func (s *Set) pods(h Host) (labels []map[string]string, known bool) {
	if h.service.GetKind() == "ServiceEntry" {
		return s.endpoints(h.service)
	}
	selector, found, _ := unstructured.NestedStringMap(h.service.Object, "spec", "selector")
	if !found || len(selector) == 0 {
		return nil, false
	}
	return matching(s.podLabels(h.Namespace), selector), true
}

func (s *Set) endpoints(entry *unstructured.Unstructured) (labels []map[string]string, known bool) {
	endpoints, found, _ := unstructured.NestedSlice(entry.Object, "spec", "endpoints")
	for _, e := range endpoints {
		if m, ok := e.(map[string]any); ok {
			l, _, _ := unstructured.NestedStringMap(m, "labels")
			labels = append(labels, l)
		}
	}
	return labels, found
}

func matching(list []map[string]string, want map[string]string) []map[string]string {
	var out []map[string]string
	for _, labels := range list {
		if includes(labels, want) {
			out = append(out, labels)
		}
	}
	return out
}

func includes(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
