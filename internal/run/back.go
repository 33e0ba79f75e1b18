package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"squall/internal/mesh"
	"squall/internal/record"
)

// back rolls the changes back, verifies that what was there is back, and lets the baseline's load run once more. It works after
// ctx has ended, within rollbackWithin. failure is why the run did not get to its end, nil when it did.
func (r *runner) back(ctx context.Context, failure error) error {
	if r.objects == nil {
		r.man.Rollback = record.Rollback{Tried: true, Objects: "ok", Proxies: "ok"}
		return nil // nothing was there to be changed
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackWithin)
	defer cancel()
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
	if !r.canRecover(failure) {
		return nil
	}
	if err := r.phase(undoOr(ctx, undo, failure), r.Plan.Recovery); err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	return nil
}

// canRecover reports whether the baseline can be tried again: after a run that got to its end or was halted.
func (r *runner) canRecover(failure error) bool {
	var halt *haltError
	return r.Plan.Recovery != nil && (failure == nil || errors.As(failure, &halt))
}

// undoOr is the context for the recovery: the run's own, unless a halt has ended it.
func undoOr(run, undo context.Context, failure error) context.Context {
	if failure == nil {
		return run
	}
	return undo
}

// undo restores the objects and verifies it at the API and at the proxies.
func (r *runner) undo(ctx context.Context, failure error) record.Rollback {
	out := record.Rollback{Tried: true}
	fail := func(err error) {
		if err != nil {
			out.Errors = append(out.Errors, err.Error())
		}
	}
	changes := r.journal.Open()
	originals := Originals(changes)
	fail(r.journal.Undo(ctx, r.objects))
	for ref, before := range originals {
		now, err := r.objects.Get(ctx, ref)
		fail(err)
		r.changed = append(r.changed, object("rollback", "restored", ref, now, before))
	}
	left, err := Leftovers(ctx, r.objects, originals)
	fail(err)
	out.Objects = "ok"
	if len(left) > 0 {
		out.Objects = strings.Join(left, "; ")
	}
	var dead *meshError
	if errors.As(failure, &dead) || r.before == nil {
		return out // there is nobody left to acknowledge it
	}
	live, cancel := context.WithTimeoutCause(ctx, liveWithin, fmt.Errorf("not within %s", liveWithin))
	defer cancel()
	out.Proxies = "ok"
	if err := mesh.AwaitConfigs(live, r.Env, r.proxies, r.before); err != nil {
		out.Proxies = err.Error()
	}
	fail(r.saveConfigs(ctx, "after"))
	return out
}
