package main

import (
	"context"
	"fmt"
	"strings"

	"squall/internal/mesh"
	"squall/internal/run"
)

// locate finds the clusters of the runs. Of runs that were named all have to be found, before anything is sent; else those without one
// are lost.
func locate(runs []killed, flags *connection, named bool) error {
	for i := range runs {
		k := &runs[i]
		if k.lost != nil {
			continue
		}
		if k.lost = k.locate(flags); k.lost != nil && named {
			return k.lost
		}
	}
	return nil
}

// locate finds the cluster that the run was on: by the flags, else where the run says that it was. Nothing is sent.
func (k *killed) locate(flags *connection) error {
	if k.man.Env == string(envLocal) {
		return nil
	}
	where := *flags
	switch {
	case flags.given():
	case k.owner.Cluster != nil:
		where = connection{kubeconfig: k.owner.Cluster.Kubeconfig, context: k.owner.Cluster.Context}
	case k.man.Env == string(envKind):
		file, err := kindKubeconfig()
		if err != nil {
			return invalid(err)
		}
		where.kubeconfig = file
	default:
		return invalid(fmt.Errorf("run %s was on a %s: give --kubeconfig", k.man.RunID, k.man.Env))
	}
	_, access, err := where.look()
	if err != nil {
		return err
	}
	if k.objects, err = mesh.NewObjects(access); err != nil {
		return environment(err)
	}
	return nil
}

// restore takes the open changes back through the API and verifies that the objects are what they were.
func (k *killed) restore(ctx context.Context, journal *run.Journal, out *restored) {
	fail := func(err error) {
		if err != nil {
			k.man.Rollback.Errors = append(k.man.Rollback.Errors, err.Error())
		}
	}
	open := journal.Open()
	originals := run.Originals(open)
	where := k.owner.Cluster
	if where == nil {
		where = &run.Cluster{}
	}
	if err := where.Same(ctx, k.objects); err != nil {
		fail(err)
		k.man.Rollback.Objects, out.Text = "not verified", "nothing was restored"
		return
	}
	fail(where.Undo(ctx, k.objects, journal, k.man.RunID))
	left, err := run.Leftovers(ctx, k.objects, originals)
	fail(err)
	k.man.Rollback.Objects = strings.Join(left, "; ")
	if err == nil && len(left) == 0 {
		k.man.Rollback.Objects = "ok"
	}
	out.Undone = append(out.Undone, journal.Done(open)...)
	switch {
	case len(k.man.Rollback.Errors) > 0 || len(left) > 0:
		out.Text = "the rollback failed; run 'squall rollback' again when the cause is gone"
	case len(open) == 0:
		out.Text = "nothing was left to restore"
	default:
		out.Text = fmt.Sprintf("rolled back: %d objects are what they were before the run", len(originals))
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
