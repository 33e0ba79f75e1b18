package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/report"
)

// falsifyFlags are the flags of falsify.
type falsifyFlags struct {
	planFlags
	selection
	toolFlags
	clusterFlags
	jobs   int
	output format
}

func (a *app) falsifyCommand() *cobra.Command {
	f := &falsifyFlags{}
	c := &cobra.Command{
		Use:   "falsify [SCENARIO…]",
		Short: "Show that scenarios can fail: run each without one of its steps",
		Long: "Run each scenario once for each of its steps, without that step, and judge it by all that the whole scenario is judged by.\n" +
			"A run that passes all the same is a false green: the scenario does not notice whether the step is there. The exit code is\n" +
			"0 when no run passed, 1 when one did, 4 when one could not tell, and 3 or 6 as for run. Runs that showed what they should\n" +
			"leave no folder.",
		Example:           "  squall falsify circuit\n  squall falsify --all --jobs 4",
		ValidArgsFunction: a.completeScenarios,
		RunE: func(c *cobra.Command, args []string) error {
			names, err := a.choose(args, f.selection)
			if err == nil && f.jobs < 1 {
				err = errors.New("--jobs is at least 1")
			}
			if err != nil {
				return invalid(err)
			}
			return a.falsify(c.Context(), f, names)
		},
	}
	a.addSelection(c, &f.selection)
	c.Flags().IntVarP(&f.jobs, "jobs", "j", 1, "how many `RUNS` are side by side")
	a.addPlanFlags(c, &f.planFlags)
	f.toolFlags.add(c)
	f.clusterFlags.add(c)
	output(c, &f.output)
	return c
}

// doubt is one step left out, and what became of it.
type doubt struct {
	engine.Doubt `json:"-"`
	Scenario     string `json:"scenario"`
	Stage        string `json:"stage"`
	Step         string `json:"step"`
	Verdict      string `json:"verdict"` // of the run without the step; REFUSED when it cannot be planned
	Shown        bool   `json:"shown"`   // that the scenario needs the step
	Reason       string `json:"reason"`
	code         int
}

func (a *app) falsify(ctx context.Context, f *falsifyFlags, names []string) error {
	config := a.config(&f.planFlags)
	doubts, err := a.doubts(config, f, names)
	if err != nil {
		return invalid(err)
	}
	var plans []*engine.Compiled
	for _, d := range doubts {
		if d.Compiled != nil {
			plans = append(plans, d.Compiled)
		}
	}
	if err := a.bring(ctx, &runFlags{planFlags: f.planFlags, toolFlags: f.toolFlags, clusterFlags: f.clusterFlags, jobs: f.jobs}, plans, &config); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(f.jobs)
	var mu sync.Mutex
	for i := range doubts {
		group.Go(func() error {
			d := &doubts[i]
			d.try(ctx, config)
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(a.stderr, "%s: without %s in %s: %s\n", d.Scenario, d.Step, d.Stage, d.Verdict)
			return nil
		})
	}
	_ = group.Wait() // what went wrong is in the table
	codes := make([]int, 0, len(doubts))
	for _, d := range doubts {
		codes = append(codes, d.code)
	}
	if err := a.printDoubts(f.output, doubts); err != nil {
		return &codeError{worst(append(codes, exitEnvironment)...), err}
	}
	return ended(worst(codes...))
}

func (a *app) doubts(config engine.Config, f *falsifyFlags, names []string) ([]doubt, error) {
	var out []doubt
	var errs []error
	for _, name := range names {
		s, err := a.load(name, f.set)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list, err := config.Doubts(s)
		errs = append(errs, err)
		for _, d := range list {
			out = append(out, doubt{Doubt: d, Scenario: s.Metadata.Name, Stage: d.Stage, Step: d.Step})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("the scenarios have no step that could be left out")
	}
	return out, nil
}

// try runs the scenario without the step. Its folder is kept only when the run did not show what it should. A run that could not be made, or
// not be kept, is an error of this step alone.
func (d *doubt) try(ctx context.Context, config engine.Config) {
	switch cause := context.Cause(ctx); {
	case d.Err != nil:
		d.Verdict, d.Shown, d.Reason = "REFUSED", true, d.Err.Error() // a step that cannot be left out is needed
		return
	case cause != nil:
		d.Verdict, d.Reason, d.code = "NOT RUN", cause.Error(), signalCode(ctx, exitInconclusive)
		return
	}
	got, err := config.Run(ctx, d.Compiled, progress{report.Quiet{}})
	if err != nil {
		d.fail(err, got)
		return
	}
	r := got.Result
	d.Verdict, d.Reason = r.Verdict.String(), r.Reason
	switch {
	case r.ExitCode == exitRollback || bySignal(r.ExitCode) || r.Verdict == check.Error:
		d.code = r.ExitCode
		return
	case r.Verdict == check.Pass:
		d.code = exitFail
		return
	}
	d.Shown = true
	if err := os.RemoveAll(got.Record.Dir()); err != nil {
		d.fail(err, got)
	}
}

// fail notes what kept the step from being judged; got is as far as the run came, nil when it was not made.
func (d *doubt) fail(err error, got *engine.Outcome) {
	d.Verdict, d.Shown, d.Reason, d.code = check.Error.String(), false, err.Error(), exitEnvironment
	if got != nil {
		d.code = worst(got.Result.ExitCode, exitEnvironment)
	}
}

func (a *app) printDoubts(to format, doubts []doubt) error {
	if to == asJSON {
		return a.printJSON(doubts)
	}
	shown := 0
	for _, d := range doubts {
		mark := "FALSE GREEN"
		switch {
		case d.Shown:
			mark = "ok"
			shown++
		case d.code != exitFail:
			mark = "NOT SHOWN"
		}
		if _, err := fmt.Fprintf(a.stdout, "%-11s %s without %s in %s: %s: %s\n", mark, d.Scenario, d.Step, d.Stage, d.Verdict, d.Reason); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.stdout, "%d of %d steps are needed for a PASS\n", shown, len(doubts))
	return err
}
