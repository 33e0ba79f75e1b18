package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/record"
	"squall/internal/report"
	"squall/internal/scenario"
)

func (a *app) validateCommand() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use: "validate [SCENARIO…]", Short: "Check scenarios without running anything; all of them when none is named",
		ValidArgsFunction: a.completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				all, err := scenario.List(a.scenarios)
				if err != nil {
					return invalid(err)
				}
				for _, l := range all {
					args = append(args, l.File)
				}
			}
			var errs []error
			for _, n := range args {
				p, err := a.compile(n, f)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(a.stdout, "%s is valid: %d phases, %d statements\n", n, len(p.Plan.Spec.Phases), statements(p.Plan.Spec))
			}
			if err := errors.Join(errs...); err != nil {
				return invalid(err)
			}
			return nil
		},
	}
	f.add(c)
	return c
}

func statements(s check.Spec) int {
	n := 0
	for _, p := range s.Phases {
		n += len(p.Checks) + len(p.Proofs)
	}
	return n
}

func (a *app) planCommand() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use: "plan SCENARIO", Short: "Print what a run would do, every object included; nothing is started", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			p, err := a.compile(args[0], f)
			if err != nil {
				return invalid(err)
			}
			if f.output == "json" {
				return a.printJSON(p.Plan.Document())
			}
			_, err = fmt.Fprint(a.stdout, p.Plan.Document())
			return err
		},
	}
	f.add(c)
	return c
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the scenarios", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := scenario.List(a.scenarios)
			if err != nil {
				return invalid(err)
			}
			w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
			broken := 0
			for _, l := range all {
				if l.Err != nil {
					broken++
					fmt.Fprintf(w, "%s\tbroken: %v\n", l.File, strings.SplitN(l.Err.Error(), "\n", 2)[0])
					continue
				}
				fmt.Fprintf(w, "%s\t%s\n", l.Name, l.Hypothesis)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if broken > 0 {
				return invalid(fmt.Errorf("%d of %d scenarios are broken; 'squall validate' says how", broken, len(all)))
			}
			return nil
		},
	}
}

func (a *app) describeCommand() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use: "describe SCENARIO", Short: "Say what a scenario does", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.load(args[0], f.set)
			if err != nil {
				return err
			}
			return a.describe(s)
		},
	}
	f.add(c)
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
	row("file", s.File)
	row("hypothesis", s.Spec.Hypothesis)
	row("description", strings.TrimSpace(s.Spec.Description))
	row("fixtures", strings.Join(s.Spec.Fixtures, ", "))
	row("mTLS", s.Spec.Mesh.MTLS)
	for _, name := range slices.Sorted(maps.Keys(s.Spec.Variables)) {
		row("variable "+name, fmt.Sprint(s.Spec.Variables[name].Value))
	}
	for _, c := range s.Spec.Baseline.Checks {
		row("baseline", c.Value)
	}
	for _, st := range s.Spec.Stages {
		row("stage "+st.Name, strings.TrimSpace(st.Description))
		for _, step := range st.Apply {
			row("  apply", step.String())
		}
		for _, c := range st.Checks {
			row("  check", c.Value)
		}
	}
	return w.Flush()
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema [scenario|result]", Short: "Print the JSON Schema of scenarios, or of result.json", Args: cobra.MaximumNArgs(1),
		ValidArgs: []string{"scenario", "result"},
		RunE: func(_ *cobra.Command, args []string) error {
			make := scenario.Schema
			if len(args) == 1 && args[0] == "result" {
				make = report.Schema
			} else if len(args) == 1 && args[0] != "scenario" {
				return invalid(fmt.Errorf("no schema %q: there is scenario and result", args[0]))
			}
			b, err := make()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, strings.TrimSpace(string(b)))
			return err
		},
	}
}

func (a *app) judgeCommand() *cobra.Command {
	output := "text"
	c := &cobra.Command{
		Use: "judge RUN", Short: "Judge a saved run again, from its files alone", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := a.judge(args[0])
			if err != nil {
				return err
			}
			if err := a.print(out, output); err != nil || out.Result.ExitCode == 0 {
				return err
			}
			return &codeError{code: out.Result.ExitCode}
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "what to print: text or json")
	return c
}

// judge opens a run, by its path or its id, and judges it.
func (a *app) judge(name string) (*engine.Outcome, error) {
	path := name
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(a.reports, name)
	}
	rec, err := record.Open(path)
	if err != nil {
		return nil, invalid(err)
	}
	out, err := engine.Judge(rec)
	if err != nil {
		return nil, invalid(err)
	}
	return out, nil
}

func (a *app) reportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "report RUN", Short: "Write a saved run's report.html, junit.xml and result.json again", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := a.judge(args[0])
			if err != nil {
				return err
			}
			if err := report.WriteFiles(out.Record, out.Data); err != nil {
				return environment(err)
			}
			_, err = fmt.Fprintln(a.stdout, filepath.Join(out.Record.Dir(), "report.html"))
			return err
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the versions", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := engine.Versions()
			for _, name := range slices.Sorted(maps.Keys(v)) {
				fmt.Fprintf(a.stdout, "%s %s\n", name, v[name])
			}
			return nil
		},
	}
}

func (a *app) completeScenarios(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := scenario.List(a.scenarios)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, l := range all {
		if l.Err == nil {
			out = append(out, l.Name+"\t"+l.Hypothesis)
		}
	}
	return out, cobra.ShellCompDirectiveDefault
}

func (a *app) completeRuns(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	entries, err := os.ReadDir(a.reports)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
