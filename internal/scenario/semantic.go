package scenario

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// validator checks what the schema cannot: what depends on several fields.
type validator struct {
	scenario *Scenario
	known    Problems // found before: what follows from them is not reported
	problems Problems
}

// validate runs before the last defaults are set, on a document from which what is already known to be wrong was dropped.
func (s *Scenario) validate(known Problems) Problems {
	v := &validator{scenario: s, known: known}
	spec := &s.Spec
	if strings.TrimSpace(spec.Hypothesis) == "" {
		v.report("spec.hypothesis", "is empty", "")
	}
	v.baseline()
	v.load("spec.baseline.load", spec.Baseline.Load, spec.Timeout)
	names := map[string]Pos{}
	for i := range spec.Stages {
		v.stage(fmt.Sprintf("spec.stages[%d]", i), &spec.Stages[i], names)
	}
	if v.checks() == 0 {
		v.report("spec.stages", "the scenario has no checks, so it can show nothing", "write checks in a stage")
	}
	for image, program := range spec.Images {
		if strings.TrimSpace(program) == "" {
			v.report(join("spec.images", image), "is empty", "write the program's line, such as /usr/bin/app -port 8080")
		}
	}
	for i, fixture := range spec.Fixtures {
		if strings.TrimSpace(fixture) == "" {
			v.report(fmt.Sprintf("spec.fixtures[%d]", i), "is empty", "write a folder below fixtures, or a path")
		}
	}
	return v.problems
}

// report drops what follows from a problem that is already known at the path or below it.
func (v *validator) report(path, what, hint string) {
	isBelow := func(p Problem) bool { return under(p.Path, path) }
	if v.known.explain(path) || slices.ContainsFunc(v.known, isBelow) {
		return
	}
	v.problems = append(v.problems, v.scenario.Problem(path, what, hint))
}

func (v *validator) checks() int {
	n := len(v.scenario.Spec.Baseline.Checks)
	for _, stage := range v.scenario.Spec.Stages {
		n += len(stage.Checks)
		if stage.Gate != nil {
			n += len(stage.Gate.Promote)
		}
	}
	return n
}

func (v *validator) baseline() {
	b := v.scenario.Spec.Baseline
	const path = "spec.baseline"
	switch {
	case b.Skip != "" && len(b.Checks) > 0:
		v.report(path+".skip", "a baseline that is skipped has no checks", "remove one of them")
	case b.Skip != "":
	case b.Load == nil:
		v.report(path+".load", "is missing", "give a load, or skip: with the reason")
	case len(b.Checks) == 0:
		v.report(path+".checks", "is missing", "say what holds in the steady state, or skip: with the reason")
	}
}

func (v *validator) stage(path string, stage *Stage, names map[string]Pos) {
	spec := &v.scenario.Spec
	if first, ok := names[stage.Name]; ok && stage.Name != "" {
		v.report(path+".name", fmt.Sprintf("the name %q is given twice", stage.Name), "first at "+first.String())
	}
	names[stage.Name] = v.scenario.At(path + ".name")
	if stage.Name == "baseline" || stage.Name == "recovery" {
		v.report(path+".name", fmt.Sprintf("%q names a phase that every run has", stage.Name), "choose another name")
	}
	if len(stage.Apply) == 0 && stage.Load == nil && len(stage.Checks) == 0 {
		v.report(path, "the stage does nothing", "give it apply, load or checks")
	}
	if stage.ApplyAt > 0 && len(stage.Apply) == 0 {
		v.report(path+".applyAt", "is given, but nothing is applied", "give the stage apply, or remove it")
	}
	if (len(stage.Checks) > 0 || stage.Gate != nil) && stage.Load == nil && spec.Baseline.Load == nil {
		v.report(path+".load", "is missing, and the baseline has none", "give a load")
	}
	timeout := spec.Timeout
	if stage.Timeout > 0 {
		timeout = min(timeout, stage.Timeout)
	}
	v.load(path+".load", stage.Load, timeout)
	for _, step := range stage.Apply {
		v.step(step)
	}
}

func (v *validator) load(path string, l *LoadSpec, timeout Duration) {
	if l == nil {
		return
	}
	switch {
	case l.Requests > 0 && l.Duration > 0:
		v.report(path+".duration", "is given beside requests", "give one of them")
	case l.Requests == 0 && l.Duration == 0:
		v.report(path, "says neither requests nor duration", "write requests: 100")
	case l.Duration >= timeout:
		v.report(path+".duration", fmt.Sprintf("%s does not fit into the timeout of %s", l.Duration, timeout),
			"raise the timeout or shorten the load")
	}
	v.clientOf(path, l)
	v.workers(path, l)
	if l.Jitter && l.Uniform {
		v.report(path+".uniform", "is given beside jitter", "give one of them")
	}
	if u, err := url.Parse(l.URL); err == nil && u.Scheme == "grpc" && l.Protocol != "grpc" {
		v.report(path+".protocol", "does not fit the scheme grpc", "write protocol: grpc")
	}
}

// workers checks that each worker has something to do.
func (v *validator) workers(path string, l *LoadSpec) {
	workers := max(1, l.Workers)
	if connections := max(1, l.Connections); connections < workers {
		v.report(path+".workers", fmt.Sprintf("%d workers need at least %d connections, and the load has %d", workers, workers, connections),
			fmt.Sprintf("write connections: %d", workers))
	}
	if l.AllowLostWorkers > 0 && l.AllowLostWorkers >= workers {
		v.report(path+".allowLostWorkers", fmt.Sprintf("of %d workers one must be left", workers), fmt.Sprintf("at most %d", workers-1))
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// clientOf checks how a load calls.
func (v *validator) clientOf(path string, l *LoadSpec) {
	if l.Sidecar != nil && *l.Sidecar && !v.scenario.Spec.Client.Sidecar {
		v.report(path+".sidecar", "the load generator has no sidecar", "remove spec.client.sidecar: false; loads may then say sidecar: false")
	}
	if t := l.TLS; t != nil {
		if (t.Cert == "") != (t.Key == "") {
			v.report(path+".tls", "needs both cert and key, or none", "")
		}
		if !strings.HasPrefix(l.URL, "https://") && (l.SignIn == nil || !strings.HasPrefix(l.SignIn.URL, "https://")) {
			v.report(path+".tls", "is given, but the URL is not https://", "")
		}
	}
	if s := l.SignIn; s != nil {
		if len(s.Form) > 0 && s.Method == "GET" {
			v.report(path+".signIn.method", "a form is not sent with GET", "write method: POST")
		}
		if l.Protocol == "grpc" {
			v.report(path+".signIn", "a gRPC ping carries no session", "")
		}
		header := "Cookie"
		if s.Bearer {
			header = "Authorization"
		}
		for name := range l.Headers {
			if strings.EqualFold(name, header) {
				v.report(path+".headers", "has "+name+", and so has what signing in gives", "remove one of them")
			}
		}
	}
}
