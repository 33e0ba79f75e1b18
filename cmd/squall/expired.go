package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"squall/internal/mesh"
	"squall/internal/mesh/kube"
	"squall/internal/run"
)

// rollbackExpired takes back what runs whose time is over have left on a cluster: by the run's own folder where it is on this machine,
// else by what the cluster has of it.
func (a *app) rollbackExpired(ctx context.Context, f *rollbackFlags) error {
	target, access, err := f.look()
	if err != nil {
		return err
	}
	objects, err := mesh.NewObjects(access)
	if err != nil {
		return environment(err)
	}
	remains, hidden, err := run.FindRemains(ctx, objects, f.namespace)
	if err != nil {
		return environment(fmt.Errorf("%s at %s: %w", target.Context, target.Server, err))
	}
	flow, err := flowOf(access, objects)
	if err != nil {
		return err
	}
	here, err := a.killedHere()
	if err != nil {
		return err
	}
	list := []restored{}
	code := exitPass
	var errs []error
	if unseen := kube.Unseen(hidden); len(unseen) > 0 { // nothing that is found would not be all
		errs = append(errs, fmt.Errorf("this user may not list %s: what runs left of these is not seen", strings.Join(unseen, ", ")))
	}
	for _, r := range remains {
		if time.Now().Before(r.Expires) {
			fmt.Fprintf(a.stderr, "run %s has time until %s: left alone\n", r.Run, r.Expires.Format(time.RFC3339))
			continue
		}
		r.Flow = flow
		out, err := a.clear(ctx, objects, r, here[r.Run])
		errs = append(errs, err)
		if len(out.Errors) > 0 || err != nil {
			code = exitRollback
		}
		list = append(list, out)
	}
	if len(list) > 0 || errors.Join(errs...) == nil {
		errs = append(errs, a.printRestored(list, "no run has left anything on "+target.Context+" that is to be cleaned up", f.output))
	}
	if err := errors.Join(errs...); err != nil {
		return &codeError{worst(code, exitEnvironment), err}
	}
	return ended(code)
}

// killedHere are the runs of this machine that are to be rolled back, by their label.
func (a *app) killedHere() (map[string]*killed, error) {
	all, err := a.findKilled()
	if err != nil {
		return nil, err
	}
	out := map[string]*killed{}
	for _, k := range all {
		if k.lost != "" {
			return nil, environment(errors.New(k.lost))
		}
		if k.man.Env != string(envLocal) {
			out[mesh.Stamp{RunID: k.man.RunID}.Label()] = &k
		}
	}
	return out, nil
}

// clear takes back what one run has left; here is its folder, nil when it is on another machine. The error is about the record.
func (a *app) clear(ctx context.Context, objects *mesh.Objects, r *run.Remains, here *killed) (restored, error) {
	out := restored{RunID: r.Run, Env: string(envCluster)}
	if here != nil {
		here.objects, here.flow = objects, r.Flow
		own, err := here.rollback(ctx, run.Leave)
		if err == nil {
			err = rewrite(here.rec)
		}
		if err != nil || len(own.Errors) > 0 {
			return own, err
		}
		out = own
	}
	done, err := r.Undo(ctx, objects)
	out.Undone = append(out.Undone, done...)
	if err != nil {
		out.Errors = append(out.Errors, strings.Split(err.Error(), "\n")...)
		out.Text = "what the run left is not all taken back; " + next(err, "--expired", r.Run)
		return out, nil
	}
	if here == nil {
		out.Text = fmt.Sprintf("its time was over at %s: what it left is taken back", r.Expires.Format(time.RFC3339))
	}
	return out, nil
}
