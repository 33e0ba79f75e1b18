package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"squall/internal/mesh"
	"squall/internal/mesh/kube"
	"squall/internal/record"
	"squall/internal/run"
)

// locate finds the clusters of the runs, and what these have of runs whose journal is not here. Of runs that were named all have to be
// found, before anything is changed; else those that are not found are lost.
func (a *app) locate(ctx context.Context, runs []killed, f *rollbackFlags, named bool) error {
	for i := range runs {
		k := &runs[i]
		if k.lost != "" {
			continue
		}
		err := k.locate(&f.connection)
		if err == nil {
			err = a.findCopy(ctx, k, f)
		}
		if err != nil && named {
			return err
		}
		if err != nil {
			k.lost = err.Error()
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
	k.flow, err = flowOf(access, k.objects)
	return err
}

// flowOf asks the flow control of services of a cluster, by their pods.
func flowOf(access mesh.Access, objects *mesh.Objects) (run.Flow, error) {
	env, err := kube.New(kube.Options{Name: string(envCluster), Config: access})
	if err != nil {
		return nil, environment(err)
	}
	return run.NewFlow(objects, env.Dial), nil
}

// findCopy finds what the run's cluster has of it, when its journal is not here. An empty journal is no proof that the run changed
// nothing: only what the cluster says is.
func (a *app) findCopy(ctx context.Context, k *killed, f *rollbackFlags) error {
	if k.objects == nil || k.hasJournal() {
		return nil
	}
	if k.owner.Cluster != nil {
		if err := k.owner.Cluster.Same(ctx, k.objects); err != nil {
			return environment(err)
		}
	}
	all, hidden, err := run.FindRemains(ctx, k.objects, f.namespace)
	if err != nil {
		return environment(err)
	}
	label := mesh.Stamp{RunID: k.man.RunID}.Label()
	for _, r := range all {
		if r.Run == label {
			k.remains = r
		}
	}
	unseen := kube.Unseen(hidden)
	switch {
	case k.remains == nil && len(unseen) > 0:
		return environment(fmt.Errorf("nothing of run %s is seen, and this user may not list %s: what is left of these is not known", k.man.RunID, strings.Join(unseen, ", ")))
	case k.remains == nil && k.rec == nil:
		target, _, err := f.look()
		return errors.Join(err, invalid(fmt.Errorf("run %s has left nothing on %s (%s): no object has its label %s=%s",
			k.man.RunID, target.Context, target.Server, mesh.RunIDLabel, label)))
	case k.remains != nil && k.rec == nil && time.Now().Before(k.remains.Expires):
		fmt.Fprintf(a.stderr, "run %s has time until %s: it is taken for one that was killed\n", k.man.RunID, k.remains.Expires.Format(time.RFC3339))
	}
	return nil
}

// hasJournal says whether the run's folder is here with its journal.
func (k *killed) hasJournal() bool {
	if k.rec == nil {
		return false
	}
	info, err := os.Stat(k.rec.Path(record.JournalFile))
	return err == nil && info.Size() > 0 || err != nil && !errors.Is(err, fs.ErrNotExist)
}

// fromCopy takes back what the run left by the copy of its journal on the cluster.
func (k *killed) fromCopy(ctx context.Context, foreign run.Decision) restored {
	out := restored{RunID: k.man.RunID, Env: k.man.Env, Text: "what it left is taken back, by the copy of its journal on the cluster"}
	k.remains.Foreign, k.remains.Flow = foreign, k.flow
	done, err := k.remains.Undo(ctx, k.objects)
	out.Undone = done
	if err != nil {
		out.Errors = strings.Split(err.Error(), "\n")
		out.Text = "what the run left is not all taken back; " + next(err, k.man.RunID, k.man.RunID)
	}
	return out
}

// next says what to do after a rollback that failed: args are those to try it again with.
func next(err error, args, id string) string {
	var foreign *run.ForeignError
	if errors.As(err, &foreign) {
		return run.HowToDecide(id)
	}
	return fmt.Sprintf("run 'squall rollback %s' again when the cause is gone", args)
}
