package check

import (
	"fmt"
	"slices"
	"strings"

	"squall/internal/record"
)

// The names of the phases that are no stages.
const (
	Baseline = "baseline"
	Recovery = "recovery"
)

// Skipped begins record.Rollback.Baseline when the scenario skips its baseline; the author's reason follows.
const Skipped = "skipped: "

// Reader is a saved run; *record.Run is one.
type Reader interface {
	Records
	ReadJSON(name string, v any) error
}

var _ Reader = (*record.Run)(nil)

// JudgeRun gives the verdict of a saved run from its files alone. Whatever is absent or broken in the records makes the
// verdict worse and is named in it; only a run without a readable run.json or spec.json is an error.
func JudgeRun(run Reader) (Result, error) {
	var man record.Manifest
	if err := run.ReadJSON(record.ManifestFile, &man); err != nil {
		return Result{}, fmt.Errorf("judge: the run is not known: %w", err)
	}
	var spec Spec
	if err := run.ReadJSON(record.SpecFile, &spec); err != nil {
		return Result{}, fmt.Errorf("judge: what the run is judged by is not known: %w", err)
	}
	res := Result{
		APIVersion: "squall/v1alpha1", Kind: "Result", RunID: man.RunID, Scenario: man.Scenario, File: man.File,
		Hypothesis: spec.Hypothesis, Env: man.Env, Seed: man.Seed, Versions: man.Versions, Start: man.Start,
	}
	if man.End != nil {
		res.Seconds = man.End.Sub(man.Start).Seconds()
	}
	j := newRunJudge(run, man, spec)
	res.Phases = j.judgePhases()
	j.halt(res.Phases)
	res.Rollback = rollback(man, res.Phases)
	res.Verdict, res.Reason = j.conclude(res)
	res.ExitCode = ExitCode(res, man)
	return res, nil
}

// runJudge judges one run.
type runJudge struct {
	book      *book
	man       record.Manifest
	spec      Spec
	exprs     map[string]compiled
	predicted map[string]compiled // by measure
}

type compiled struct {
	expr *Expr
	err  error
}

func newRunJudge(run Reader, man record.Manifest, spec Spec) *runJudge {
	base := ""
	if slices.ContainsFunc(spec.Phases, func(p PhaseSpec) bool { return p.Name == Baseline }) {
		base = Baseline
	}
	j := &runJudge{book: newBook(run, spec.Namespace, base), man: man, spec: spec, exprs: map[string]compiled{}, predicted: map[string]compiled{}}
	for _, p := range spec.Phases {
		for _, s := range p.Checks {
			j.prepare(s.Expr, p.Name)
		}
		for _, x := range p.Predictions {
			j.preparePrediction(x, p.Name)
		}
		if p.Gate != nil {
			for _, s := range p.Gate.Promote {
				j.prepare(s.Expr, p.Name)
			}
		}
		for _, s := range p.Proofs {
			j.prepare(s.Expr, p.Name)
		}
	}
	return j
}

func (j *runJudge) prepare(stmt, phase string) {
	c, ok := j.exprs[stmt]
	if !ok {
		c.expr, c.err = Compile(stmt, j.spec.Services)
		j.exprs[stmt] = c
	}
	if c.err == nil {
		j.book.want(c.expr, phase)
	}
}

func (j *runJudge) preparePrediction(p Prediction, phase string) {
	c, ok := j.predicted[p.Measure]
	if !ok {
		c.expr, c.err = predicted(p, j.spec.Services)
		j.predicted[p.Measure] = c
	}
	if c.err == nil {
		j.book.want(c.expr, phase)
	}
}

func (j *runJudge) judgePhases() []PhaseResult {
	var all []PhaseResult
	stopped := "" // by which gate
	for _, p := range j.spec.Phases {
		if stopped != "" && p.Name != Recovery {
			all = append(all, j.notRun(p, stopped))
			continue
		}
		conditions := j.promotions(p)
		all = append(all, j.judgePhase(p, conditions))
		if !promoted(conditions) {
			stopped = p.Name
		}
	}
	return all
}

// judgePhase judges all of the phase but the conditions of its gate, which are judged already.
func (j *runJudge) judgePhase(spec PhaseSpec, conditions []Outcome) PhaseResult {
	res := PhaseResult{Name: spec.Name}
	for _, s := range spec.Checks {
		res.Outcomes = append(res.Outcomes, j.judge(s.Expr, spec.Name))
	}
	if spec.Gate != nil {
		res.Outcomes = append(res.Outcomes, gate(spec, conditions)...)
	}
	if len(spec.Checks) == 0 && spec.Gate == nil {
		res.Outcomes = append(res.Outcomes, Outcome{
			Kind: KindCheck, Phase: spec.Name, Name: "no check", Reason: spec.Name + " has no check, so that nothing was shown",
		})
	}
	res.Outcomes = append(res.Outcomes, j.predict(spec)...)
	for _, p := range spec.Proofs {
		res.Outcomes = append(res.Outcomes, j.prove(p, spec.Name))
	}
	for _, f := range spec.Faults {
		if !slices.ContainsFunc(spec.Proofs, func(p Proof) bool { return p.Step == f }) {
			res.Outcomes = append(res.Outcomes, j.prove(Proof{Step: f}, spec.Name))
		}
	}
	p := j.book.phase(spec.Name)
	res.Outcomes = append(res.Outcomes, p.reconcile()...)
	if t, err := p.traffic(); err == nil && t.Complete == "ok" {
		res.Origins = origins(t.Groups)
	}
	if p.loadErr == nil && p.load.Interrupted != "" {
		res.Outcomes = append(res.Outcomes, Outcome{
			Kind: KindCheck, Phase: spec.Name, Name: "load", Reason: "the load was interrupted: " + p.load.Interrupted,
		})
	}
	res.Verdict, res.Reason = sum(res.Outcomes)
	return res
}

func (j *runJudge) judge(stmt, phase string) Outcome {
	c := j.exprs[stmt]
	if c.err != nil {
		return Outcome{
			Kind: KindCheck, Phase: phase, Name: stmt, Expr: stmt, Verdict: Error,
			Reason: fmt.Sprintf("%s cannot be read: %v", stmt, c.err),
		}
	}
	return j.book.judge(c.expr, phase)
}

// prove judges a proof. One that does not hold is INCONCLUSIVE: a fault that did not fire says nothing about the mesh.
func (j *runJudge) prove(p Proof, phase string) Outcome {
	if strings.TrimSpace(p.Expr) == "" {
		why := "fault not proven: there is no proof for " + p.Step
		if p.Text != "" {
			why += ": " + p.Text
		}
		return Outcome{Kind: KindProof, Phase: phase, Name: p.Step, Text: p.Text, Reason: why}
	}
	out := j.judge(p.Expr, phase)
	out.Kind, out.Name, out.Text = KindProof, p.Step, p.Text
	if out.Verdict == Fail || out.Verdict == Inconclusive {
		out.Verdict, out.Reason = Inconclusive, "fault not proven: "+out.Reason
	}
	return out
}

// halt adds the halt to the phase that it broke off: the one whose load was interrupted, else the last that has a load.
func (j *runJudge) halt(phases []PhaseResult) {
	if j.man.Ended != record.Halted {
		return
	}
	var at *PhaseResult
	for i := range phases {
		ph := j.book.phase(phases[i].Name)
		if ph.loadErr != nil || phases[i].Name == Recovery {
			continue
		}
		at = &phases[i]
		if ph.load.Interrupted != "" {
			break
		}
	}
	if at == nil {
		return
	}
	at.Outcomes = append(at.Outcomes, Outcome{
		Kind: KindHalt, Phase: at.Name, Name: "halt", Verdict: Halted, Reason: orElse(j.man.Error, "a halt condition broke the run off"),
	})
	at.Verdict, at.Reason = sum(at.Outcomes)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// sum is the verdict of outcomes, and the reason of the first that decided it.
func sum(outcomes []Outcome) (Verdict, string) {
	if len(outcomes) == 0 {
		return Inconclusive, "nothing was judged"
	}
	vs := make([]Verdict, 0, len(outcomes))
	for _, o := range outcomes {
		vs = append(vs, o.Verdict)
	}
	worst := Worst(vs...)
	if worst == Pass {
		return Pass, held(outcomes)
	}
	i := slices.IndexFunc(outcomes, func(o Outcome) bool { return o.Verdict == worst })
	return worst, outcomes[i].Reason
}

// maxFigures bounds the measures that a reason quotes.
const maxFigures = 3

// held says how many checks held, and by which figures the faults were proven.
func held(outcomes []Outcome) string {
	checks, proofs := 0, 0
	var figures []string
	for _, o := range outcomes {
		switch o.Kind {
		case KindCheck, KindGate:
			checks++
		case KindProof:
			proofs++
			for _, m := range o.Measures {
				if f := m.short(); len(figures) < maxFigures && !slices.Contains(figures, f) {
					figures = append(figures, f)
				}
			}
		}
	}
	s := counted(checks, "check") + " held"
	if proofs > 0 {
		s += ", fault proven (" + strings.Join(figures, ", ") + ")"
	}
	return s
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// conclude gives the run's verdict and its one deciding reason.
func (j *runJudge) conclude(res Result) (Verdict, string) {
	outcomes := []Outcome{j.ending()}
	for _, p := range res.Phases {
		for _, o := range p.Outcomes {
			if o.Verdict != Pass {
				o.Reason = p.Name + ": " + o.Reason
			}
			outcomes = append(outcomes, o)
		}
	}
	if len(res.Phases) == 0 {
		outcomes = append(outcomes, Outcome{Reason: "the run has no phase, so that nothing was judged"})
	}
	outcomes = append(outcomes, Outcome{Kind: KindRollback, Verdict: res.Rollback.Verdict, Reason: "rollback: " + res.Rollback.Reason})
	verdict, reason := sum(outcomes)
	if verdict == Pass {
		return Pass, reason + ", rollback verified"
	}
	if verdict == Fail {
		if i := slices.IndexFunc(outcomes, func(o Outcome) bool { return o.Kind == KindProof && o.Verdict == Inconclusive }); i >= 0 {
			reason += "; and " + outcomes[i].Reason
		}
	}
	return verdict, reason
}

// ending is what the manifest says of how the run ended.
func (j *runJudge) ending() Outcome {
	m := j.man
	o := Outcome{Kind: "run", Verdict: Error}
	switch {
	case m.End == nil:
		o.Reason = "the run was killed: run.json has no end"
	case m.Ended == record.Broken || m.Error != "" && m.Ended == record.Completed:
		o.Reason = orElse(m.Error, "the run broke off with an error that was not recorded")
	case m.Ended == record.Halted:
		o.Verdict, o.Reason = Halted, "halted: "+orElse(m.Error, "a halt condition broke the run off")
	case m.Ended == record.Lost:
		o.Verdict, o.Reason = Inconclusive, orElse(m.Error, "a worker of the load was lost")
	case m.Ended == record.Reverted:
		o.Verdict, o.Reason = Inconclusive, orElse(m.Error, "a change was reverted")
	case m.Ended == record.Interrupted:
		o.Verdict, o.Reason = Inconclusive, "interrupted by "+orElse(m.Signal, "a signal")
	case m.Ended == record.Completed:
		o.Verdict, o.Reason = Pass, "the run completed"
	default:
		o.Reason = fmt.Sprintf("run.json says that the run ended %q, which is not known", m.Ended)
	}
	return o
}

// rollback judges the rollback by what the run noted of it, and its last part also by the recovery phase.
func rollback(man record.Manifest, phases []PhaseResult) PhaseResult {
	res := PhaseResult{Name: "rollback"}
	add := func(name string, v Verdict, reason string) {
		res.Outcomes = append(res.Outcomes, Outcome{Kind: KindRollback, Phase: res.Name, Name: name, Verdict: v, Reason: reason})
	}
	for _, e := range man.Rollback.Errors {
		add("errors", Fail, e)
	}
	if !man.Rollback.Tried && len(man.Rollback.Errors) == 0 {
		add("tried", Inconclusive, "the rollback was not tried")
		res.Verdict, res.Reason = sum(res.Outcomes)
		return res
	}
	part := func(name, noted, good string) {
		switch noted {
		case "ok":
			add(name, Pass, good)
		case "":
			add(name, Inconclusive, "not verified: "+good)
		default:
			add(name, Fail, noted)
		}
	}
	part("objects", man.Rollback.Objects, "the objects are what they were before")
	part("proxies", man.Rollback.Proxies, "the proxies acknowledged the objects from before")
	base := man.Rollback.Baseline
	why, skipped := strings.CutPrefix(base, Skipped)
	i := slices.IndexFunc(phases, func(p PhaseResult) bool { return p.Name == Recovery })
	switch {
	case skipped:
		add("baseline", Pass, "not tried again, since the scenario skips it: "+why)
	case i >= 0 && (base == "" || base == "ok"):
		add("baseline", recovered(phases[i].Verdict), "the baseline again: "+phases[i].Reason)
	default:
		part("baseline", base, "the baseline holds again")
	}
	res.Verdict, res.Reason = sum(res.Outcomes)
	switch {
	case res.Verdict == Pass && skipped:
		res.Reason = "objects and proxies are as before; the baseline was skipped: " + why
	case res.Verdict == Pass:
		res.Reason = "objects, proxies and baseline are as before"
	}
	return res
}

// recovered is the verdict on the rollback that the recovery phase gives.
func recovered(v Verdict) Verdict {
	switch v {
	case Pass, Fail:
		return v
	default:
		return Inconclusive
	}
}
