package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"squall/internal/mesh"
	"squall/internal/proc"
	"squall/internal/record"
	"squall/internal/run"
)

// killedReason is how the manifest of a killed run says that it ended.
const killedReason = "the run was killed before its end"

// rollbackFlags are the flags of rollback.
type rollbackFlags struct {
	connection
	expired   bool
	forget    bool
	force     bool
	keep      bool
	namespace string
	output    format
}

func (a *app) rollbackCommand() *cobra.Command {
	f := &rollbackFlags{}
	c := &cobra.Command{
		Use: "rollback [RUN…]", Short: "Finish the rollback of runs that were killed", ValidArgsFunction: a.completeRuns,
		Long: "Finish the rollback of runs that were killed before theirs was done, from their journals: each object becomes what it was\n" +
			"before the run, and what the run created is deleted. Without RUN these are all runs below the folder of the runs that have\n" +
			"no end and whose process is gone, and those on clusters whose rollback failed; of one that cannot be rolled back it is said why,\n" +
			"and the others are. The mesh of a local run ends with the run: then there is nothing to restore, and it is verified that none\n" +
			"of its processes is left. The run is marked as killed, so that its verdict is ERROR.\n\n" +
			"An object that somebody else has changed since the run did is left as it is, and the rollback fails, until --force or --keep\n" +
			"decides about it.\n\n" +
			"A RUN of another machine, whose folder is not here, is rolled back by the copy of its journal on the cluster that --kubeconfig or\n" +
			"--context names. With --expired the runs are those that have left something on a cluster, whose time is over, whatever machine they were started\n" +
			"on.",
		Example: "  squall rollback\n  squall rollback --expired --context staging",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case f.forget && (f.force || f.keep) || f.force && f.keep:
				return invalid(errors.New("give one of --forget, --force and --keep"))
			case f.expired && (len(args) > 0 || f.forget):
				return invalid(errors.New("--expired is about all runs on a cluster: leave RUN and --forget out"))
			case f.decided() != "" && len(args) == 0:
				return invalid(fmt.Errorf("name the runs to %s", f.decided()))
			case f.namespace != "" && !f.expired && (len(args) == 0 || f.forget):
				return invalid(errors.New("--namespace is for --expired, and for runs that are named"))
			case f.expired:
				return a.rollbackExpired(c.Context(), f)
			}
			runs, err := a.pending(args, f.given() && !f.forget)
			if err == nil && !f.forget {
				err = a.locate(c.Context(), runs, f, len(args) > 0)
			}
			if err != nil {
				return err
			}
			return a.rollback(c.Context(), runs, f)
		},
	}
	f.connection.add(c, "without it the run's own")
	fs := c.Flags()
	fs.BoolVar(&f.expired, "expired", false, "clean up what runs left on a cluster whose time is over")
	fs.StringVar(&f.namespace, "namespace", "", "look for what runs left on the cluster in this `NAMESPACE` alone")
	fs.BoolVar(&f.forget, "forget", false, "give the runs up, since their cluster is gone; nothing is sent")
	fs.BoolVar(&f.force, "force", false, "overwrite what others have changed since the run did")
	fs.BoolVar(&f.keep, "keep", false, "let objects that others have changed since the run did be as they are, and restore the rest")
	output(c, &f.output)
	return c
}

// decided is the flag, if one is given, that is about runs that are named.
func (f *rollbackFlags) decided() string {
	switch {
	case f.forget:
		return "--forget"
	case f.force:
		return "--force"
	case f.keep:
		return "--keep"
	}
	return ""
}

// decision is what the rollback does with objects that others have changed.
func (f *rollbackFlags) decision() run.Decision {
	switch {
	case f.force:
		return run.Overwrite
	case f.keep:
		return run.Keep
	}
	return run.Leave
}

// killed is a run that is to be rolled back.
type killed struct {
	rec   *record.Run
	man   record.Manifest
	owner run.Owner
	// objects are those of the cluster that the run was on, nil for a local one.
	objects *mesh.Objects
	// flow asks the flow control of services of the cluster, nil for a local run.
	flow run.Flow
	// lost is why the run cannot be rolled back, so that the others are all the same.
	lost string
	// remains are what the run's cluster has of it, where the run's folder or its journal is not here.
	remains *run.Remains
}

// pending opens the runs that are named, or finds all that were killed. One that is not here may be on a cluster when one is given.
func (a *app) pending(names []string, given bool) ([]killed, error) {
	if len(names) == 0 {
		return a.findKilled()
	}
	var out []killed
	for _, name := range names {
		rec, err := a.openRun(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && given:
			out = append(out, killed{man: record.Manifest{RunID: filepath.Base(name), Env: string(envCluster)}})
			continue
		case errors.Is(err, fs.ErrNotExist):
			return nil, invalid(fmt.Errorf("%w; if it ran on another machine, give its cluster by --kubeconfig or --context", err))
		case err != nil:
			return nil, err
		}
		k, err := readKilled(rec)
		if err != nil {
			return nil, environment(err)
		}
		alive, err := k.alive()
		if err != nil {
			return nil, environment(err)
		}
		if alive {
			return nil, invalid(fmt.Errorf("run %s is under way: 'kill -INT %d' ends it with its rollback", k.man.RunID, k.owner.PID))
		}
		out = append(out, k)
	}
	return out, nil
}

// findKilled finds the runs without an end whose process is gone, and those whose rollback on a cluster failed. Folders that
// are no runs are passed over; a run that cannot be read is lost.
func (a *app) findKilled() ([]killed, error) {
	files, err := filepath.Glob(filepath.Join(a.reports, "*", record.ManifestFile))
	if err != nil {
		return nil, environment(err)
	}
	var out []killed
	for _, f := range files {
		k, alive, err := look(filepath.Dir(f))
		switch {
		case err != nil:
			out = append(out, killed{man: record.Manifest{RunID: filepath.Base(filepath.Dir(f))}, lost: err.Error()})
		case !k.unfinished():
		case alive:
			fmt.Fprintf(a.stderr, "run %s is under way (process %d): left alone\n", k.man.RunID, k.owner.PID)
		default:
			out = append(out, k)
		}
	}
	return out, nil
}

// look reads a run, and whether it is under way.
func look(dir string) (k killed, alive bool, err error) {
	rec, err := record.Open(dir)
	if err != nil {
		return k, false, err
	}
	if k, err = readKilled(rec); err != nil || !k.unfinished() {
		return k, false, err
	}
	alive, err = k.alive()
	return k, alive, err
}

func readKilled(rec *record.Run) (killed, error) {
	man, err := rec.Manifest()
	if err != nil {
		return killed{}, err
	}
	k := killed{rec: rec, man: man}
	if err := rec.ReadJSON(run.OwnerFile, &k.owner); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return killed{}, err
	}
	return k, nil
}

// unfinished reports whether the run has no end, or left something behind on a mesh that outlives runs.
func (k killed) unfinished() bool {
	r := k.man.Rollback
	if k.man.End != nil && k.man.Env == string(envLocal) && len(r.Errors) > 0 && !r.Forgotten {
		return len(k.outside()) > 0
	}
	return k.man.End == nil || k.man.Env != string(envLocal) && !r.Forgotten && (len(r.Errors) > 0 || r.Objects != "ok")
}

// alive reports whether the run is under way.
func (k killed) alive() (bool, error) {
	if k.man.End != nil || k.owner.PID == 0 { // no owner: it was killed before it started anything
		return false, nil
	}
	return k.owner.Alive()
}

// rollback rolls the runs back one after another, and goes on after one that fails.
func (a *app) rollback(ctx context.Context, runs []killed, f *rollbackFlags) error {
	list := []restored{}
	code := exitPass
	var errs []error
	for _, k := range runs {
		r, err := k.finish(ctx, f)
		if err != nil || len(r.Errors) > 0 {
			code = exitRollback
		}
		if r.RunID != "" {
			list = append(list, r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.man.RunID, err))
		}
	}
	if len(list) > 0 || len(errs) == 0 {
		errs = append(errs, a.printRestored(list, "no run was killed: nothing to roll back", f.output))
	}
	if err := errors.Join(errs...); err != nil {
		return &codeError{worst(code, exitEnvironment), err}
	}
	return ended(code)
}

// finish rolls the run back or gives it up, and writes its report anew. The error is about the record.
func (k killed) finish(ctx context.Context, f *rollbackFlags) (out restored, err error) {
	switch {
	case k.lost != "":
		return restored{RunID: k.man.RunID, Env: k.man.Env, Text: "not rolled back: nothing was sent", Errors: []string{k.lost}}, nil
	case f.forget:
		out, err = k.forget()
	case k.rec == nil:
		return k.fromCopy(ctx, f.decision()), nil
	default:
		out, err = k.rollback(ctx, f.decision())
	}
	if err != nil {
		return restored{}, err
	}
	return out, rewrite(k.rec)
}

// rollback restores what the run left and marks it as killed. The error is about the record; what could not be restored is in
// restored.
func (k killed) rollback(ctx context.Context, foreign run.Decision) (out restored, err error) {
	out = restored{RunID: k.man.RunID, Env: k.man.Env}
	journal, err := run.OpenJournal(k.rec.Path(record.JournalFile))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	journal.Foreign, journal.Flow = foreign, k.flow
	start := time.Now()
	was := k.man.Rollback
	k.man.Rollback = record.Rollback{Tried: true}
	switch {
	case k.remains != nil:
		out = k.fromCopy(ctx, foreign)
		if k.man.Rollback.Errors = out.Errors; len(out.Errors) == 0 {
			k.man.Rollback.Objects = "ok"
		}
	case k.objects != nil:
		k.restore(ctx, journal, &out)
	case k.man.End != nil && !journal.OpenOutside():
		out.Text = "the run has an end, and its mesh ended with it: nothing to do"
		return out, nil
	default:
		k.restoreLocal(journal, &out)
		k.restoreOutside(ctx, journal, &out)
	}
	out.Errors = k.man.Rollback.Errors
	if o := k.man.Rollback.Objects; o != "ok" && o != "" && !k.man.Rollback.Forgotten {
		out.Errors = append(out.Errors[:len(out.Errors):len(out.Errors)], o)
	}
	k.man.Rollback.Seconds = time.Since(start).Seconds()
	k.man.Rollback.Baseline = was.Baseline
	return out, k.markKilled(out.Text)
}

// whatIsOpen counts the objects that were changed and the pods that something else was done to.
func whatIsOpen(open []run.Entry) string {
	var parts []string
	if n := len(run.Originals(open)); n > 0 {
		parts = append(parts, fmt.Sprintf("%d changed objects", n))
	}
	pods, services := map[string]bool{}, map[string]bool{}
	for _, e := range open {
		switch {
		case run.Outside(e): // they did not end with the mesh
		case e.Deed != nil && e.Deed.Settings != nil:
			services[e.Deed.Target] = true
		case e.Deed != nil:
			pods[e.Deed.Target] = true
		}
	}
	if len(services) > 0 {
		parts = append(parts, fmt.Sprintf("the settings of flow control of %d services", len(services)))
	}
	if len(pods) > 0 {
		parts = append(parts, fmt.Sprintf("%d pods that steps had killed or stopped", len(pods)))
	}
	return strings.Join(parts, " and ")
}

// restoreLocal verifies that the run's mesh is gone, and removes its working folder.
func (k *killed) restoreLocal(journal *run.Journal, out *restored) {
	fail := func(err error) {
		k.man.Rollback.Errors = append(k.man.Rollback.Errors, err.Error())
		out.Text = "the rollback failed"
	}
	k.man.Rollback.Objects, k.man.Rollback.Proxies = "ok", "ok" // there are none any more, unless something below says so
	out.Text = "nothing is left to restore: the mesh ended with the run"
	if what := whatIsOpen(journal.Open()); what != "" {
		out.Text = fmt.Sprintf("nothing is left to restore: the mesh, with %s, ended with the run", what)
	}
	if k.owner.MeshDir == "" {
		return // killed before it had a mesh
	}
	pids, err := proc.Within(k.owner.MeshDir)
	if err != nil {
		fail(err)
		return
	}
	if len(pids) > 0 {
		fail(fmt.Errorf("processes of the run are still there: %s", strings.Trim(fmt.Sprint(pids), "[]")))
		return
	}
	out.Text += ", and none of its processes is left"
	if err := os.RemoveAll(k.owner.MeshDir); err != nil {
		fail(err)
	}
}

// markKilled writes the end of the run, so that it is judged as what it is.
func (k *killed) markKilled(text string) error {
	events, err := k.rec.Events()
	if err != nil {
		return err
	}
	if k.man.End == nil {
		end := k.lastSign()
		k.man.End, k.man.Ended, k.man.Error = &end, record.Broken, killedReason
	}
	e := record.Event{At: k.man.End.Sub(k.man.Start).Seconds(), Took: k.man.Rollback.Seconds, Kind: "rollback", Text: text}
	return errors.Join(events.Append(e), events.Close(), k.rec.WriteJSON(record.ManifestFile, k.man))
}

// lastSign is when the run last wrote to its timeline, or its start.
func (k *killed) lastSign() time.Time {
	info, err := os.Stat(k.rec.Path(record.EventsFile))
	if err != nil || info.ModTime().Before(k.man.Start) {
		return k.man.Start
	}
	return info.ModTime().UTC()
}
