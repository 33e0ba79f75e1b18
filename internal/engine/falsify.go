package engine

import (
	"fmt"
	"slices"

	"squall/internal/check"
	"squall/internal/scenario"
)

// Doubt is a scenario without one of its steps, judged by all that the whole scenario is judged by. When it passes, the scenario
// does not notice whether the step is there.
type Doubt struct {
	Stage, Step string
	// Compiled is the run without the step; nil when there can be none, for the reason in Err: that is as good as a failure.
	Compiled *Compiled
	Err      error
}

// Doubts makes a doubt of each step of the scenario, but for those of which the author says why nothing proves them, and those in
// stages that are not to be run, after a gate that is to roll back.
// The error is what is wrong with the scenario as it is.
func (c Config) Doubts(s *scenario.Scenario) ([]Doubt, error) {
	var out []Doubt
	for i, stage := range s.Spec.Stages {
		for j, step := range stage.Apply {
			if step.Unproven() != "" {
				continue
			}
			tag := newTag()
			whole, err := c.compile(s, tag)
			if err != nil {
				return nil, err
			}
			d := Doubt{Stage: stage.Name, Step: step.String()}
			if d.Compiled, err = c.compile(without(s, i, j), tag); err != nil {
				d.Err = fmt.Errorf("without %s in %s: %w", d.Step, d.Stage, err)
			} else {
				d.Compiled.Plan.Spec = whole.Plan.Spec
			}
			out = append(out, d)
		}
		if stage.Gate != nil && stage.Gate.Expect == check.RollBack {
			break
		}
	}
	return out, nil
}

// without is a copy of the scenario that lacks a step.
func without(s *scenario.Scenario, stage, step int) *scenario.Scenario {
	c := *s
	c.Spec.Stages = slices.Clone(s.Spec.Stages)
	st := &c.Spec.Stages[stage]
	st.Apply = slices.Delete(slices.Clone(st.Apply), step, step+1)
	return &c
}
