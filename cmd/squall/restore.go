package main

import (
	"context"
	"fmt"
	"strings"

	"squall/internal/run"
)

// restore takes the open changes back through the API and verifies that the objects are what they were.
func (k *killed) restore(ctx context.Context, journal *run.Journal, out *restored) {
	fail := func(err error) {
		if err != nil {
			k.man.Rollback.Errors = append(k.man.Rollback.Errors, err.Error())
		}
	}
	open := journal.Open()
	where := k.owner.Cluster
	if where == nil {
		where = &run.Cluster{}
	}
	if err := where.Same(ctx, k.objects); err != nil {
		fail(err)
		k.man.Rollback.Objects, out.Text = "not verified", "nothing was restored"
		return
	}
	targets, err := journal.Targets(ctx, k.objects, run.All)
	fail(err)
	undone := where.Undo(ctx, k.objects, journal, k.man.RunID)
	fail(undone)
	targets = journal.Decided(targets)
	left, err := run.Leftovers(ctx, k.objects, targets)
	fail(err)
	k.man.Rollback.Objects = strings.Join(left, "; ")
	if err == nil && len(left) == 0 {
		k.man.Rollback.Objects = "ok"
	}
	out.Undone = append(out.Undone, journal.Done(open)...)
	switch {
	case len(k.man.Rollback.Errors) > 0 || len(left) > 0:
		out.Text = "the rollback failed; " + next(undone, k.man.RunID, k.man.RunID)
	case len(open) == 0:
		out.Text = "nothing was left to restore"
	default:
		out.Text = fmt.Sprintf("rolled back: %d objects are what they were before the run", len(targets))
		if kept := journal.Kept(); len(kept) > 0 { // then the run is done with, but what it changed is not what it was
			k.man.Rollback.Forgotten = true
			k.man.Rollback.Objects = "kept as others have changed it: " + strings.Join(kept, ", ")
			out.Text += ", and these are kept as others have changed them: " + strings.Join(kept, ", ")
		}
	}
}

// forget gives the rollback up, since the run's cluster is gone and what it changed with it.
func (k killed) forget() (restored, error) {
	out := restored{RunID: k.man.RunID, Env: k.man.Env, Text: "given up: nothing was sent, and nothing is verified"}
	if k.man.Env == string(envLocal) || !k.unfinished() {
		out.Text = "there is nothing to give up"
		return out, nil
	}
	k.man.Rollback.Tried, k.man.Rollback.Forgotten = true, true
	k.man.Rollback.Objects = "given up: the run's cluster is said to be gone"
	return out, k.markKilled(out.Text)
}
