package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"squall/internal/engine"
	"squall/internal/load"
	"squall/internal/report"
	"squall/internal/run"
	"squall/internal/toolchain"
)

// runFlags are the flags of commands that need a compiled scenario.
type runFlags struct {
	set    map[string]string
	images map[string]string
	envoy  string
	istiod string
	output string
	env    string
}

func (f *runFlags) add(c *cobra.Command) {
	c.Flags().StringToStringVar(&f.set, "set", nil, "set a variable of the scenario, name=value")
	c.Flags().StringToStringVar(&f.images, "image", nil, "a program in place of an image on the local mesh, NAME=PROGRAM [ARG…]")
	c.Flags().StringVar(&f.env, "env", "local", "where to run: local")
	c.Flags().StringVarP(&f.output, "output", "o", "text", "what to print: text or json")
}

func (f *runFlags) check() error {
	if f.env != "local" {
		return invalid(fmt.Errorf("environment %q is not known: there is local", f.env))
	}
	if f.output != "text" && f.output != "json" {
		return invalid(fmt.Errorf("output %q is not known: there is text and json", f.output))
	}
	return nil
}

func (a *app) runCommand() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use: "run SCENARIO…", Short: "Run scenarios, by name or file, and judge them", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeScenarios,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return a.runAll(c.Context(), f, args)
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.envoy, "envoy", "", "Envoy's program instead of the fetched one")
	c.Flags().StringVar(&f.istiod, "istiod", "", "istiod's program (pilot-discovery) instead of the built one")
	return c
}

// runAll runs the scenarios one after another. The exit code is that of the worst run; a failed rollback wins over all.
func (a *app) runAll(ctx context.Context, f *runFlags, names []string) error {
	var plans []*engine.Compiled
	var errs []error
	for _, n := range names {
		p, err := a.compile(n, f)
		errs = append(errs, err)
		plans = append(plans, p)
	}
	if err := errors.Join(errs...); err != nil {
		return invalid(err)
	}
	tools, err := a.tools(ctx, f)
	if err != nil {
		return environment(err)
	}
	worst := 0
	for _, p := range plans {
		code, err := a.runOne(ctx, f, p, tools)
		if err != nil {
			return environment(err)
		}
		if code == 6 || worst == 0 || worst != 6 && code != 0 && code < worst {
			worst = max(code, 0)
		}
		if context.Cause(ctx) != nil {
			break
		}
	}
	if worst != 0 {
		return &codeError{code: worst}
	}
	return nil
}

func (a *app) compile(name string, f *runFlags) (*engine.Compiled, error) {
	s, err := a.load(name, f.set)
	if err != nil {
		return nil, err
	}
	return a.config(f).Compile(s)
}

func (a *app) config(f *runFlags) engine.Config {
	return engine.Config{Fixtures: a.fixtures, Reports: a.reports, Env: f.env, Images: f.images}
}

func (a *app) tools(ctx context.Context, f *runFlags) (toolchain.Tools, error) {
	wd, err := os.Getwd()
	if err != nil {
		return toolchain.Tools{}, err
	}
	root, err := toolchain.FindRoot(wd)
	if err != nil {
		return toolchain.Tools{}, err
	}
	return toolchain.Ensure(ctx, toolchain.Options{Root: root, Envoy: f.envoy, Istiod: f.istiod, Progress: toolchain.Lines(a.stderr)})
}

// runOne runs one scenario, judges it, writes its report and prints the result.
func (a *app) runOne(ctx context.Context, f *runFlags, c *engine.Compiled, tools toolchain.Tools) (int, error) {
	config := a.config(f)
	config.Tools = tools
	progress := a.progress()
	out, err := config.Run(ctx, c, progress)
	progress.done()
	if out == nil {
		return 0, err
	}
	return out.Result.ExitCode, errors.Join(err, a.print(out, f.output))
}

// print prints a judged run.
func (a *app) print(out *engine.Outcome, output string) error {
	if output == "json" {
		return report.JSON(a.stdout, out.Result)
	}
	return report.Text(a.stdout, out.Data, report.Options{Color: a.colour(a.stdout), Width: a.width(a.stdout)})
}

// progress shows what a run does on stderr.
func (a *app) progress() *progress {
	if f, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		return &progress{to: report.NewTTY(a.stderr, a.width(a.stderr))}
	}
	return &progress{to: report.NewPlain(a.stderr)}
}

// colour reports whether w is a terminal that colours are wanted on (no-color.org).
func (a *app) colour(w any) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) || os.Getenv("FORCE_COLOR") != ""
}

func (a *app) width(w any) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}

// progress passes a run's progress on to the one that is shown.
type progress struct {
	mu sync.Mutex
	to report.Progress
}

var _ run.Progress = (*progress)(nil)

func (p *progress) Phase(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to.Phase(name)
}

func (p *progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to.Say(format, args...)
}

func (p *progress) Load(phase string, elapsed time.Duration, asked int64, s load.Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to.Load(report.Snapshot{
		Phase: phase, Elapsed: elapsed, Done: s.Count, Asked: asked, QPS: float64(s.Count) / max(elapsed.Seconds(), 1e-9), Codes: s.Codes,
	})
}

func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to.Done()
}
