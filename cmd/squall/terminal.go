package main

import (
	"encoding/json"
	"os"
	"time"

	"golang.org/x/term"

	"squall/internal/load"
	"squall/internal/report"
	"squall/internal/run"
)

// printJSON prints a value on stdout.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// textOptions are how text is printed on stdout.
func (a *app) textOptions() report.Options {
	return report.Options{Color: colour(a.stdout), Width: width(a.stdout)}
}

// progress shows what a run does on stderr.
func (a *app) progress() progress {
	if isTerminal(a.stderr) && os.Getenv("TERM") != "dumb" {
		return progress{report.NewTTY(a.stderr, width(a.stderr))}
	}
	return progress{report.NewPlain(a.stderr)}
}

// colour reports whether w is a terminal that colours are wanted on (no-color.org).
func colour(w any) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	return isTerminal(w) || os.Getenv("FORCE_COLOR") != ""
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func width(w any) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}

// progress passes a run's progress on to the one that is shown.
type progress struct{ report.Progress }

var _ run.Progress = progress{}

// Load shows how far the load is.
func (p progress) Load(phase string, elapsed time.Duration, asked int64, s load.Snapshot) {
	p.Progress.Load(report.Snapshot{
		Phase: phase, Elapsed: elapsed, Done: s.Count, Asked: asked, QPS: float64(s.Count) / max(elapsed.Seconds(), 1e-9), Codes: s.Codes,
		Failed: s.Failed,
	})
}
