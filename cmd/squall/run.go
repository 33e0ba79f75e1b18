package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/toolchain"
)

// runFlags are the flags of run.
type runFlags struct {
	planFlags
	selection
	toolFlags
	failFast bool
	output   format
}

// toolFlags are programs in place of Squall's own.
type toolFlags struct{ envoy, istiod string }

func (f *toolFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.envoy, "envoy", "", "Envoy's `PROGRAM` in place of the fetched one")
	c.Flags().StringVar(&f.istiod, "istiod", "", "istiod's `PROGRAM` (pilot-discovery) in place of the built one")
}

func (a *app) runCommand() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use:   "run [SCENARIO…]",
		Short: "Run scenarios, by name, file or folder, and judge them",
		Long: "Run scenarios one after another, each on a mesh of its own, and judge them. All of them are compiled before the first\n" +
			"one starts. The exit code is that of the worst run: " + worstFirst() + ".\n\n" +
			"In GitHub Actions the report goes to the step's summary, what did not pass is annotated, and verdict, run-id, run-ids\n" +
			"and exit-code are outputs of the step.",
		Example:           "  squall run circuit\n  squall run scenarios/circuit.yaml --set connections=5 -o json\n  squall run --label suite=httpbin --fail-fast",
		ValidArgsFunction: a.completeScenarios,
		RunE: func(c *cobra.Command, args []string) error {
			names, err := a.choose(args, f.selection)
			if err != nil {
				return invalid(err)
			}
			return a.runAll(c.Context(), f, names)
		},
	}
	a.addSelection(c, &f.selection)
	c.Flags().BoolVar(&f.failFast, "fail-fast", false, "start no further run after one that did not pass")
	a.addPlanFlags(c, &f.planFlags)
	f.toolFlags.add(c)
	output(c, &f.output)
	return c
}

// worstFirst lists the exit codes of runs, the worst first.
func worstFirst() string {
	var out []string
	for _, c := range exitCodes() {
		if c.code != exitUsage {
			out = append(out, fmt.Sprint(c.code))
		}
	}
	return strings.Join(out, ", ")
}

// finished is a run that is over, or that was not started.
type finished struct {
	name   string
	result check.Result
	code   int
	err    error // the run's record, judgement or report is not whole
	notRun string
}

// runAll runs the scenarios one after another.
func (a *app) runAll(ctx context.Context, f *runFlags, names []string) error {
	plans, err := a.compileAll(names, &f.planFlags)
	if err != nil {
		return invalid(err)
	}
	config := a.config(&f.planFlags)
	if config.Tools, err = a.tools(ctx, f.toolFlags); err != nil {
		return environment(err)
	}
	var all []finished
	stop := ""
	for _, p := range plans {
		if stop != "" {
			all = append(all, finished{name: p.Scenario.Metadata.Name, notRun: stop, code: signalCode(ctx, exitInconclusive)})
			continue
		}
		done := a.runOne(ctx, config, p, f.output)
		if done.err != nil {
			fmt.Fprintln(a.stderr, message(done.err))
		}
		all = append(all, done)
		switch {
		case context.Cause(ctx) != nil:
			stop = context.Cause(ctx).Error()
		case f.failFast && done.code != exitPass:
			stop = "--fail-fast after " + done.name
		}
	}
	err = errors.Join(a.summarize(f.output, all), writeOutputs(all))
	if err != nil {
		return environment(err)
	}
	return ended(worstOf(all).code)
}

// worstOf is the run that decides the exit code: the first of those with the worst one.
func worstOf(all []finished) finished {
	out := all[0]
	for _, r := range all[1:] {
		if r.code != out.code && worst(r.code, out.code) == r.code {
			out = r
		}
	}
	return out
}

func (a *app) tools(ctx context.Context, f toolFlags) (toolchain.Tools, error) {
	opts, err := a.toolOptions(f)
	if err != nil {
		return toolchain.Tools{}, err
	}
	return toolchain.Ensure(ctx, opts)
}

func (a *app) toolOptions(f toolFlags) (toolchain.Options, error) {
	wd, err := os.Getwd()
	if err != nil {
		return toolchain.Options{}, err
	}
	root, err := toolchain.FindRoot(wd)
	return toolchain.Options{Root: root, Envoy: f.envoy, Istiod: f.istiod, Progress: toolchain.Lines(a.stderr)}, err
}

// runOne runs one scenario, judges it and prints its result. Whatever is not whole makes a pass an error.
func (a *app) runOne(ctx context.Context, c engine.Config, k *engine.Compiled, to format) finished {
	out := finished{name: k.Scenario.Metadata.Name}
	progress := a.progress()
	got, err := c.Run(ctx, k, progress)
	progress.Done()
	if got != nil {
		out.result, out.code = got.Result, got.Result.ExitCode
		err = errors.Join(err, a.print(got.Data, to), a.annotate(got.Data, to))
	}
	if err != nil {
		out.err = fmt.Errorf("%s: %w", out.name, err)
		out.code = worst(out.code, exitEnvironment)
	}
	return out
}

// summarize prints, after several runs, one line for each and the sum. JSON has each result already.
func (a *app) summarize(to format, all []finished) error {
	if len(all) == 1 || to == asJSON {
		return nil
	}
	var b strings.Builder
	b.WriteByte('\n')
	counts := map[string]int{}
	var verdicts []string
	for _, r := range all {
		verdict, text := r.verdict()
		if counts[verdict]++; counts[verdict] == 1 {
			verdicts = append(verdicts, verdict)
		}
		fmt.Fprintf(&b, "%-12s %s: %s\n", verdict, r.name, text)
	}
	slices.Sort(verdicts)
	for i, v := range verdicts {
		verdicts[i] = fmt.Sprintf("%d %s", counts[v], v)
	}
	sum, _ := worstOf(all).verdict()
	fmt.Fprintf(&b, "%s: of %d runs %s\n", sum, len(all), strings.Join(verdicts, ", "))
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// verdict is what is said of the run in one line.
func (r finished) verdict() (name, text string) {
	switch {
	case r.notRun != "":
		return "NOT RUN", r.notRun
	case r.err != nil && r.code == exitEnvironment:
		text, _, _ = strings.Cut(r.err.Error(), "\n")
		return check.Error.String(), text
	}
	return r.result.Verdict.String(), r.result.Reason
}
