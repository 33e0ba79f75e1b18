// Package rules reads the objects of a mesh as Istio does: which routes, subsets, limits and policies hold for a caller and a host.
//
// [Read] takes Kubernetes' and Istio's objects, of whatever version, and returns a [Model]. It is asked with a [Caller]:
//
//	m := rules.Read(objects, rules.Options{})
//	routing := m.Routing(caller, "reviews.squall.svc.cluster.local", 9080)
//	route, ref := routing.Pick(request, caller)
//	cluster := m.Cluster(caller, route.Destinations[0])
//
// Every part of the model has a [Ref], the object and the path that it was read from. What cannot be told is [Unknown], or
// has a reason in a field of that name; it is never guessed.
package rules

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	networking = "networking.istio.io"
	security   = "security.istio.io"
	domain     = ".svc.cluster.local"
	// MeshGateway is the name that rules have for all sidecars.
	MeshGateway = "mesh"
)

// Truth is the answer to a question about a request.
type Truth int

// The zero value is Unknown: it cannot be told.
const (
	Unknown Truth = iota
	No
	Yes
)

func (t Truth) String() string { return [...]string{"unknown", "no", "yes"}[t] }

func truth(b bool) Truth {
	if b {
		return Yes
	}
	return No
}

// and is Kleene's conjunction.
func (t Truth) and(u Truth) Truth {
	switch {
	case t == No || u == No:
		return No
	case t == Unknown || u == Unknown:
		return Unknown
	}
	return Yes
}

// or is Kleene's disjunction.
func (t Truth) or(u Truth) Truth { return t.not().and(u.not()).not() }

func (t Truth) not() Truth { return [...]Truth{Unknown, Yes, No}[t] }

// Ref is where something was read: an object, and a path in it such as spec.http[0].route[1]. The zero Ref is Istio's own default.
type Ref struct {
	Object *unstructured.Unstructured
	Path   string
}

// IsZero says that no object says so: it is Istio's default.
func (r Ref) IsZero() bool { return r.Object == nil }

// String is such as "VirtualService reviews spec.http[0]".
func (r Ref) String() string {
	if r.Object == nil {
		return "Istio's default"
	}
	return strings.TrimSpace(r.Object.GetKind() + " " + r.Object.GetName() + " " + r.Path)
}

// At is the Ref of a part, in the format of fmt: At(".route[%d]", 1).
func (r Ref) At(format string, args ...any) Ref {
	return Ref{r.Object, r.Path + fmt.Sprintf(format, args...)}
}

// Problem is an object, or a part of one, that the model does not know.
type Problem struct {
	Ref    Ref
	Reason string
}

func (p Problem) String() string { return p.Ref.String() + ": " + p.Reason }

// fullName is how Istio reads a host in an object of the namespace: only names without dots are completed.
func fullName(host, namespace string) string {
	if host == "" || strings.Contains(host, ".") || strings.HasPrefix(host, "*") {
		return host
	}
	return host + "." + namespace + domain
}

// gatewayName completes the name of a Gateway with the object's namespace: namespace/name.
func gatewayName(name, namespace string) string {
	if name == MeshGateway || strings.Contains(name, "/") {
		return name
	}
	return namespace + "/" + name
}

// covers says whether a host of a rule, which may be *.example.com or *, holds for the name.
func covers(host, name string) bool {
	suffix, wild := strings.CutPrefix(host, "*")
	return host == name || wild && strings.HasSuffix(name, suffix)
}

// includes says whether the labels have all that are wanted.
func includes(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
