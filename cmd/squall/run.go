package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"squall/internal/scenario"
	"squall/internal/toolchain"
)

// runFlags are the flags of run.
type runFlags struct {
	planFlags
	selection
	toolFlags
	clusterFlags
	failFast bool
	jobs     int
	repeat   int
	keep     keeping
	output   format
	records  recordsIn
	via      recordsVia
	page     pageFlags
}

// many says whether runs may be side by side or are repeated, so that each is only told in a line.
func (f *runFlags) many() bool { return f.jobs > 1 || f.repeat > 1 }

// keeping says which runs' folders stay.
type keeping string

const (
	keepAll    keeping = "all"
	keepFailed keeping = "failed"
)

// String is the flag's value.
func (k *keeping) String() string { return string(*k) }

// Set reads the flag.
func (k *keeping) Set(s string) error { return oneOf(k, s, keepAll, keepFailed) }

// Type is what the help calls the value.
func (k *keeping) Type() string { return "WHICH" }

// toolFlags are programs in place of Squall's own.
type toolFlags struct{ envoy, istiod string }

func (f *toolFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.envoy, "envoy", "", "Envoy's `PROGRAM` in place of the fetched one")
	c.Flags().StringVar(&f.istiod, "istiod", "", "istiod's `PROGRAM` (pilot-discovery) in place of the built one")
}

func (a *app) runCommand() *cobra.Command {
	f := &runFlags{keep: keepAll}
	c := &cobra.Command{
		Use:   "run [SCENARIO…]",
		Short: "Run scenarios, by name, file or folder, and judge them",
		Long: "Run scenarios, each on a mesh of its own, and judge them. All of them are compiled before the first one starts. With\n" +
			"--jobs several run side by side; with --repeat a table shows how often each had which verdict. The exit code is that of the worst run: " + worstFirst() + ".\n\n" +
			"In GitHub Actions the report goes to the step's summary, what did not pass is annotated, and verdict, run-id, run-ids\n" +
			"and exit-code are outputs of the step.",
		Example:           "  squall run circuit\n  squall run scenarios/circuit.yaml --set connections=5 -o json\n  squall run --label suite=httpbin --fail-fast\n  squall run interface-errors --ui\n  squall run --all --jobs 4 --repeat 20 --keep failed",
		ValidArgsFunction: a.completeScenarios,
		RunE: func(c *cobra.Command, args []string) error {
			names, err := a.choose(args, f.selection)
			if err != nil {
				return invalid(err)
			}
			f.page.wanted = c.Flags().Changed(f.page.listenFlag)
			return a.runAll(c.Context(), f, names)
		},
	}
	a.addSelection(c, &f.selection)
	c.Flags().BoolVar(&f.failFast, "fail-fast", false, "start no further run after one that did not pass")
	c.Flags().IntVarP(&f.jobs, "jobs", "j", 1, "how many `RUNS` are side by side; what passes is then only told in a line")
	c.Flags().IntVar(&f.repeat, "repeat", 1, "run each scenario so many `TIMES`")
	c.Flags().Var(&f.keep, "keep", "whose folders stay: all, or those of runs that did not pass (failed)")
	c.Flags().Var(&f.records, "records", "keep the interface traffic of each run in `STORE`: sqlite, a file in its folder, or a file that says where Elasticsearch is")
	c.Flags().Var(&f.via, "records-via", "how proxies tell of interface traffic: als, while the load runs, or accessLog, which is read when it is over and takes nothing from it; it is kept as by --records sqlite, unless that or the scenario says where")
	complete(c, "records-via", cobra.FixedCompletions([]string{scenario.ViaALS, scenario.ViaAccessLog}, cobra.ShellCompDirectiveNoFileComp))
	f.page.add(c)
	complete(c, "keep", cobra.FixedCompletions([]string{string(keepAll), string(keepFailed)}, cobra.ShellCompDirectiveNoFileComp))
	a.addPlanFlags(c, &f.planFlags)
	f.toolFlags.add(c)
	f.clusterFlags.add(c)
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
