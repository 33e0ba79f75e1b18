package plan

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/lint"
	"squall/internal/load"
	"squall/internal/load/fortiorest"
	"squall/internal/mesh"
	"squall/internal/scenario"
	"squall/internal/step"
)

// Options say for which environment a scenario is compiled.
type Options struct {
	// FixturesDir is where fixtures that are named without a path lie.
	FixturesDir string
	// Marker begins the marks of this run in the proxies' configuration. It must be the run's own.
	Marker string
	// Cluster says that the environment is a cluster of Kubernetes and not this machine.
	Cluster bool
	// LoadImage is the image of the load generator, where that is Squall's own.
	LoadImage string
	// Generator is what makes the calls of loads; "" is Own.
	Generator Generator
	// Honour reports what in objects that belong together the environment cannot honour; nil honours everything.
	Honour func([]*unstructured.Unstructured) []Unhonoured
}

// Unhonoured is a field of an object that an environment cannot honour.
type Unhonoured struct {
	Index            int // of the object
	Path, What, Hint string
}

// builder compiles one scenario.
type builder struct {
	opts      Options
	scenario  *scenario.Scenario
	plan      *Plan
	objects   []*unstructured.Unstructured // as the phases so far leave them
	services  []string
	sources   []manifest // the fixtures' objects with their places
	errs      []error
	surprises []string                  // what keeps the rules from telling what requests meet
	ejected   []string                  // hosts of which the phases so far may have ejected pods
	settings  map[string]map[string]any // of flow control, by service and key, as the phases so far leave them
	asked     []askedFlow
	usage     map[string]bool // the phases of which checks read what pods use
}

// Build compiles a scenario. The error has every mistake with its place, so far as one mistake does not hide another.
func Build(s *scenario.Scenario, opts Options) (*Plan, error) {
	b := &builder{opts: opts, scenario: s, plan: &Plan{Scenario: s, Generator: opts.Generator}, usage: map[string]bool{}}
	fixtures, err := loadFixtures(s, opts.FixturesDir)
	if err != nil {
		return nil, err
	}
	b.sources = fixtures
	b.addFixtures(fixtures)
	b.stockClient()
	b.lint(nil, nil)
	b.plan.Spec = check.Spec{
		Scenario: s.Metadata.Name, Hypothesis: s.Spec.Hypothesis, Namespace: s.Spec.Namespace, Services: b.services,
	}
	if s.Spec.Baseline.Skip == "" {
		b.baseline()
	}
	for i := range s.Spec.Stages {
		b.stage(i)
	}
	b.records()
	b.findFlow()
	b.narrowMarks()
	b.meter()
	if b.plan.Recovery != nil {
		again := b.plan.Spec.Phases[0]
		again.Name = check.Recovery
		b.plan.Spec.Phases = append(b.plan.Spec.Phases, again)
	}
	if err := problems(b.errs); err != nil {
		return nil, err
	}
	return b.plan, nil
}

// meter marks the phases in which what pods use has to be measured.
func (b *builder) meter() {
	for i := range b.plan.Phases {
		b.plan.Phases[i].ReadsUsage = b.usage[b.plan.Phases[i].Name]
	}
	if b.plan.Recovery != nil {
		b.plan.Recovery.ReadsUsage = b.usage[check.Baseline]
	}
}

// problems joins the errors, the author's mistakes sorted by place.
func problems(errs []error) error {
	var sorted scenario.Problems
	var others []error
	for _, e := range errs {
		var ps scenario.Problems
		var p scenario.Problem
		switch {
		case errors.As(e, &ps):
			sorted = append(sorted, ps...)
		case errors.As(e, &p):
			sorted = append(sorted, p)
		default:
			others = append(others, e)
		}
	}
	return errors.Join(append(others, sorted.Err())...)
}

func (b *builder) addFixtures(fixtures []manifest) {
	s := b.scenario
	b.plan.Namespaces = []string{s.Spec.Namespace}
	own := ownObjects(s, b.loadContainer())
	var objects []*unstructured.Unstructured
	for _, m := range fixtures {
		b.namespace(m.object)
		if m.object.GetKind() == "Service" && m.object.GetNamespace() == s.Spec.Namespace {
			b.services = append(b.services, m.object.GetName())
		}
		for _, r := range step.Refuse(m.object) {
			b.errs = append(b.errs, m.source.Problem(r.Path, r.What, r.Hint))
		}
		own = b.without(own, m)
		objects = append(objects, m.object)
	}
	if b.opts.Honour != nil {
		for _, u := range b.opts.Honour(objects) {
			b.errs = append(b.errs, fixtures[u.Index].source.Problem(u.Path, u.What, u.Hint))
		}
	}
	var before, after []*unstructured.Unstructured
	for _, o := range own {
		if order(o.object.GetKind()) < order("Deployment") {
			before = append(before, o.object)
		} else {
			after = append(after, o.object)
		}
	}
	b.plan.Fixtures = slices.Concat(before, objects, after)
	b.objects = slices.Clone(b.plan.Fixtures)
	if ingress := mesh.IngressService(); namesIngress(&s.Spec) && !slices.ContainsFunc(b.objects, func(o *unstructured.Unstructured) bool { return idOf(o) == idOf(ingress) }) {
		b.objects = append(b.objects, ingress) // Istio's installation has it
	}
}

// without leaves out an object of Squall's own that a fixture has too: where it says nothing that the fixture could contradict.
// Elsewhere the fixture is wrong.
func (b *builder) without(own []ownObject, m manifest) []ownObject {
	return slices.DeleteFunc(own, func(o ownObject) bool {
		if idOf(o.object) != idOf(m.object) {
			return false
		}
		if o.conflict != "" {
			b.errs = append(b.errs, m.source.Problem("metadata.name", m.object.GetKind()+" "+m.object.GetName()+" is made by Squall", o.conflict))
		}
		return true
	})
}

func (b *builder) baseline() {
	s := b.scenario
	spec, ok := b.load("spec.baseline.load", s.Spec.Baseline.Load)
	phase := Phase{Name: check.Baseline, Load: spec, SignIn: b.signIn("spec.baseline.load", s.Spec.Baseline.Load), Direct: b.isDirect(s.Spec.Baseline.Load)}
	phase.workers(s.Spec.Baseline.Load)
	b.plan.Phases = append(b.plan.Phases, phase)
	again := phase
	again.Name = check.Recovery
	b.plan.Recovery = &again
	judged := check.PhaseSpec{Name: check.Baseline, Checks: b.checks(check.Baseline, s.Spec.Baseline.Checks, spec, ok)}
	if ok {
		b.predict(phase, &judged)
		b.lucky(s.Spec.Baseline.Checks, spec, judged.Predictions)
	}
	b.plan.Spec.Phases = append(b.plan.Spec.Phases, judged)
}

func (b *builder) stage(i int) {
	st := &b.scenario.Spec.Stages[i]
	path := fmt.Sprintf("spec.stages[%d]", i)
	ls, at := st.Load, path+".load"
	if ls == nil {
		ls, at = b.scenario.Spec.Baseline.Load, "spec.baseline.load"
	}
	phase := Phase{Name: st.Name, Timeout: time.Duration(st.Timeout), ApplyAt: float64(st.ApplyAt) / 100}
	judged := check.PhaseSpec{Name: st.Name}
	marker := fmt.Sprintf("%s-s%d", b.opts.Marker, i+1)
	compiled, err := step.Compile(step.NewSet(b.objects), st.Apply, step.Options{
		Namespace: b.scenario.Spec.Namespace, Marker: marker,
		Target: hostOf(ls), Plaintext: b.isDirect(ls), Request: requestOf(ls), Midway: st.ApplyAt > 0,
		API:     b.scenario.Spec.Mesh.API,
		Cluster: b.opts.Cluster, Client: ClientName, Settings: b.settings,
	})
	if err != nil {
		b.errs = append(b.errs, err)
	}
	for _, c := range compiled.Changes {
		phase.Changes = append(phase.Changes, change(c))
		b.put(c.After)
	}
	phase.Actions = compiled.Actions
	b.unforeseen(compiled.Actions)
	b.flow(st.Apply, &phase, compiled.Settings)
	b.honour(st.Apply, compiled)
	b.lintStage(st, ls, compiled.Changes)
	b.mark(&phase, marker)
	for _, p := range compiled.Proofs {
		judged.Proofs = append(judged.Proofs, check.Proof(p))
	}
	judged.Faults = compiled.Faults
	for _, u := range compiled.Unproven {
		judged.Unproven = append(judged.Unproven, u.Step+": "+u.Reason)
	}
	var ok bool
	phase.Load, ok = b.load(at, ls)
	phase.SignIn, phase.Direct = b.signIn(at, ls), b.isDirect(ls)
	phase.workers(ls)
	judged.Checks = b.checks(st.Name, st.Checks, phase.Load, ok)
	if st.Gate != nil {
		judged.Gate = &check.Gate{Promote: b.checks(st.Name, st.Gate.Promote, phase.Load, ok), Expect: st.Gate.Expect}
	}
	for _, h := range append(slices.Clone(b.scenario.Spec.Halt), st.Halt...) {
		if halt, err := check.CompileHalt(h.Value, b.services); err != nil {
			b.errs = append(b.errs, syntax(h, err))
		} else {
			phase.Halts = append(phase.Halts, halt)
		}
	}
	if ok {
		b.predict(phase, &judged)
		b.lucky(st.Checks, phase.Load, judged.Predictions)
		if st.Gate != nil {
			b.lucky(st.Gate.Promote, phase.Load, judged.Predictions)
		}
	}
	b.plan.Phases = append(b.plan.Phases, phase)
	b.plan.Spec.Phases = append(b.plan.Spec.Phases, judged)
}

// honour reports what in the objects of steps the environment cannot honour beside all that is there, each at its step.
func (b *builder) honour(steps []scenario.Step, compiled step.Compiled) {
	changes := compiled.Changes
	if b.opts.Honour == nil || len(changes) == 0 {
		return
	}
	for _, u := range b.opts.Honour(b.objects) {
		o := b.objects[u.Index]
		if isStuck(compiled.Actions, o) {
			continue // it is not to run
		}
		at := slices.IndexFunc(changes, func(c step.Change) bool { return idOf(c.After) == idOf(o) })
		if at < 0 {
			continue // it was reported where it is
		}
		i := slices.IndexFunc(steps, func(s scenario.Step) bool { return s.String() == changes[at].Step })
		what := fmt.Sprintf("%s %s: %s: %s", o.GetKind(), o.GetName(), u.Path, u.What)
		b.errs = append(b.errs, steps[max(0, i)].Problem("", what, u.Hint))
	}
}

// isStuck says whether the object is a workload whose rollout is not to come to its end.
func isStuck(actions []Action, o *unstructured.Unstructured) bool {
	return slices.ContainsFunc(actions, func(a Action) bool {
		return a.Stuck && o.GetKind() == "Deployment" && o.GetName() == a.Workload && o.GetNamespace() == a.Namespace
	})
}

// unforeseen notes what from now on makes pods be otherwise than their objects say, so that the rules do not tell what requests meet.
func (b *builder) unforeseen(actions []Action) {
	for _, a := range actions {
		if slices.Contains([]string{"stop", "partition", "rollout"}, a.Kind) {
			b.surprises = append(b.surprises, a.Step+": the rules do not tell what requests meet by it")
		}
	}
}

// mark adds the change that shows that those are live which leave no mark of their own in a proxy.
func (b *builder) mark(p *Phase, marker string) {
	if !slices.ContainsFunc(p.Changes, func(c Change) bool { return len(c.Marks) == 0 && mesh.SeenByIstiod(c.After) }) {
		return
	}
	filter, mark := mesh.MarkFilter(marker + "-" + Mark)
	c := Change{Step: Mark, After: filter, Marks: []mesh.Mark{mark}, Last: true}
	if i := slices.IndexFunc(b.objects, func(o *unstructured.Unstructured) bool { return idOf(o) == idOf(filter) }); i >= 0 {
		c.Before = b.objects[i]
	}
	p.Changes = append(p.Changes, c)
	b.put(filter)
}

// narrowMarks keeps the filters that mark changes to the scenario's own namespace, where no proxy of another has to show them.
func (b *builder) narrowMarks() {
	if b.plan.NeedsIngress() || len(b.plan.Namespaces) > 1 {
		return
	}
	for _, p := range b.plan.Phases {
		for _, c := range p.Changes {
			if c.Step == Mark {
				c.After.SetNamespace(b.scenario.Spec.Namespace)
			}
		}
	}
}

// namespace notes the object's namespace as one that has to be there.
func (b *builder) namespace(u *unstructured.Unstructured) {
	if ns := u.GetNamespace(); ns != "" && ns != mesh.RootNamespace && !slices.Contains(b.plan.Namespaces, ns) {
		b.plan.Namespaces = append(b.plan.Namespaces, ns)
	}
}

// put makes the object part of what the next stage finds.
func (b *builder) put(u *unstructured.Unstructured) {
	b.namespace(u)
	if name := u.GetName(); u.GetKind() == "Service" && u.GetNamespace() == b.scenario.Spec.Namespace && !slices.Contains(b.services, name) {
		b.services = append(b.services, name)
		b.plan.Spec.Services = b.services
	}
	id := idOf(u)
	if i := slices.IndexFunc(b.objects, func(o *unstructured.Unstructured) bool { return idOf(o) == id }); i >= 0 {
		b.objects[i] = u
		return
	}
	b.objects = append(b.objects, u)
}

func change(c step.Change) Change {
	out := Change{Step: c.Step, Before: c.Before, After: c.After, Host: c.Host}
	for _, m := range c.Marks {
		out.Marks = append(out.Marks, mesh.Mark(m))
	}
	return out
}

// checks compiles statements, and refuses those that so few requests can never decide.
func (b *builder) checks(phase string, list []scenario.Text, spec load.Spec, known bool) []check.Stmt {
	var out []check.Stmt
	for _, t := range list {
		e, err := check.Compile(t.Value, b.services)
		if err != nil {
			b.errs = append(b.errs, syntax(t, err))
			continue
		}
		if need := e.MinRequests(); known && spec.Requests > 0 && need > spec.Requests {
			b.errs = append(b.errs, scenario.Problem{
				Pos: t.At(1), What: fmt.Sprintf("%d requests can never decide %q", spec.Requests, t.Value),
				Hint: fmt.Sprintf("at least %d are needed", need),
			})
		} else if enough := e.Enough(); known && spec.Requests > 0 && enough > spec.Requests {
			b.finding(lint.TooFew(t.At(1), t.Value, spec.Requests, enough))
		}
		b.asks(t, e)
		if e.ReadsUsage() {
			b.usage[phase] = true
			b.usage[check.Baseline] = b.usage[check.Baseline] || e.NeedsBaseline()
		}
		b.plan.ReadsRecords = b.plan.ReadsRecords || e.ReadsRecords()
		b.finds(t, e, spec, known)
		if known && e.NeedsSchedule() && b.opts.Generator == Fortio {
			b.errs = append(b.errs, scenario.Problem{
				Pos: t.At(1), What: "response and late need the times at which calls were meant to start, which Fortio does not tell", Hint: fortiorest.Hint,
			})
		} else if known && e.NeedsSchedule() && !spec.Scheduled() {
			b.errs = append(b.errs, scenario.Problem{
				Pos: t.At(1), What: "response and late need times at which calls are meant to start, and the load has none",
				Hint: "give the load a qps, without noCatchUp",
			})
		}
		switch {
		case !e.NeedsBaseline():
		case b.scenario.Spec.Baseline.Skip != "":
			b.errs = append(b.errs, scenario.Problem{Pos: t.At(1), What: "delta() compares with the baseline, which is skipped"})
		case phase == check.Baseline:
			b.errs = append(b.errs, scenario.Problem{
				Pos: t.At(1), What: "delta() compares with the baseline, and this is the baseline", Hint: "write the check in a stage",
			})
		}
		out = append(out, check.Stmt{Expr: t.Value, At: t.At(1).String()})
	}
	return out
}

func syntax(t scenario.Text, err error) error {
	var s *check.SyntaxError
	if errors.As(err, &s) {
		return scenario.Problem{Pos: t.At(s.Column), What: s.Msg, Hint: s.Hint}
	}
	return scenario.Problem{Pos: t.At(1), What: err.Error()}
}
