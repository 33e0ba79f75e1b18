package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/report"
	"squall/internal/scenario"
)

// finished is a run that is over, or that was not started.
type finished struct {
	name   string
	result check.Result
	code   int
	err    error // the run's record, judgement or report is not whole
	notRun string
}

// batch is runs that belong together.
type batch struct {
	*app
	flags  *runFlags
	config engine.Config

	mu    sync.Mutex // guards what follows, and what is printed of runs side by side
	done  []finished // in the order of the tasks
	ended int
	stop  string // why no further run is started
}

// runAll runs the scenarios, as often and as many at a time as the flags say.
func (a *app) runAll(ctx context.Context, f *runFlags, names []string) error {
	if f.jobs < 1 || f.repeat < 1 {
		return invalid(errors.New("--jobs and --repeat are at least 1"))
	}
	if err := f.page.check(names, f.repeat); err != nil {
		return invalid(err)
	}
	plans, err := a.compileAll(names, &f.planFlags)
	if err != nil {
		return invalid(err)
	}
	for _, p := range plans {
		a.warn(p.Plan.Findings)
	}
	b := &batch{app: a, flags: f, config: a.config(&f.planFlags)}
	b.config.Records, b.config.RecordsVia = f.records.store, string(f.via)
	defer b.endPage(ctx)
	if err := a.openPage(ctx, f, plans[0], &b.config); err != nil {
		return err
	}
	if err := a.bring(ctx, f, plans, &b.config); err != nil {
		return err
	}
	b.done = make([]finished, f.repeat*len(plans))
	err = errors.Join(b.runPlans(ctx, plans), a.summarize(f, b.done), writeOutputs(b.done))
	code := worstOf(b.done).code
	if err != nil {
		return &codeError{worst(code, exitEnvironment), err}
	}
	return ended(code)
}

// runPlans goes through all tasks, side by side but for those whose scenario wants to be alone: they come last, one by one.
func (b *batch) runPlans(ctx context.Context, plans []*engine.Compiled) error {
	var group errgroup.Group
	group.SetLimit(b.flags.jobs)
	var alone []int
	for i := range b.done {
		if plans[i%len(plans)].Scenario.Metadata.Labels[scenario.AloneLabel] == "true" {
			alone = append(alone, i)
			continue
		}
		group.Go(func() error {
			b.run(ctx, i, plans[i%len(plans)], i >= len(plans))
			return nil
		})
	}
	err := group.Wait()
	for _, i := range alone {
		b.run(ctx, i, plans[i%len(plans)], i >= len(plans))
	}
	return err
}

// run is one task: the i-th run. A plan is run once; again needs it compiled anew, since its marks are the run's own.
func (b *batch) run(ctx context.Context, i int, k *engine.Compiled, again bool) {
	b.mu.Lock()
	stop := b.stop
	b.mu.Unlock()
	name := k.Scenario.Metadata.Name
	if stop != "" {
		b.finish(ctx, i, finished{name: name, notRun: stop, code: signalCode(ctx, exitInconclusive)})
		return
	}
	if again {
		var err error
		if k, err = b.config.Compile(k.Scenario); err != nil {
			b.finish(ctx, i, finished{name: name, err: err, code: exitEnvironment})
			return
		}
	}
	b.finish(ctx, i, b.runOne(ctx, k))
}

// finish takes note of a run, and says how far the batch is when that is not seen anyway.
func (b *batch) finish(ctx context.Context, i int, r finished) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done[i] = r
	b.ended++
	if r.err != nil {
		fmt.Fprintln(b.stderr, message(r.err))
	}
	if b.flags.many() && r.notRun == "" {
		verdict, _ := r.verdict()
		fmt.Fprintf(b.stderr, "%d of %d  %-12s %s (%.1f s)\n", b.ended, len(b.done), verdict, r.name, r.result.Seconds)
	}
	switch {
	case b.stop != "":
	case context.Cause(ctx) != nil:
		b.stop = context.Cause(ctx).Error()
	case b.flags.failFast && r.code != exitPass:
		b.stop = "--fail-fast after " + r.name
	}
}

// runOne runs one scenario, judges it and prints its result. Whatever is not whole makes a pass an error. Of many runs only what did
// not pass is printed whole.
func (b *batch) runOne(ctx context.Context, k *engine.Compiled) finished {
	out := finished{name: k.Scenario.Metadata.Name}
	progress := b.progress()
	if b.flags.many() {
		progress.Progress = report.Quiet{}
	}
	got, err := b.config.Run(ctx, k, progress)
	progress.Done()
	if got != nil {
		out.result, out.code = got.Result, got.Result.ExitCode
		if !b.flags.many() || out.code != exitPass || b.flags.output == asJSON {
			b.mu.Lock()
			err = errors.Join(err, b.print(got.Data, b.flags.output), b.annotate(got.Data, b.flags.output))
			b.mu.Unlock()
		}
		if b.flags.keep == keepFailed && out.code == exitPass && err == nil {
			err = os.RemoveAll(got.Record.Dir())
		}
	}
	if err != nil {
		out.err = fmt.Errorf("%s: %w", out.name, err)
		out.code = worst(out.code, exitEnvironment)
	}
	return out
}

// summarize prints, after several runs, one line for each and the sum. JSON has each result already.
func (a *app) summarize(f *runFlags, all []finished) error {
	if len(all) == 1 || f.output == asJSON {
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
		if f.repeat == 1 {
			if r.notRun == "" {
				text += fmt.Sprintf(" (%.1f s)", r.result.Seconds)
			}
			fmt.Fprintf(&b, "%-12s %s: %s\n", verdict, r.name, text)
		}
	}
	if f.repeat > 1 {
		b.WriteString(repeated(all))
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

// repeated is a table of scenarios that were run several times.
func repeated(all []finished) string {
	var names []string
	runs := map[string][]finished{}
	for _, r := range all {
		if runs[r.name] == nil {
			names = append(names, r.name)
		}
		runs[r.name] = append(runs[r.name], r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-32s %5s %5s %8s %8s  %s\n", "scenario", "runs", "PASS", "median", "longest", "other verdicts")
	for _, name := range names {
		passed := 0
		var seconds []float64
		var others []string
		for _, r := range runs[name] {
			seconds = append(seconds, r.result.Seconds)
			if verdict, _ := r.verdict(); verdict != check.Pass.String() {
				others = append(others, verdict+" "+r.result.RunID)
				continue
			}
			passed++
		}
		slices.Sort(seconds)
		n := len(seconds)
		fmt.Fprintf(&b, "%-32s %5d %5d %6.1f s %6.1f s  %s\n", name, n, passed, seconds[n/2], seconds[n-1], strings.Join(others, ", "))
	}
	return b.String()
}
