package plan

import (
	"fmt"
	"slices"

	"squall/internal/check"
	"squall/internal/flowcontrol"
	"squall/internal/scenario"
	"squall/internal/step"
)

// SettingsChange is what a step changes of the flow control of a service.
type SettingsChange = step.SettingsChange

// flow notes the phase's changes of flow control, which the rules say nothing of.
func (b *builder) flow(steps []scenario.Step, phase *Phase, changes []SettingsChange) {
	phase.Settings = changes
	b.settings = step.Over(b.settings, slices.DeleteFunc(slices.Clone(changes), func(c SettingsChange) bool { return c.For > 0 }))
	for _, c := range changes {
		if c.Block {
			continue
		}
		if was, ok := b.flowPlace(c.At.Name); ok && was != c.At {
			i := slices.IndexFunc(steps, func(s scenario.Step) bool { return s.String() == c.Step })
			b.errs = append(b.errs, steps[max(0, i)].Problem("", fmt.Sprintf("asks for %s at %s, and an earlier step at %s", c.At.Name, describePlace(c.At), describePlace(was)),
				"write the same port, url and credentials in all steps of a service"))
			continue
		}
		b.addFlow(c.At)
		b.surprises = append(b.surprises, c.Step+": the rules do not tell what flow control refuses")
	}
}

func describePlace(p flowcontrol.Place) string {
	if c := p.Credentials; c != (flowcontrol.Credentials{}) {
		return fmt.Sprintf("%s with other credentials", p)
	}
	return p.String()
}

func (b *builder) flowPlace(name string) (flowcontrol.Place, bool) {
	i := slices.IndexFunc(b.plan.Flow, func(p flowcontrol.Place) bool { return p.Name == name })
	if i < 0 {
		return flowcontrol.Place{}, false
	}
	return b.plan.Flow[i], true
}

func (b *builder) addFlow(at flowcontrol.Place) {
	if _, known := b.flowPlace(at.Name); !known {
		b.plan.Flow = append(b.plan.Flow, at)
	}
}

// askedFlow are the services whose flow control checks ask, which steps or Services have to have.
type askedFlow struct {
	service check.FlowService
	text    scenario.Text
}

// asks notes the services whose flow control a check asks. They are found when all steps are known.
func (b *builder) asks(t scenario.Text, e *check.Expr) {
	for _, s := range e.FlowServices() {
		b.asked = append(b.asked, askedFlow{s, t})
	}
}

// findFlow finds the services that checks ask and that no step names.
func (b *builder) findFlow() {
	for _, a := range b.asked {
		if _, known := b.flowPlace(a.service.Name); known {
			continue
		}
		at, ok := step.FlowPlace(step.NewSet(b.objects), a.service.Name, b.scenario.Spec.Namespace)
		if !ok {
			names := slices.Clone(b.services)
			for _, p := range b.plan.Flow {
				names = append(names, p.Name)
			}
			b.errs = append(b.errs, scenario.Problem{
				Pos: a.text.At(a.service.Column), What: fmt.Sprintf("there is no service %q whose flow control could be asked", a.service.Name),
				Hint: scenario.DidYouMean(a.service.Name, names),
			})
			continue
		}
		b.addFlow(at)
	}
}
