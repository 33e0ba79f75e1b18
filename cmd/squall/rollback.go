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

	"squall/internal/engine"
	"squall/internal/mesh"
	"squall/internal/proc"
	"squall/internal/record"
	"squall/internal/report"
	"squall/internal/run"
)

// killedReason is how the manifest of a killed run says that it ended.
const killedReason = "the run was killed before its end"

// restored is what rollback did for one run.
type restored struct {
	RunID string `json:"runId"`
	Env   string `json:"env"`
	// Undone are the changes that were taken back now, the last first.
	Undone []string `json:"undone,omitempty"`
	Text   string   `json:"text"`
	Errors []string `json:"errors,omitempty"`
}

func (a *app) rollbackCommand() *cobra.Command {
	var kubeconfig string
	var to format
	c := &cobra.Command{
		Use: "rollback [RUN…]", Short: "Finish the rollback of runs that were killed", ValidArgsFunction: a.completeRuns,
		Long: "Finish the rollback of runs that were killed before theirs was done, from their journals: each object becomes what it was\n" +
			"before the run, and what the run created is deleted. Without RUN these are all runs below the folder of the runs that have\n" +
			"no end and whose process is gone. The mesh of a local run ends with the run: then there is nothing to restore, and it is\n" +
			"verified that none of its processes is left. The run is marked as killed, so that its verdict is ERROR.",
		RunE: func(c *cobra.Command, args []string) error {
			runs, err := a.pending(args)
			if err != nil {
				return err
			}
			for _, k := range runs {
				if kubeconfig == "" && k.man.Env == string(envKind) {
					kubeconfig, err = kindKubeconfig()
				}
				if err == nil && kubeconfig == "" && k.man.Env != string(envLocal) {
					err = fmt.Errorf("run %s was on a %s: give --kubeconfig", k.man.RunID, k.man.Env)
				}
				if err != nil {
					return invalid(err)
				}
			}
			var objects *mesh.Objects
			if kubeconfig != "" {
				if objects, err = connect(kubeconfig); err != nil {
					return environment(err)
				}
			}
			return a.rollback(c.Context(), runs, objects, to)
		},
	}
	c.Flags().StringVar(&kubeconfig, "kubeconfig", "", "restore through the API of this kubeconfig `FILE`; without it, of the cluster of 'squall kind'")
	output(c, &to)
	return c
}

func connect(kubeconfig string) (*mesh.Objects, error) {
	cfg, err := mesh.Connect(kubeconfig, "")
	if err != nil {
		return nil, err
	}
	return mesh.NewObjects(cfg)
}

// killed is a run that is to be rolled back.
type killed struct {
	rec   *record.Run
	man   record.Manifest
	owner run.Owner
}

// pending opens the runs that are named, or finds all that were killed.
func (a *app) pending(names []string) ([]killed, error) {
	if len(names) == 0 {
		return a.findKilled()
	}
	var out []killed
	for _, name := range names {
		rec, err := a.openRun(name)
		if err != nil {
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
// are no runs are passed over.
func (a *app) findKilled() ([]killed, error) {
	files, err := filepath.Glob(filepath.Join(a.reports, "*", record.ManifestFile))
	if err != nil {
		return nil, environment(err)
	}
	var out []killed
	for _, f := range files {
		rec, err := record.Open(filepath.Dir(f))
		if err != nil {
			return nil, environment(err)
		}
		k, err := readKilled(rec)
		if err != nil {
			return nil, environment(err)
		}
		if !k.unfinished() {
			continue
		}
		alive, err := k.alive()
		switch {
		case err != nil:
			return nil, environment(err)
		case alive:
			fmt.Fprintf(a.stderr, "run %s is under way (process %d): left alone\n", k.man.RunID, k.owner.PID)
			continue
		}
		out = append(out, k)
	}
	return out, nil
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
	return k.man.End == nil || k.man.Env != string(envLocal) && (len(k.man.Rollback.Errors) > 0 || k.man.Rollback.Objects != "ok")
}

// alive reports whether the run is under way.
func (k killed) alive() (bool, error) {
	if k.man.End != nil || k.owner.PID == 0 { // no owner: it was killed before it started anything
		return false, nil
	}
	return k.owner.Alive()
}

// rollback rolls the runs back one after another, and goes on after one that fails.
func (a *app) rollback(ctx context.Context, runs []killed, objects *mesh.Objects, to format) error {
	list := []restored{}
	code := exitPass
	var errs []error
	for _, k := range runs {
		r, err := k.rollback(ctx, objects)
		if err != nil || len(r.Errors) > 0 {
			code = exitRollback
		}
		if err == nil {
			err = rewrite(k.rec)
			list = append(list, r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.man.RunID, err))
		}
	}
	if len(list) > 0 || len(errs) == 0 {
		errs = append(errs, a.printRestored(list, to))
	}
	if err := errors.Join(errs...); err != nil {
		return &codeError{worst(code, exitEnvironment), err}
	}
	return ended(code)
}

// rewrite writes the report of a run anew.
func rewrite(rec *record.Run) error {
	out, err := engine.Judge(rec)
	if out == nil {
		return err
	}
	return errors.Join(err, report.WriteFiles(rec, out.Data))
}

func (a *app) printRestored(list []restored, to format) error {
	if to == asJSON {
		return a.printJSON(list)
	}
	var b strings.Builder
	if len(list) == 0 {
		b.WriteString("no run was killed: nothing to roll back\n")
	}
	for _, r := range list {
		for _, u := range r.Undone {
			fmt.Fprintf(&b, "%s: %s\n", r.RunID, u)
		}
		for _, e := range r.Errors {
			fmt.Fprintf(&b, "%s: failed: %s\n", r.RunID, e)
		}
		fmt.Fprintf(&b, "%s: %s\n", r.RunID, r.Text)
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// rollback restores what the run left and marks it as killed. The error is about the record; what could not be restored is in
// restored.
func (k killed) rollback(ctx context.Context, objects *mesh.Objects) (out restored, err error) {
	out = restored{RunID: k.man.RunID, Env: k.man.Env}
	journal, err := run.OpenJournal(k.rec.Path(record.JournalFile))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	start := time.Now()
	was := k.man.Rollback
	k.man.Rollback = record.Rollback{Tried: true}
	switch {
	case objects != nil:
		k.restore(ctx, journal, objects, &out)
	case k.man.End != nil:
		out.Text = "the run has an end, and its mesh ended with it: nothing to do"
		return out, nil
	default:
		k.restoreLocal(journal, &out)
	}
	out.Errors = k.man.Rollback.Errors
	if o := k.man.Rollback.Objects; o != "ok" && o != "" {
		out.Errors = append(out.Errors[:len(out.Errors):len(out.Errors)], o)
	}
	k.man.Rollback.Seconds = time.Since(start).Seconds()
	k.man.Rollback.Baseline = was.Baseline
	return out, k.markKilled(out.Text)
}

// restore takes the open changes back through the API and verifies that the objects are what they were.
func (k *killed) restore(ctx context.Context, journal *run.Journal, objects *mesh.Objects, out *restored) {
	fail := func(err error) {
		if err != nil {
			k.man.Rollback.Errors = append(k.man.Rollback.Errors, err.Error())
		}
	}
	open := journal.Open()
	originals := run.Originals(open)
	fail(journal.Undo(ctx, objects, run.All))
	left, err := run.Leftovers(ctx, objects, originals)
	fail(err)
	k.man.Rollback.Objects = strings.Join(left, "; ")
	if err == nil && len(left) == 0 {
		k.man.Rollback.Objects = "ok"
	}
	still := map[int]bool{}
	for _, e := range journal.Open() {
		still[e.Seq] = true
	}
	for i := len(open) - 1; i >= 0; i-- {
		e := open[i]
		if still[e.Seq] {
			continue
		}
		action := "restored"
		switch {
		case e.Deed != nil:
			out.Undone = append(out.Undone, fmt.Sprintf("%s %s: made up for (%s)", e.Deed.Target, e.Deed.Action, e.Step))
			continue
		case e.Before == nil:
			action = "deleted"
		}
		out.Undone = append(out.Undone, fmt.Sprintf("%s %s (%s)", action, e.Ref, e.Step))
	}
	switch {
	case len(k.man.Rollback.Errors) > 0 || len(left) > 0:
		out.Text = "the rollback failed; run 'squall rollback' again when the cause is gone"
	case len(open) == 0:
		out.Text = "nothing was left to restore"
	default:
		out.Text = fmt.Sprintf("rolled back: %d objects are what they were before the run", len(originals))
	}
}

// whatIsOpen counts the objects that were changed and the pods that something else was done to.
func whatIsOpen(open []run.Entry) string {
	var parts []string
	if n := len(run.Originals(open)); n > 0 {
		parts = append(parts, fmt.Sprintf("%d changed objects", n))
	}
	pods := map[string]bool{}
	for _, e := range open {
		if e.Deed != nil {
			pods[e.Deed.Target] = true
		}
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
	if open := journal.Open(); len(open) > 0 {
		out.Text = fmt.Sprintf("nothing is left to restore: the mesh, with %s, ended with the run", whatIsOpen(open))
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
