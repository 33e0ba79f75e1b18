// Package scenario is what the author wrote: a Kubernetes-style YAML document that is decoded strictly, with every
// mistake reported at once as file:line:column: path: what. It knows the shape of a scenario and nothing of meshes; what
// needs a mesh's services to be judged is judged by package step.
package scenario

// APIVersion is the only version of the format.
const APIVersion = "squall/v1alpha1"

// AloneLabel is the label of scenarios that measure the machine: with "true", nothing runs beside them.
const AloneLabel = "alone"

// Scenario is one experiment: a hypothesis, the mesh it is about, and the stages that test it.
type Scenario struct {
	// APIVersion is squall/v1alpha1.
	APIVersion string `json:"apiVersion" jsonschema:"required,enum=squall/v1alpha1"`
	// Kind is Scenario.
	Kind     string   `json:"kind" jsonschema:"required,enum=Scenario"`
	Metadata Metadata `json:"metadata" jsonschema:"required"`
	Spec     Spec     `json:"spec" jsonschema:"required"`

	// File is the path the scenario was loaded from, and Files are it and all that it includes.
	File   string   `json:"-"`
	Files  []string `json:"-"`
	places *places
}

// At is the place in the author's files of a path such as spec.stages[0].load.url, or of the nearest thing around it.
func (s *Scenario) At(path string) Pos { return s.places.at(path) }

// Problem is a mistake that was found later on in what the author wrote at the path.
func (s *Scenario) Problem(path, what, hint string) Problem {
	return Problem{Pos: s.At(path), Path: path, What: what, Hint: hint}
}

// Metadata names the scenario.
type Metadata struct {
	// Name is what the scenario is called on the command line.
	Name string `json:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Labels choose scenarios, for instance by suite.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are free text for people and tools.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Spec is the experiment.
type Spec struct {
	// Hypothesis is the sentence that the run confirms or refutes.
	Hypothesis string `json:"hypothesis" jsonschema:"required,minLength=1"`
	// Description is free text.
	Description string `json:"description,omitempty"`
	// Include lists files of kind Fragment, relative to this file, whose spec is laid below this one: maps are merged,
	// this file wins, lists replace. A later file wins over an earlier one.
	Include []string `json:"include,omitempty"`
	// Variables are scalars with their defaults. ${name} in any value stands for one, $${ for a plain ${. A value that is
	// nothing but ${name} keeps the variable's type. --set name=value overrides the default and keeps its type.
	Variables map[string]Scalar `json:"variables,omitempty"`
	// Namespace is where everything lives. Default squall.
	Namespace string `json:"namespace,omitempty" jsonschema:"pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Fixtures are folders below fixtures/, or paths to Kubernetes manifests relative to this file.
	Fixtures []string `json:"fixtures,omitempty"`
	// Images maps container images to the program lines that stand for them on the local mesh.
	Images map[string]string `json:"images,omitempty"`
	Mesh   Mesh              `json:"mesh,omitzero"`
	Client Client            `json:"client,omitzero"`
	// Records is how interface traffic is recorded. It is recorded when this is there or a check reads records(…).
	Records *Records `json:"records,omitempty"`
	// Timeout bounds the whole run without its rollback. Default 5m.
	Timeout Duration `json:"timeout,omitzero"`
	// Seed makes the run's random choices repeatable. Default 1.
	Seed     int64    `json:"seed"`
	Baseline Baseline `json:"baseline" jsonschema:"required"`
	// Stages run in order, each with its own chaos, load and checks.
	Stages []Stage `json:"stages" jsonschema:"required,minItems=1"`
	// Halt are conditions such as "ratio(code >= 500) > 0.99 for 5s" that break the run off in any stage.
	Halt []Text `json:"halt,omitempty"`
}

// Mesh is how the mesh is set up before anything runs.
type Mesh struct {
	// MTLS is the mesh-wide mode: STRICT, PERMISSIVE or DISABLE. Default PERMISSIVE.
	MTLS string `json:"mtls,omitempty" jsonschema:"enum=STRICT,enum=PERMISSIVE,enum=DISABLE"`
	// API is what steps for routes are compiled to, unless they say it themselves: istio, a VirtualService, or gateway, an HTTPRoute of
	// the Gateway API. Default istio.
	API string `json:"api,omitempty" jsonschema:"enum=istio,enum=gateway"`
}

// Client is the workload that the load comes from.
type Client struct {
	// Labels are the labels of its pod.
	Labels map[string]string `json:"labels,omitempty"`
	// ServiceAccount is its identity. Default squall-load.
	ServiceAccount string `json:"serviceAccount,omitempty" jsonschema:"pattern=^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"`
	// Sidecar says whether it has a proxy of its own. Without one, rules of the client's side do not apply to it.
	// Default true.
	Sidecar bool `json:"sidecar"`
}

// Baseline is the steady state: it must hold before the first stage and again after the rollback.
type Baseline struct {
	// Load is what stages without a load of their own use too.
	Load *LoadSpec `json:"load,omitempty"`
	// Checks hold in the steady state.
	Checks []Text `json:"checks,omitempty"`
	// Skip is the reason for having no baseline; it is printed. A run without a baseline cannot verify its rollback by
	// traffic.
	Skip string `json:"skip,omitempty" jsonschema:"minLength=1"`
}

// Stage is one step of the experiment: chaos is applied, load is driven, checks are judged.
type Stage struct {
	// Name names the stage in reports and in the run's folder.
	Name string `json:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Description is free text.
	Description string `json:"description,omitempty"`
	// Apply are the chaos steps, which are live together while the load runs.
	Apply []Step `json:"apply,omitempty"`
	// ApplyAt is the percent of the load after which the steps are applied, so that the change itself is measured. Without it
	// they are live before the load starts.
	ApplyAt Percent `json:"applyAt,omitempty"`
	// Load defaults to the baseline's load, as a whole.
	Load *LoadSpec `json:"load,omitempty"`
	// Checks are judged on what was recorded in this stage.
	Checks []Text `json:"checks,omitempty"`
	// Gate decides after the stage whether the run goes on.
	Gate *Gate `json:"gate,omitempty"`
	// Timeout bounds the stage.
	Timeout Duration `json:"timeout,omitzero"`
	// Halt are conditions that break the run off in this stage.
	Halt []Text `json:"halt,omitempty"`
}

// Gate stands between a stage and the next: as in a canary release, the run goes on when all conditions hold, and is rolled back at
// once when not.
type Gate struct {
	// Promote are the conditions, judged on what was recorded in this stage.
	Promote []Text `json:"promote" jsonschema:"required,minItems=1"`
	// Expect is what the scenario expects of the gate: promote or rollback. Default promote.
	Expect string `json:"expect,omitempty" jsonschema:"enum=promote,enum=rollback"`
}
