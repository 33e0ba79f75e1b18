// Package lint finds rules that Istio takes and that do not do what they seem to. docs/lint.md has a section for each check.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/rules"
)

// IgnoreAnnotation names checks, with commas between them, that are not made of the object or the scenario that has it.
const IgnoreAnnotation = "squall.dev/lint-ignore"

// Finding is one thing that is not what it seems.
type Finding struct {
	ID   string // of the check
	Ref  rules.Ref
	What string
	Hint string
}

// String is the finding without its place in a file.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s (%s)", f.ID, f.Ref, f.What, f.Hint)
}

// Check is one kind of finding.
type Check struct {
	ID    string
	Title string
	find  func(*linter)
}

// Checks are all that objects alone tell, by id. Those of a scenario's load and checks are in ScenarioChecks.
func Checks() []Check {
	list := []Check{
		{"conflicting-hosts", "Two objects hold for one host, and Istio takes one of them", conflictingHosts},
		{"ejects-nothing", "An outlier detection that may not eject any of so few pods", ejectsNothing},
		{"failover-without-outlier", "A preference for near pods that is not in force", failoverWithoutOutlier},
		{"fault-beside-timeout", "A fault that no timeout cuts and no retry repeats", faultBesideTimeout},
		{"gateway-selects-nothing", "A Gateway that no pod serves", gatewaySelectsNothing},
		{"jwt-not-required", "A token is checked, but none is required", jwtNotRequired},
		{"missing-gateway", "A VirtualService of a Gateway that is not there", missingGateway},
		{"missing-subset", "A route to a subset that no DestinationRule has", missingSubset},
		{"mtls-conflict", "A caller that does not speak what the service takes", mtlsConflict},
		{"not-http", "HTTP rules for a port that is not HTTP", notHTTP},
		{"percent-zero", "A fault for none of the requests", percentZero},
		{"retries-dilute", "Retries further up hide most of a fault", retriesDilute},
		{"selects-nothing", "A policy for pods that are not there", selectsNothing},
		{"subset-without-pods", "A route to a subset that no pod is in", subsetWithoutPods},
		{"unknown-host", "A rule for a host that no service has", unknownHost},
		{"unreachable-route", "A route that no request comes to", unreachableRoute},
		{"weights-not-100", "Weights that are no percentages", weightsNot100},
	}
	slices.SortFunc(list, func(a, b Check) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// linter is one look at a mesh.
type linter struct {
	model *rules.Model
	id    string
	found []Finding
}

// Objects makes all checks of the objects together, in the order of the objects and their paths. ignored is how many findings the
// objects' annotations keep back. Where there is no Service among the objects, what is about services is not checked.
func Objects(objects []*unstructured.Unstructured) (found []Finding, ignored int) {
	l := &linter{model: rules.Read(objects, rules.Options{})}
	for _, c := range Checks() {
		l.id = c.ID
		c.find(l)
	}
	found, ignored = keep(l.found)
	order := map[*unstructured.Unstructured]int{}
	for i, o := range objects {
		order[o] = i
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order[a.Ref.Object], order[b.Ref.Object]), strings.Compare(a.Ref.Path, b.Ref.Path))
	})
	return found, ignored
}

// keep leaves out what the objects' annotations say.
func keep(all []Finding) (found []Finding, ignored int) {
	for _, f := range all {
		if f.Ref.Object != nil && Ignores(f.Ref.Object.GetAnnotations()[IgnoreAnnotation], f.ID) {
			ignored++
			continue
		}
		found = append(found, f)
	}
	return found, ignored
}

// Ignores says whether an annotation's list names the check.
func Ignores(list, id string) bool {
	for name := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(name) == id {
			return true
		}
	}
	return false
}

func (l *linter) report(ref rules.Ref, hint, format string, args ...any) {
	l.found = append(l.found, Finding{ID: l.id, Ref: ref, What: fmt.Sprintf(format, args...), Hint: hint})
}

// knowsServices says whether the objects describe services at all.
func (l *linter) knowsServices() bool { return len(l.model.Services) > 0 }

// way is a VirtualService's routes as a caller's proxy has them.
type way struct {
	service *rules.VirtualService
	caller  rules.Caller
	routes  []*rules.Route
}

// ways are the routes of all VirtualServices, each for a caller that they are for: a sidecar of their namespace, or the gateway's pods.
func (l *linter) ways() []way {
	var out []way
	for _, v := range l.model.VirtualServices {
		ns := v.Ref.Object.GetNamespace()
		caller := rules.Caller{Namespace: ns, Proxy: rules.Sidecar}
		if !slices.Contains(v.Gateways, rules.MeshGateway) {
			caller = l.gatewayOf(v)
		}
		out = append(out, way{v, caller, l.model.RoutesOf(v)})
	}
	return out
}

// gatewayOf is the caller that the gateway of a VirtualService is.
func (l *linter) gatewayOf(v *rules.VirtualService) rules.Caller {
	for _, g := range l.model.Gateways {
		if slices.Contains(v.Gateways, g.Name) {
			ns, _, _ := strings.Cut(g.Name, "/")
			return rules.Caller{Namespace: ns, Labels: g.Spec.GetSelector(), Proxy: rules.GatewayProxy}
		}
	}
	return rules.Caller{Namespace: v.Ref.Object.GetNamespace(), Proxy: rules.GatewayProxy}
}
