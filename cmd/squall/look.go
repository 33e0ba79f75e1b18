package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/report"
	"squall/internal/scenario"
)

func (a *app) println(args ...any) error {
	_, err := fmt.Fprintln(a.stdout, args...)
	return err
}

// validated is what validate says of one scenario.
type validated struct {
	Scenario   string `json:"scenario"`
	File       string `json:"file"`
	Phases     int    `json:"phases"`
	Statements int    `json:"statements"` // checks and proofs
}

func (a *app) validateCommand() *cobra.Command {
	f, s := &planFlags{}, &selection{}
	var to format
	c := &cobra.Command{
		Use: "validate [SCENARIO…]", Short: "Check scenarios without running anything; all of them when none is named",
		Long:              "Compile scenarios, by name, file or folder, and report every mistake as file:line:column: path: what. Nothing is started.",
		ValidArgsFunction: a.completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			s.all = s.all || len(args) == 0 && len(s.labels) == 0
			names, err := a.choose(args, *s)
			if err != nil {
				return invalid(err)
			}
			plans, invalidErr := a.compileAll(names, f)
			list := make([]validated, 0, len(plans))
			for _, p := range plans {
				list = append(list, validated{
					Scenario: p.Scenario.Metadata.Name, File: p.Scenario.File, Phases: len(p.Plan.Spec.Phases), Statements: statements(p.Plan.Spec),
				})
			}
			if err := a.printValidated(list, to); err != nil {
				return err
			}
			if invalidErr != nil {
				return invalid(invalidErr)
			}
			return nil
		},
	}
	a.addSelection(c, s)
	a.addPlanFlags(c, f)
	output(c, &to)
	return c
}

func (a *app) printValidated(list []validated, to format) error {
	if to == asJSON {
		return a.printJSON(list)
	}
	for _, v := range list {
		if err := a.println(fmt.Sprintf("%s is valid: %d phases, %d statements (%s)", v.Scenario, v.Phases, v.Statements, v.File)); err != nil {
			return err
		}
	}
	return nil
}

func statements(s check.Spec) int {
	n := 0
	for _, p := range s.Phases {
		n += len(p.Checks) + len(p.Proofs)
	}
	return n
}

func (a *app) planCommand() *cobra.Command {
	f := &planFlags{}
	var to format
	c := &cobra.Command{
		Use: "plan SCENARIO", Short: "Print what a run would do, every object included; nothing is started", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.compile(args[0], f)
			if err != nil {
				return invalid(err)
			}
			a.warn(p.Plan.Findings)
			if to == asJSON {
				return a.printJSON(p.Plan.Document())
			}
			_, err = fmt.Fprint(a.stdout, p.Plan.Document())
			return err
		},
	}
	a.addPlanFlags(c, f)
	output(c, &to)
	return c
}

// entry is a scenario in a list.
type entry struct {
	Name       string            `json:"name"`
	Hypothesis string            `json:"hypothesis,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	File       string            `json:"file"`
	Error      string            `json:"error,omitempty"` // why it is broken
}

func (a *app) listCommand() *cobra.Command {
	var to format
	var want pairs
	c := &cobra.Command{
		Use: "list", Short: "List the scenarios", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := scenario.List(a.scenarios)
			if err != nil {
				return invalid(err)
			}
			list := []entry{}
			broken := 0
			for _, l := range all {
				e := entry{Name: l.Name, Hypothesis: l.Hypothesis, Labels: l.Labels, File: l.File}
				if l.Err != nil {
					broken++
					e.Error = l.Err.Error()
				}
				if l.Err != nil || contains(l.Labels, want) {
					list = append(list, e)
				}
			}
			if err := a.printList(list, to); err != nil {
				return err
			}
			if broken > 0 {
				return invalid(fmt.Errorf("%d of %d scenarios are broken; 'squall validate' says how", broken, len(all)))
			}
			return nil
		},
	}
	c.Flags().VarP(&want, "label", "l", "only the scenarios that have the label `KEY=VALUE`; given several times, all of them")
	complete(c, "label", a.completeLabels)
	output(c, &to)
	return c
}

func (a *app) printList(list []entry, to format) error {
	if to == asJSON {
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	for _, e := range list {
		name, text := e.Name, e.Hypothesis
		if e.Error != "" {
			first, _, _ := strings.Cut(e.Error, "\n")
			name, text = e.File, "broken: "+first
		}
		fmt.Fprintf(w, "%s\t%s\n", name, text)
	}
	return w.Flush()
}

func (a *app) describeCommand() *cobra.Command {
	f := &planFlags{}
	var to format
	c := &cobra.Command{
		Use: "describe SCENARIO", Short: "Say what a scenario does", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.load(args[0], f.set)
			if err != nil {
				return invalid(err)
			}
			if to == asJSON {
				return a.printJSON(s)
			}
			return a.describe(s)
		},
	}
	a.addSet(c, f)
	output(c, &to)
	return c
}

func (a *app) describe(s *scenario.Scenario) error {
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	row("name", s.Metadata.Name)
	row("labels", joinMap(s.Metadata.Labels))
	row("file", s.File)
	row("hypothesis", s.Spec.Hypothesis)
	row("description", oneLine(s.Spec.Description))
	row("fixtures", strings.Join(s.Spec.Fixtures, ", "))
	row("mTLS", s.Spec.Mesh.MTLS)
	for _, name := range slices.Sorted(maps.Keys(s.Spec.Variables)) {
		row("variable "+name, fmt.Sprint(s.Spec.Variables[name].Value))
	}
	row("no baseline", s.Spec.Baseline.Skip)
	for _, c := range s.Spec.Baseline.Checks {
		row("baseline", c.Value)
	}
	for _, st := range s.Spec.Stages {
		row("stage "+st.Name, " "+oneLine(st.Description))
		for _, step := range st.Apply {
			row("  apply", step.String())
		}
		for _, c := range st.Checks {
			row("  check", c.Value)
		}
	}
	for _, h := range s.Spec.Halt {
		row("halt", h.Value)
	}
	return w.Flush()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func joinMap(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ", ")
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema [scenario|result]", Short: "Print the JSON Schema of scenarios, or of result.json",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"scenario", "result"},
		RunE: func(_ *cobra.Command, args []string) error {
			schema := scenario.Schema
			if len(args) == 1 && args[0] == "result" {
				schema = report.Schema
			}
			b, err := schema()
			if err != nil {
				return err
			}
			return a.println(strings.TrimSpace(string(b)))
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	var to format
	c := &cobra.Command{
		Use: "version", Short: "Print the versions", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := engine.Versions()
			if to == asJSON {
				return a.printJSON(v)
			}
			for _, name := range slices.Sorted(maps.Keys(v)) {
				if err := a.println(name, v[name]); err != nil {
					return err
				}
			}
			return nil
		},
	}
	output(c, &to)
	return c
}
