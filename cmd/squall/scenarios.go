package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"squall/internal/engine"
	"squall/internal/plan"
	"squall/internal/scenario"
)

// environmentName is a kind of mesh.
type environmentName string

const (
	envLocal   environmentName = engine.Local
	envKind    environmentName = engine.Kind
	envCluster environmentName = engine.OnCluster
)

// String is the flag's value.
func (e *environmentName) String() string { return string(*e) }

// Set reads the flag.
func (e *environmentName) Set(s string) error { return oneOf(e, s, envLocal, envKind, envCluster) }

// Type is what the help calls the value.
func (e *environmentName) Type() string { return "ENVIRONMENT" }

// planFlags are the flags of commands that need a compiled scenario.
type planFlags struct {
	set     pairs
	images  pairs
	env     environmentName
	timeout time.Duration
	// namespace takes the place of the scenario's own.
	namespace string
	generator generatorName
}

// generatorName is what makes the calls of loads.
type generatorName plan.Generator

// String is the flag's value.
func (g *generatorName) String() string { return string(*g) }

// Set reads the flag.
func (g *generatorName) Set(s string) error {
	return oneOf(g, s, generatorName(plan.Own), generatorName(plan.Fortio))
}

// Type is what the help calls the value.
func (g *generatorName) Type() string { return "GENERATOR" }

func (a *app) addPlanFlags(c *cobra.Command, f *planFlags) {
	f.env, f.generator = envLocal, generatorName(plan.Own)
	a.addSet(c, f)
	addImages(c, &f.images)
	c.Flags().Var(&f.env, "env", "where to run: local, kind, the cluster that 'squall kind up' makes, or cluster, any one with Istio")
	c.Flags().StringVar(&f.namespace, "namespace", "", "`NAMESPACE` in place of the scenario's own")
	c.Flags().DurationVar(&f.timeout, "timeout", 0, "the longest `TIME` that a run may take without its rollback, in place of the scenario's own")
	c.Flags().Var(&f.generator, "load-generator", "what makes the calls on a cluster: squall, its own image, or fortio, the stock image, which can do less")
	complete(c, "env", completeEnvironment)
	complete(c, "load-generator", cobra.FixedCompletions([]string{string(plan.Own), string(plan.Fortio)}, cobra.ShellCompDirectiveNoFileComp))
}

func completeEnvironment(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{string(envLocal), string(envKind), string(envCluster)}, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) addSet(c *cobra.Command, f *planFlags) {
	c.Flags().Var(&f.set, "set", "set a variable of the scenario")
	complete(c, "set", a.completeVariables)
}

func addImages(c *cobra.Command, images *pairs) {
	c.Flags().Var(images, "image", "what stands for an image: on the local mesh `IMAGE=PROGRAM`, arguments behind the program, on a cluster another image")
}

// pairs is a flag that may be given several times, each time as NAME=VALUE. The value may hold anything, commas too.
type pairs map[string]string

// String is the flag's value.
func (p *pairs) String() string { return joinMap(*p) }

// Set adds a pair.
func (p *pairs) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return errors.New("write NAME=VALUE")
	}
	if *p == nil {
		*p = pairs{}
	}
	(*p)[name] = value
	return nil
}

// Type is what the help calls the value.
func (p *pairs) Type() string { return "NAME=VALUE" }

// selection chooses scenarios.
type selection struct {
	all    bool
	labels pairs
}

func (a *app) addSelection(c *cobra.Command, s *selection) {
	c.Flags().BoolVar(&s.all, "all", false, "all scenarios")
	c.Flags().VarP(&s.labels, "label", "l", "the scenarios that have the label `KEY=VALUE`; given several times, all of them")
	complete(c, "label", a.completeLabels)
}

// load finds a scenario by its name in the folder of the scenarios, or by its path.
func (a *app) load(name string, set map[string]string) (*scenario.Scenario, error) {
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		return scenario.Load(name, scenario.Options{Set: set})
	}
	return scenario.Find(a.scenarios, name, scenario.Options{Set: set})
}

// choose lists the names, or files, of the scenarios that are meant: those named, with each folder standing for all in it, or
// those of the selection. To choose none is an error: nothing that runs must not look like a success.
func (a *app) choose(names []string, s selection) ([]string, error) {
	picked := s.all || len(s.labels) > 0
	if picked == (len(names) > 0) {
		return nil, errors.New("name scenarios, files or folders, or choose with --all or --label")
	}
	if picked {
		return a.filesOf(a.scenarios, s.labels)
	}
	var out []string
	for _, name := range names {
		if !a.isFolder(name) {
			out = append(out, name)
			continue
		}
		files, err := a.filesOf(name, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	return out, nil
}

// isFolder reports whether the name is that of a folder, and not of a scenario too.
func (a *app) isFolder(name string) bool {
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return false
	}
	if strings.ContainsRune(name, os.PathSeparator) {
		return true
	}
	var unknown *scenario.NotFoundError
	_, err = scenario.Find(a.scenarios, name, scenario.Options{})
	return errors.As(err, &unknown) || errors.Is(err, os.ErrNotExist)
}

// filesOf lists the files of the scenarios in a folder that have the labels. A broken file might have them, so it is listed.
func (a *app) filesOf(dir string, labels map[string]string) ([]string, error) {
	all, err := scenario.List(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, l := range all {
		if l.Err != nil || contains(l.Labels, labels) {
			out = append(out, l.File)
		}
	}
	if len(out) == 0 && len(labels) > 0 {
		return nil, fmt.Errorf("none of the %d scenarios in %s has the labels %s", len(all), dir, joinMap(labels))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no scenario in %s", dir)
	}
	return out, nil
}

func contains(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// config is what the runs of this command line share.
func (a *app) config(f *planFlags) engine.Config {
	return engine.Config{Fixtures: a.fixtures, Reports: a.reports, Env: string(f.env), Images: f.images, Generator: plan.Generator(f.generator)}
}

// compileAll compiles the scenarios; the error has the mistakes of all of them.
func (a *app) compileAll(names []string, f *planFlags) ([]*engine.Compiled, error) {
	var out []*engine.Compiled
	var errs []error
	for _, name := range names {
		p, err := a.compile(name, f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, p)
	}
	return out, errors.Join(errs...)
}

func (a *app) compile(name string, f *planFlags) (*engine.Compiled, error) {
	s, err := a.load(name, f.set)
	if err != nil {
		return nil, err
	}
	if f.namespace != "" {
		if why := validation.IsDNS1123Label(f.namespace); len(why) > 0 {
			return nil, fmt.Errorf("--namespace %q: %s", f.namespace, strings.Join(why, "; "))
		}
		s.Spec.Namespace = f.namespace
	}
	switch {
	case f.timeout < 0:
		return nil, fmt.Errorf("--timeout %s is negative", f.timeout)
	case f.timeout > 0:
		s.Spec.Timeout = scenario.Duration(f.timeout)
	}
	return a.config(f).Compile(s)
}
