package rules

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"

	"google.golang.org/protobuf/proto"
	v1 "istio.io/api/networking/v1"
	securityv1 "istio.io/api/security/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/gatewayapi"
)

// Options are what the objects do not say.
type Options struct {
	// RootNamespace has the rules that hold for the whole mesh; "" is istio-system.
	RootNamespace string
}

// Model is the mesh as its objects describe it. Lists are in the order of age, as Istio takes them.
type Model struct {
	Services         []*Service
	Workloads        []*Workload
	Gateways         []*Gateway
	VirtualServices  []*VirtualService
	DestinationRules []*DestinationRule
	Peers            []*PeerAuthentication
	Tokens           []*RequestAuthentication
	Authorizations   []*AuthorizationPolicy
	// Problems are objects that cannot be read, or of a kind that changes what the model says in ways that it does not know.
	Problems []Problem

	root string
}

// VirtualService is one object, as it stands.
type VirtualService struct {
	Ref  Ref
	Spec *v1.VirtualService
	// Hosts are the full names.
	Hosts []string
	// Gateways are namespace/name, or mesh; never empty.
	Gateways []string

	rules []int // of an HTTPRoute, of which of its rules each HTTP route was made; nil for a VirtualService
	port  int   // the only port for which it holds; 0 is all
}

// IsGatewayAPI says whether it stands for what istiod makes of an HTTPRoute of the Gateway API.
func (v *VirtualService) IsGatewayAPI() bool { return v.rules != nil }

// DestinationRule is one object, as it stands.
type DestinationRule struct {
	Ref  Ref
	Spec *v1.DestinationRule
	Host string // full name
}

// Gateway is one object, and the workloads that it selects.
type Gateway struct {
	Ref       Ref
	Name      string // namespace/name
	Spec      *v1.Gateway
	Workloads []*Workload
}

// PeerAuthentication is one object, as it stands.
type PeerAuthentication struct {
	Ref  Ref
	Spec *securityv1.PeerAuthentication
}

// RequestAuthentication is one object, as it stands.
type RequestAuthentication struct {
	Ref  Ref
	Spec *securityv1.RequestAuthentication
}

// AuthorizationPolicy is one object, as it stands.
type AuthorizationPolicy struct {
	Ref  Ref
	Spec *securityv1.AuthorizationPolicy
}

// Read reads the objects, each of which must have its namespace. Of two with the same group, kind, namespace and name the later counts.
func Read(objects []*unstructured.Unstructured, opts Options) *Model {
	m := &Model{root: opts.RootNamespace}
	if m.root == "" {
		m.root = "istio-system"
	}
	objects = byAge(latest(objects))
	injected := injection(objects)
	for _, u := range objects {
		m.workload(u, injected)
	}
	for _, u := range objects {
		if err := m.read(u); err != nil {
			m.Problems = append(m.Problems, Problem{Ref{u, ""}, err.Error()})
		}
	}
	m.installed()
	for _, g := range m.Gateways {
		for _, w := range m.Workloads {
			if includes(w.Labels, g.Spec.GetSelector()) {
				g.Workloads = append(g.Workloads, w)
			}
		}
	}
	return m
}

// installed adds the pods of gateways that Istio's installation brings, of which only the Service is among the objects.
func (m *Model) installed() {
	for _, s := range m.Services {
		selector, _, _ := unstructured.NestedStringMap(s.Ref.Object.Object, "spec", "selector")
		if s.Namespace != m.root || len(s.Workloads) > 0 || !slices.ContainsFunc(m.Gateways, func(g *Gateway) bool { return includes(selector, g.Spec.GetSelector()) }) {
			continue
		}
		w := &Workload{Ref: s.Ref, Namespace: s.Namespace, Name: s.Name, Labels: selector, Replicas: 1, ServiceAccount: s.Name, Sidecar: true}
		m.Workloads, s.Workloads = append(m.Workloads, w), []*Workload{w}
	}
}

// read adds one object that is no workload.
func (m *Model) read(u *unstructured.Unstructured) error {
	ref := Ref{u, "spec"}
	switch gvk := u.GroupVersionKind(); gvk.Group + "/" + gvk.Kind {
	case "/Service":
		m.Services = append(m.Services, m.service(u))
	case networking + "/ServiceEntry":
		return m.entry(u)
	case networking + "/VirtualService":
		return add(&m.VirtualServices, ref, new(v1.VirtualService), newVirtualService)
	case gatewayapi.Group + "/" + gatewayapi.Kind:
		return m.httpRoute(u)
	case networking + "/DestinationRule":
		return add(&m.DestinationRules, ref, new(v1.DestinationRule), func(r Ref, s *v1.DestinationRule) *DestinationRule {
			return &DestinationRule{r, s, fullName(s.GetHost(), u.GetNamespace())}
		})
	case networking + "/Gateway":
		return add(&m.Gateways, ref, new(v1.Gateway), func(r Ref, s *v1.Gateway) *Gateway {
			return &Gateway{Ref: r, Name: u.GetNamespace() + "/" + u.GetName(), Spec: s}
		})
	case security + "/PeerAuthentication":
		return add(&m.Peers, ref, new(securityv1.PeerAuthentication), func(r Ref, s *securityv1.PeerAuthentication) *PeerAuthentication {
			return &PeerAuthentication{r, s}
		})
	case security + "/RequestAuthentication":
		return add(&m.Tokens, ref, new(securityv1.RequestAuthentication), func(r Ref, s *securityv1.RequestAuthentication) *RequestAuthentication {
			return &RequestAuthentication{r, s}
		})
	case security + "/AuthorizationPolicy":
		return add(&m.Authorizations, ref, new(securityv1.AuthorizationPolicy), func(r Ref, s *securityv1.AuthorizationPolicy) *AuthorizationPolicy {
			return &AuthorizationPolicy{r, s}
		})
	case networking + "/EnvoyFilter":
		if !addsClusters(u) {
			m.Problems = append(m.Problems, Problem{ref, "what it changes is not known"})
		}
	case networking + "/Sidecar", networking + "/WorkloadEntry", networking + "/ProxyConfig",
		"extensions.istio.io/WasmPlugin", gatewayapi.Group + "/GRPCRoute":
		m.Problems = append(m.Problems, Problem{ref, "what it changes is not known"})
	}
	return nil
}

// addsClusters says whether an EnvoyFilter does nothing but add clusters, to which no request goes.
func addsClusters(u *unstructured.Unstructured) bool {
	patches, _, _ := unstructured.NestedSlice(u.Object, "spec", "configPatches")
	for _, raw := range patches {
		p, _ := raw.(map[string]any)
		operation, _, _ := unstructured.NestedString(p, "patch", "operation")
		if p["applyTo"] != "CLUSTER" || operation != "ADD" {
			return false
		}
	}
	return true
}

// add decodes the spec and appends what is made of it.
func add[S proto.Message, T any](list *[]T, ref Ref, spec S, make func(Ref, S) T) error {
	if err := decode(ref.Object, spec); err != nil {
		return err
	}
	*list = append(*list, make(ref, spec))
	return nil
}

// decode reads the object's spec as Istio does, which passes over fields that it does not know.
func decode(u *unstructured.Unstructured, spec proto.Message) error {
	raw, ok := u.Object["spec"]
	if !ok || raw == nil {
		return nil
	}
	data, err := json.Marshal(raw)
	if err != nil {
		return fmt.Errorf("its spec is not JSON: %w", err)
	}
	if err := json.Unmarshal(data, spec); err != nil { // Istio's own decoder, which knows durations such as 3m
		return fmt.Errorf("its spec is not Istio's: %w", err)
	}
	return nil
}

func newVirtualService(ref Ref, s *v1.VirtualService) *VirtualService {
	v := &VirtualService{Ref: ref, Spec: s}
	ns := ref.Object.GetNamespace()
	for _, h := range s.GetHosts() {
		v.Hosts = append(v.Hosts, fullName(h, ns))
	}
	for _, g := range s.GetGateways() {
		v.Gateways = append(v.Gateways, gatewayName(g, ns))
	}
	if len(v.Gateways) == 0 {
		v.Gateways = []string{MeshGateway}
	}
	return v
}

// latest leaves out objects that a later one of the same name replaces.
func latest(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	type key struct{ group, kind, namespace, name string }
	at := map[key]int{}
	var out []*unstructured.Unstructured
	for _, u := range objects {
		gvk := u.GroupVersionKind()
		k := key{gvk.Group, gvk.Kind, u.GetNamespace(), u.GetName()}
		if i, ok := at[k]; ok {
			out[i] = u
			continue
		}
		at[k] = len(out)
		out = append(out, u)
	}
	return out
}

// byAge sorts as Istio does: by the second of creation, then by name and namespace. Objects that are not created yet are last.
func byAge(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	sort.SliceStable(objects, func(i, j int) bool {
		a, b := objects[i], objects[j]
		ta, tb := a.GetCreationTimestamp(), b.GetCreationTimestamp()
		switch {
		case ta.IsZero() != tb.IsZero():
			return tb.IsZero()
		case !ta.Equal(&tb):
			return ta.Before(&tb)
		}
		return a.GetName()+"."+a.GetNamespace() < b.GetName()+"."+b.GetNamespace()
	})
	return objects
}

// exported says whether an object with this exportTo is seen in the namespace.
func exported(ref Ref, exportTo []string, namespace string) bool {
	if len(exportTo) == 0 {
		return true
	}
	for _, e := range exportTo {
		if e == "*" || e == namespace || e == "." && ref.Object.GetNamespace() == namespace {
			return true
		}
	}
	return false
}
