package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"squall/internal/check"
	"squall/internal/mesh"
	"squall/internal/record"
)

// back rolls the changes back, verifies that what was there is back, and lets the baseline's load run once more. The rollback works
// after ctx has ended, within rollbackWithin. failure is why the run did not get to its end, nil when it did.
func (r *runner) back(ctx context.Context, failure error) error {
	if r.objects == nil {
		r.man.Rollback = record.Rollback{Tried: true, Objects: "ok", Proxies: "ok"}
		return nil // nothing was there to be changed
	}
	undo, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), rollbackWithin, fmt.Errorf("the rollback took longer than %s", rollbackWithin))
	defer cancel()
	r.endFrees()
	start := time.Now()
	at := r.since()
	r.man.Rollback = r.undo(undo, failure)
	r.man.Rollback.Seconds = time.Since(start).Seconds()
	text := "rolled back"
	if errs := r.man.Rollback.Errors; len(errs) > 0 {
		text = "rollback failed: " + strings.Join(errs, "; ")
	}
	r.event(record.Event{At: at, Took: r.man.Rollback.Seconds, Kind: "rollback", Text: text})
	r.Progress.Say("%s after %.0f ms", text, r.man.Rollback.Seconds*1000)
	if skip := r.Plan.Scenario.Spec.Baseline.Skip; skip != "" {
		r.man.Rollback.Baseline = check.Skipped + skip
	}
	if !r.canRecover(failure) {
		return r.unsaved
	}
	err := r.phase(ctx, r.Plan.Recovery)
	if err != nil {
		err = r.explain(ctx, fmt.Errorf("recovery: %w", err))
	}
	r.stayed(ctx)
	return errors.Join(err, r.unsaved)
}

// stayed verifies that the objects are still what the rollback made them, when the recovery is over.
func (r *runner) stayed(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), gatherWithin)
	defer cancel()
	left, err := Leftovers(ctx, r.objects, r.originals)
	if err != nil {
		r.man.Rollback.Errors = append(r.man.Rollback.Errors, err.Error())
	}
	if len(left) > 0 && r.man.Rollback.Objects == "ok" {
		r.man.Rollback.Objects = "changed again after the rollback: " + strings.Join(left, "; ")
	}
}

// canRecover reports whether the baseline can be tried again: after a run that got to its end or was halted.
func (r *runner) canRecover(failure error) bool {
	var halt *haltError
	return r.Plan.Recovery != nil && (failure == nil || errors.As(failure, &halt))
}

// undo restores the objects and verifies it at the API and at the proxies.
func (r *runner) undo(ctx context.Context, failure error) record.Rollback {
	out := record.Rollback{Tried: true}
	fail := func(err error) {
		if err != nil {
			out.Errors = append(out.Errors, err.Error())
		}
	}
	changes := r.journal.asked(isChange)
	was, err := r.journal.live(ctx, r.objects, isChange)
	fail(err)
	originals := r.journal.targets(was, isChange)
	r.originals = originals
	undone := r.journal.Undo(ctx, r.objects, isChange)
	fail(r.undecided(undone))
	fail(r.settle(ctx))
	for _, c := range changes {
		if c.Deed != nil || r.journal.isOpen(c.Seq) {
			continue
		}
		if now, ok := was[c.Ref]; ok {
			r.changed = append(r.changed, object("rollback", "restored", c.Ref, now, originals[c.Ref]))
			delete(was, c.Ref) // each object once, in the order of the changes
		}
	}
	r.applied = nil
	left, err := Leftovers(ctx, r.objects, originals)
	fail(err)
	switch {
	case len(left) > 0:
		out.Objects = strings.Join(left, "; ")
	case err == nil:
		out.Objects = "ok"
	}
	var dead *meshError
	if errors.As(failure, &dead) || r.before == nil {
		return out // there is nobody left to acknowledge it
	}
	out.Proxies = r.verifyProxies(ctx, undone)
	r.unsaved = r.saveConfigs(ctx, "after")
	return out
}

// verifyProxies says whether the proxies have the configuration from before: "ok", or why not. Where an object is left to others they cannot.
func (r *runner) verifyProxies(ctx context.Context, undone error) string {
	var foreign *ForeignError
	if errors.As(undone, &foreign) {
		return "not as before, since what others have changed is left as it is"
	}
	if err := r.awaitBack(ctx); err != nil {
		return err.Error()
	}
	return "ok"
}

// undecided says how to decide about what others have changed, where there is something to decide after the run.
func (r *runner) undecided(err error) error {
	var foreign *ForeignError
	if r.mirror == nil && !r.journal.OpenOutside() || !errors.As(err, &foreign) {
		return err
	}
	return fmt.Errorf("%w; %s", err, HowToDecide(r.man.RunID))
}

// awaitBack waits until the proxies have the configuration from before. Of pods that a change of their workload brought, and that
// were not there before, it can only be awaited that they acknowledge all.
func (r *runner) awaitBack(ctx context.Context) error {
	r.silent, r.cut, r.stuck, r.held = nil, nil, nil, nil
	if r.workloads {
		if err := r.refresh(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, liveWithin, fmt.Errorf("not within %s", liveWithin))
	defer cancel()
	var known []record.Proxy
	for _, p := range r.proxies {
		if r.before[p.Pod] != nil {
			known = append(known, p)
		}
	}
	if err := r.awaitConfigs(ctx, known); err != nil {
		return err
	}
	return mesh.AwaitSettled(ctx, r.Env, r.proxies)
}
