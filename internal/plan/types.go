// Package plan compiles a scenario: which objects are created, changed and restored, what load is driven, what is judged and
// what proves each fault. Every mistake of the author ends here, before anything starts.
package plan

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/flowcontrol"
	"squall/internal/gatewayapi"
	"squall/internal/lint"
	"squall/internal/load"
	"squall/internal/mesh"
	"squall/internal/scenario"
	"squall/internal/step"
)

// ClientName is the workload of the load generator: its Deployment, and its label app.
const ClientName = check.ClientName

// Generator is what makes the calls of loads.
type Generator string

// The generators. Own is Squall itself: its own process on the local mesh, its own image elsewhere. Fortio is the stock image of
// Fortio, which a cluster may have where it cannot have Squall's.
const (
	Own    Generator = "squall"
	Fortio Generator = "fortio"
)

// Plan is a compiled scenario.
type Plan struct {
	Scenario *scenario.Scenario
	// Generator is what makes the calls; "" is Own.
	Generator Generator
	// Namespaces that the plan needs, each with sidecar injection.
	Namespaces []string
	// Fixtures are the objects to deploy first, in this order.
	Fixtures []*unstructured.Unstructured
	// Phases are the baseline and the stages, in order.
	Phases []Phase
	// Recovery is the baseline once more, after the rollback; nil when the baseline is skipped.
	Recovery *Phase
	// Findings are rules that do not do what they seem to; Ignored is how many more the author's annotations keep back.
	Findings []lint.Placed
	Ignored  int
	// Spec is what the run is judged by.
	Spec check.Spec
	// Flow are the services whose flow control is changed or asked.
	Flow []flowcontrol.Place
	// ReadsRecords says that checks are about interface traffic.
	ReadsRecords bool
	// Records is how interface traffic is recorded; nil is not at all.
	Records *Records
}

// UsesGatewayAPI says whether objects of the Gateway API are deployed or changed.
func (p *Plan) UsesGatewayAPI() bool {
	isOne := func(u *unstructured.Unstructured) bool { return u.GroupVersionKind().Group == gatewayapi.Group }
	return slices.ContainsFunc(p.Fixtures, isOne) || slices.ContainsFunc(p.Phases, func(ph Phase) bool {
		return slices.ContainsFunc(ph.Changes, func(c Change) bool { return isOne(c.After) })
	})
}

// Phase is a time in which the mesh is in one state while a load runs.
type Phase struct {
	Name    string
	Changes []Change
	// Actions are what is done to pods after the changes.
	Actions []Action
	// Settings are changed of the flow control of services after that.
	Settings []SettingsChange
	// ApplyAt is the share of the load, from 0 to 1, after which the changes are made; 0 is before it.
	ApplyAt float64
	Load    load.Spec
	// SignIn comes before the load; nil when there is none.
	SignIn *load.SignIn
	// Direct says that the load calls a pod of the service, and not the load generator's proxy.
	Direct bool
	// Workers is how many of the load generator's pods make the calls, at least 1, and AllowLost how many of them may be lost.
	Workers   int
	AllowLost int
	Halts     []*check.Halt
	// ReadsUsage says that checks are about what pods use in this phase.
	ReadsUsage bool
	Timeout    time.Duration // 0: none but the run's
}

// Change makes one object be After.
type Change struct {
	Step   string // the first step that makes it, such as circuitBreaker httpbin
	Before *unstructured.Unstructured
	After  *unstructured.Unstructured
	// Host is the service whose callers the change concerns; "" concerns every proxy.
	Host string
	// Marks show that the change is live in a proxy. Without any, a change of step Mark follows in the phase.
	Marks []mesh.Mark
	// Last says that the change is made when istiod has seen all those before it, so that what is pushed with it holds them too.
	Last bool
}

// Action is what a step does to the pods of a workload.
type Action = step.Action

// ActionKinds are the kinds of steps of the plan that do something to pods, each once.
func (p *Plan) ActionKinds() []string {
	var out []string
	for _, ph := range p.Phases {
		for _, a := range ph.Actions {
			if !slices.Contains(out, a.Kind) {
				out = append(out, a.Kind)
			}
		}
	}
	return out
}

// Objects are those that the plan applies, each once.
func (p *Plan) Objects() []mesh.Ref {
	var out []mesh.Ref
	add := func(u *unstructured.Unstructured) {
		if ref := mesh.RefOf(u); !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	for _, u := range p.Fixtures {
		add(u)
	}
	for _, ph := range p.Phases {
		for _, c := range ph.Changes {
			add(c.After)
		}
	}
	return out
}

// Mark is the step of a change that does nothing but show that those before it are live.
const Mark = "mark"
