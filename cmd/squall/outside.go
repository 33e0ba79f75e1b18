package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"squall/internal/record"
	"squall/internal/run"
)

// outside are the open undos about services that are not in the mesh, which outlive a local run. A journal that cannot be read is reported
// when the run is rolled back.
func (k killed) outside() []run.Entry {
	if _, err := os.Stat(k.rec.Path(record.JournalFile)); err != nil {
		return nil
	}
	journal, err := run.OpenJournal(k.rec.Path(record.JournalFile))
	if err != nil {
		return nil
	}
	open := slices.DeleteFunc(journal.Open(), func(e run.Entry) bool { return !run.Outside(e) })
	if journal.Close() != nil {
		return nil
	}
	return open
}

// restoreOutside takes back what the run set of services that are not in its mesh.
func (k *killed) restoreOutside(ctx context.Context, journal *run.Journal, out *restored) {
	open := journal.Open()
	if !journal.OpenOutside() {
		return
	}
	err := journal.Undo(ctx, nil, run.Outside)
	out.Undone = append(out.Undone, journal.Done(open)...)
	if err != nil {
		k.man.Rollback.Errors = append(k.man.Rollback.Errors, strings.Split(err.Error(), "\n")...)
		k.man.Rollback.Objects = "not verified"
		out.Text = "what the run set of services outside of the mesh is not taken back; " + next(err, k.man.RunID, k.man.RunID)
		return
	}
	out.Text = strings.Replace(out.Text, "nothing is left to restore", "what the run set of services outside of the mesh is as before; nothing else is left to restore", 1)
}
