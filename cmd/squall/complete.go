package main

import (
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"squall/internal/scenario"
)

// complete says how the shell completes a flag's value. A flag that the command does not have is a mistake of this program.
func complete(c *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

func (a *app) completeScenarios(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := scenario.List(a.scenarios)
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault // a path, then
	}
	var out []string
	for _, l := range all {
		if l.Err == nil {
			out = append(out, cobra.CompletionWithDesc(l.Name, l.Hypothesis))
		}
	}
	return out, cobra.ShellCompDirectiveDefault
}

// completeVariables offers the variables of the scenarios that are on the command line.
func (a *app) completeVariables(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, name := range args {
		s, err := a.load(name, nil)
		if err != nil {
			continue
		}
		for _, v := range slices.Sorted(maps.Keys(s.Spec.Variables)) {
			out = append(out, v+"=")
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeLabels offers the labels of the scenarios.
func (a *app) completeLabels(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := scenario.List(a.scenarios)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	set := map[string]bool{}
	for _, l := range all {
		for k, v := range l.Labels {
			set[k+"="+v] = true
		}
	}
	return slices.Sorted(maps.Keys(set)), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeRuns(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return folders(a.reports)
}

func (a *app) completeFixtures(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	out, _ := folders(a.fixtures)
	return out, cobra.ShellCompDirectiveDefault // or a path
}

func completeMeshes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := listMeshes()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, m := range all {
		out = append(out, m.ID)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func folders(dir string) ([]string, cobra.ShellCompDirective) {
	entries, err := os.ReadDir(dir)
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
