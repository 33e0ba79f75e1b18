package plan

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/lint"
	"squall/internal/load"
	"squall/internal/rules"
	"squall/internal/scenario"
	"squall/internal/step"
)

// lint adds what is not what it seems in the objects as a phase leaves them, each once.
func (b *builder) lint(steps []scenario.Step, changes []step.Change) {
	found, ignored := lint.Objects(b.objects)
	b.plan.Ignored = max(b.plan.Ignored, ignored)
	for _, f := range found {
		b.finding(lint.Placed{Pos: b.placeOf(f.Ref, steps, changes), Finding: f})
	}
}

// finding adds one, unless the scenario ignores it or has it already.
func (b *builder) finding(p lint.Placed) {
	if lint.Ignores(b.scenario.Metadata.Annotations[lint.IgnoreAnnotation], p.ID) {
		b.plan.Ignored++
		return
	}
	if !slices.ContainsFunc(b.plan.Findings, func(f lint.Placed) bool { return f.Pos == p.Pos && f.ID == p.ID && f.What == p.What }) {
		b.plan.Findings = append(b.plan.Findings, p)
	}
}

// placeOf is where the author wrote a part of an object: at a step that changes it, else in a fixture, else nowhere better than at the
// scenario's steps.
func (b *builder) placeOf(ref rules.Ref, steps []scenario.Step, changes []step.Change) scenario.Pos {
	if ref.Object == nil {
		return b.scenario.At("spec.stages")
	}
	id := idOf(ref.Object)
	at := slices.IndexFunc(changes, func(c step.Change) bool { return idOf(c.After) == id })
	if at >= 0 {
		i := slices.IndexFunc(steps, func(s scenario.Step) bool { return s.String() == changes[at].Step })
		return steps[max(0, i)].At("")
	}
	i := slices.IndexFunc(b.sources, func(m manifest) bool { return idOf(m.object) == id })
	if i >= 0 {
		return b.sources[i].source.At(ref.Path)
	}
	return b.scenario.At("spec.stages")
}

// lintStage adds what the stage's load and steps do not fit.
func (b *builder) lintStage(st *scenario.Stage, ls *scenario.LoadSpec, changes []step.Change) {
	b.lint(st.Apply, changes)
	if ls == nil {
		return
	}
	for _, s := range st.Apply {
		var percent float64
		switch spec := s.Spec.(type) {
		case *scenario.Delay:
			percent = float64(spec.Percent)
		case *scenario.Abort:
			percent = float64(spec.Percent)
		default:
			continue
		}
		if f, few := lint.FewFaults(s.At("percent"), percent, ls.Requests); few {
			b.finding(f)
		}
	}
	if !b.isDirect(ls) {
		return
	}
	target, ok := step.NewSet(b.objects).Resolve(hostOf(ls), b.scenario.Spec.Namespace)
	for _, c := range changes {
		i := slices.IndexFunc(st.Apply, func(s scenario.Step) bool { return s.String() == c.Step })
		if ok && i >= 0 && c.Host == target.FQDN && isCallersSide(c.After) {
			b.finding(lint.WithoutSidecar(st.Apply[i].At(""), c.After.GetKind()+" "+c.After.GetName()))
		}
	}
}

// lucky adds the statements that so few requests often leave undecided, though all goes as it is predicted.
func (b *builder) lucky(stmts []scenario.Text, spec load.Spec, predictions []check.Prediction) {
	for _, t := range stmts {
		e, err := check.Compile(t.Value, b.services)
		if err != nil || e.Enough() > spec.Requests {
			continue // which is reported
		}
		for _, p := range predictions {
			if f, ok := lint.Lucky(t.At(1), e, p, spec.Requests); ok {
				b.finding(f)
			}
		}
	}
}

func isCallersSide(u *unstructured.Unstructured) bool {
	return u.GetKind() == "VirtualService" || u.GetKind() == "DestinationRule" || u.GetKind() == "HTTPRoute"
}
