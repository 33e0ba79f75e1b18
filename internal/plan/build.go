package plan

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/load"
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
	// LoadImage is the image of the load generator.
	LoadImage string
	// Honour reports what in an object the environment cannot honour; nil honours everything.
	Honour func(*unstructured.Unstructured) []Unhonoured
}

// Unhonoured is a field of a manifest that an environment cannot honour.
type Unhonoured struct{ Path, What, Hint string }

// builder compiles one scenario.
type builder struct {
	opts     Options
	scenario *scenario.Scenario
	plan     *Plan
	objects  []*unstructured.Unstructured // as the phases so far leave them
	services []string
	errs     []error
}

// Build compiles a scenario. The error has every mistake with its place, so far as one mistake does not hide another.
func Build(s *scenario.Scenario, opts Options) (*Plan, error) {
	b := &builder{opts: opts, scenario: s, plan: &Plan{Scenario: s}}
	fixtures, err := loadFixtures(s, opts.FixturesDir)
	if err != nil {
		return nil, err
	}
	b.addFixtures(fixtures)
	b.plan.Spec = check.Spec{
		Scenario: s.Metadata.Name, Hypothesis: s.Spec.Hypothesis, Namespace: s.Spec.Namespace, Services: b.services,
	}
	if s.Spec.Baseline.Skip == "" {
		b.baseline()
	}
	for i := range s.Spec.Stages {
		b.stage(i)
	}
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
	var objects []*unstructured.Unstructured
	for _, m := range fixtures {
		if b.opts.Honour != nil {
			for _, u := range b.opts.Honour(m.object) {
				b.errs = append(b.errs, m.source.Problem(u.Path, u.What, u.Hint))
			}
		}
		if ns := m.object.GetNamespace(); ns != "" && ns != mesh.RootNamespace && !slices.Contains(b.plan.Namespaces, ns) {
			b.plan.Namespaces = append(b.plan.Namespaces, ns)
		}
		if m.object.GetKind() == "Service" && m.object.GetNamespace() == s.Spec.Namespace {
			b.services = append(b.services, m.object.GetName())
		}
		objects = append(objects, m.object)
	}
	objects = append([]*unstructured.Unstructured{meshPolicy(s)}, objects...)
	objects = append(objects, loadClient(s, b.opts.LoadImage)...)
	b.plan.Fixtures = objects
	b.objects = slices.Clone(objects)
}

func (b *builder) baseline() {
	s := b.scenario
	spec, ok := b.load("spec.baseline.load", s.Spec.Baseline.Load)
	phase := Phase{Name: check.Baseline, Load: spec}
	b.plan.Phases = append(b.plan.Phases, phase)
	again := phase
	again.Name = check.Recovery
	b.plan.Recovery = &again
	b.plan.Spec.Phases = append(b.plan.Spec.Phases, check.PhaseSpec{
		Name: check.Baseline, Checks: b.checks(s.Spec.Baseline.Checks, spec, ok),
	})
}

func (b *builder) stage(i int) {
	st := &b.scenario.Spec.Stages[i]
	path := fmt.Sprintf("spec.stages[%d]", i)
	ls, at := st.Load, path+".load"
	if ls == nil {
		ls, at = b.scenario.Spec.Baseline.Load, "spec.baseline.load"
	}
	phase := Phase{Name: st.Name, Timeout: time.Duration(st.Timeout)}
	judged := check.PhaseSpec{Name: st.Name}
	compiled, err := step.Compile(step.NewSet(b.objects), st.Apply, step.Options{
		Namespace: b.scenario.Spec.Namespace, Marker: fmt.Sprintf("%s-s%d", b.opts.Marker, i+1),
		Target: hostOf(ls), Plaintext: !b.scenario.Spec.Client.Sidecar,
	})
	if err != nil {
		b.errs = append(b.errs, err)
	}
	for _, c := range compiled.Changes {
		phase.Changes = append(phase.Changes, change(c))
		b.put(c.After)
	}
	for _, p := range compiled.Proofs {
		judged.Proofs = append(judged.Proofs, check.Proof(p))
	}
	judged.Faults = compiled.Faults
	var ok bool
	phase.Load, ok = b.load(at, ls)
	judged.Checks = b.checks(st.Checks, phase.Load, ok)
	for _, h := range append(slices.Clone(b.scenario.Spec.Halt), st.Halt...) {
		if halt, err := check.CompileHalt(h.Value, b.services); err != nil {
			b.errs = append(b.errs, syntax(h, err))
		} else {
			phase.Halts = append(phase.Halts, halt)
		}
	}
	b.plan.Phases = append(b.plan.Phases, phase)
	b.plan.Spec.Phases = append(b.plan.Spec.Phases, judged)
}

// put makes the object part of what the next stage finds.
func (b *builder) put(u *unstructured.Unstructured) {
	ref := mesh.RefOf(u)
	for i, o := range b.objects {
		if r := mesh.RefOf(o); r.Kind == ref.Kind && r.Namespace == ref.Namespace && r.Name == ref.Name {
			b.objects[i] = u
			return
		}
	}
	b.objects = append(b.objects, u)
}

// hostOf is the host that a load calls, "" when there is none.
func hostOf(l *scenario.LoadSpec) string {
	if l == nil {
		return ""
	}
	u, err := url.Parse(l.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func change(c step.Change) Change {
	out := Change{Step: c.Step, Before: c.Before, After: c.After, Host: c.Host}
	for _, m := range c.Marks {
		out.Marks = append(out.Marks, mesh.Mark(m))
	}
	return out
}

// checks compiles statements, and refuses those that so few requests can never decide.
func (b *builder) checks(list []scenario.Text, spec load.Spec, known bool) []check.Stmt {
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
		}
		if b.scenario.Spec.Baseline.Skip != "" && e.NeedsBaseline() {
			b.errs = append(b.errs, scenario.Problem{Pos: t.At(1), What: "delta() compares with the baseline, which is skipped"})
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

// load translates a load and checks its target against the services. ok is false when it was reported as wrong.
func (b *builder) load(path string, l *scenario.LoadSpec) (load.Spec, bool) {
	if l == nil {
		b.errs = append(b.errs, b.scenario.Problem(path, "is missing", "give the stage a load, or the baseline"))
		return load.Spec{}, false
	}
	spec := load.Spec{
		URL: l.URL, Protocol: load.Protocol(l.Protocol), Method: l.Method, Body: []byte(l.Body), Connections: l.Connections,
		QPS: l.QPS, Requests: l.Requests, Duration: time.Duration(l.Duration), Timeout: time.Duration(l.Timeout), WarmUp: l.WarmUp,
		VersionHeader: l.VersionHeader, Jitter: l.Jitter, Uniform: l.Uniform, NoCatchUp: l.NoCatchUp, Seed: b.scenario.Spec.Seed,
		RequestID: true,
	}
	for name, value := range l.Headers {
		spec.Headers = append(spec.Headers, load.Header{Name: name, Value: value})
	}
	slices.SortFunc(spec.Headers, func(a, c load.Header) int { return strings.Compare(a.Name, c.Name) })
	before := len(b.errs)
	if err := spec.Validate(); err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			field, what, _ := strings.Cut(strings.TrimPrefix(line, "load: "), ": ")
			b.errs = append(b.errs, b.scenario.Problem(path+"."+field, what, ""))
		}
	}
	b.target(path, l.URL)
	return spec, len(b.errs) == before
}

// target reports a URL whose host is no service, or whose port the service does not have.
func (b *builder) target(path, raw string) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return // reported by the load's own validation
	}
	service, rest, _ := strings.Cut(u.Hostname(), ".")
	ns, _, _ := strings.Cut(rest, ".")
	if ns == "" {
		ns = b.scenario.Spec.Namespace
	}
	for _, o := range b.plan.Fixtures {
		if o.GetKind() == "Service" && o.GetName() == service && o.GetNamespace() == ns {
			b.port(path, u, o)
			return
		}
	}
	b.errs = append(b.errs, b.scenario.Problem(path+".url", fmt.Sprintf("no service is called %q", u.Hostname()),
		scenario.DidYouMean(service, b.services)))
}

func (b *builder) port(path string, u *url.URL, service *unstructured.Unstructured) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	ports, _, err := unstructured.NestedSlice(service.Object, "spec", "ports")
	if err != nil {
		return // the API will refuse it
	}
	var have []string
	for _, p := range ports {
		if m, ok := p.(map[string]any); ok {
			have = append(have, fmt.Sprint(m["port"]))
		}
	}
	if n, err := strconv.Atoi(port); err == nil && !slices.Contains(have, strconv.Itoa(n)) {
		b.errs = append(b.errs, b.scenario.Problem(path+".url", fmt.Sprintf("service %s has no port %d", service.GetName(), n),
			"it has "+strings.Join(have, ", ")))
	}
}
