package main

import (
	"errors"
	"fmt"
	"strings"

	"squall/internal/engine"
	"squall/internal/record"
	"squall/internal/report"
)

// restored is what rollback did for one run.
type restored struct {
	RunID string `json:"runId"`
	Env   string `json:"env"`
	// Undone are the changes that were taken back now, the last first.
	Undone []string `json:"undone,omitempty"`
	Text   string   `json:"text"`
	Errors []string `json:"errors,omitempty"`
}

// rewrite writes the report of a run anew.
func rewrite(rec *record.Run) error {
	out, err := engine.Judge(rec)
	if out == nil {
		return err
	}
	return errors.Join(err, report.WriteFiles(rec, out.Data))
}

func (a *app) printRestored(list []restored, none string, to format) error {
	if to == asJSON {
		return a.printJSON(list)
	}
	var b strings.Builder
	if len(list) == 0 {
		b.WriteString(none + "\n")
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
