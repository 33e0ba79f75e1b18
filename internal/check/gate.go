package check

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"squall/internal/record"
)

// What a scenario can expect of a gate.
const (
	Promote  = "promote"
	RollBack = "rollback"
)

// JudgeGate says whether a run goes on after the phase, from what is recorded of it: only when every condition of the gate holds.
// why is the first that does not, or that cannot be told. A phase without a gate promotes.
func JudgeGate(run Reader, spec Spec, phase string) (promote bool, why string) {
	i := slices.IndexFunc(spec.Phases, func(p PhaseSpec) bool { return p.Name == phase })
	if i < 0 || spec.Phases[i].Gate == nil {
		return true, ""
	}
	j := newRunJudge(run, record.Manifest{}, spec)
	for _, o := range j.promotions(spec.Phases[i]) {
		if o.Verdict != Pass {
			return false, o.Reason
		}
	}
	return true, ""
}

// promotions judges the conditions of the phase's gate; there are none without a gate.
func (j *runJudge) promotions(p PhaseSpec) []Outcome {
	if p.Gate == nil {
		return nil
	}
	out := make([]Outcome, 0, len(p.Gate.Promote))
	for _, s := range p.Gate.Promote {
		o := j.judge(s.Expr, p.Name)
		o.Kind = KindGate
		out = append(out, o)
	}
	return out
}

func promoted(outcomes []Outcome) bool {
	return !slices.ContainsFunc(outcomes, func(o Outcome) bool { return o.Verdict != Pass })
}

// gate judges by its judged conditions whether the gate did what the scenario expects of it. Where a rollback is expected, one condition that is known not to
// hold is enough.
func gate(p PhaseSpec, conditions []Outcome) []Outcome {
	if p.Gate.Expect != RollBack {
		return conditions
	}
	out := Outcome{Kind: KindGate, Phase: p.Name, Name: "rolls back"}
	exprs := make([]string, 0, len(conditions))
	verdicts := make([]Verdict, 0, len(conditions))
	for _, o := range conditions {
		exprs = append(exprs, o.Expr)
		verdicts = append(verdicts, o.Verdict)
		out.Measures = append(out.Measures, o.Measures...)
		out.Need = max(out.Need, o.Need)
	}
	out.Expr = strings.Join(exprs, " && ")
	refused := slices.Index(verdicts, Fail)
	unclear := slices.IndexFunc(verdicts, func(v Verdict) bool { return v != Pass && v != Fail })
	switch {
	case refused >= 0:
		out.Verdict, out.Reason = Pass, "the gate refused, as expected: "+conditions[refused].Reason
	case unclear >= 0:
		out.Verdict, out.Reason = Worst(Inconclusive, verdicts[unclear]), conditions[unclear].Reason
	default:
		out.Verdict, out.Reason = Fail, "the gate promoted, and a rollback was expected: "+conditions[0].Reason
	}
	return []Outcome{out}
}

// notRun is a phase after a gate that refused. A load that is recorded of it all the same contradicts the gate.
func (j *runJudge) notRun(p PhaseSpec, gate string) PhaseResult {
	res := PhaseResult{Name: p.Name, NotRun: "the gate of " + gate + " ended the run"}
	res.Reason = "not run: " + res.NotRun
	if err := j.book.phase(p.Name).loadErr; errors.Is(err, fs.ErrNotExist) {
		return res
	}
	o := Outcome{Kind: KindGate, Phase: p.Name, Name: "not run", Verdict: Error,
		Reason: fmt.Sprintf("there is a load of %s, although %s", p.Name, res.NotRun)}
	return PhaseResult{Name: p.Name, Verdict: Error, Reason: o.Reason, Outcomes: []Outcome{o}}
}
