// Command bench measures what Squall promises about its speed and prints a table; with -json FILE it also writes the figures.
// Ratios are measured within one run, the two sides taking turns.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"squall/internal/toolchain"
)

// Figure is one measured quantity.
type Figure struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
	Limit  string  `json:"limit"` // what is promised
	OK     bool    `json:"ok"`    // whether the median keeps it
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line's.
type options struct {
	binary, file string
	only         string // a part's name; empty is all
	runs         int
	records      int
}

func parse() (o options, err error) {
	flag.StringVar(&o.binary, "squall", "bin/squall", "Squall's `program`")
	flag.StringVar(&o.file, "json", "", "`file` for the figures")
	flag.IntVar(&o.runs, "runs", 10, "how often each is measured, at least once")
	flag.StringVar(&o.only, "only", "", "measure one `part`: command, mesh, records or collecting")
	flag.IntVar(&o.records, "records", 10_000_000, "records of interface traffic that are stored, 10 at least")
	flag.Parse()
	if flag.NArg() > 0 {
		return o, fmt.Errorf("%q is not understood: there are flags only", flag.Arg(0))
	}
	if o.runs < 1 {
		return o, fmt.Errorf("-runs is %d: each must be measured at least once", o.runs)
	}
	if o.only != "" && !slices.ContainsFunc(parts(), func(p part) bool { return p.name == o.only }) {
		return o, fmt.Errorf("-only is %q: it is command, mesh, records or collecting", o.only)
	}
	if o.records < 10 {
		return o, fmt.Errorf("-records is %d: 10 are needed at least", o.records)
	}
	if _, err := exec.LookPath(o.binary); err != nil {
		return o, fmt.Errorf("-squall: %w; make build makes bin/squall", err)
	}
	if o.file != "" { // before anything is measured, not after
		if err := os.MkdirAll(filepath.Dir(o.file), 0o755); err != nil {
			return o, fmt.Errorf("-json: %w", err)
		}
	}
	return o, nil
}

// part is some of what is measured.
type part struct {
	name    string
	measure func(ctx context.Context, root string, tools toolchain.Tools, o options) ([]Figure, error)
}

func parts() []part {
	return []part{{"command", commandFigures}, {"mesh", meshFigures}, {"records", recordFigures}, {"collecting", collectingFigures}}
}

func bench(ctx context.Context) error {
	o, err := parse()
	if err != nil {
		return err
	}
	root, err := toolchain.FindRoot(".")
	if err != nil {
		return err
	}
	tools, err := toolchain.Ensure(ctx, toolchain.Options{Root: root, Progress: toolchain.Lines(os.Stderr)})
	if err != nil {
		return err
	}
	var figures []Figure
	for _, p := range parts() {
		if o.only != "" && o.only != p.name {
			continue
		}
		more, err := p.measure(ctx, root, tools, o)
		if err != nil {
			return err
		}
		figures = append(figures, more...)
	}
	if err := table(figures); err != nil {
		return err
	}
	if o.file == "" {
		return nil
	}
	b, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.file, append(b, '\n'), 0o644)
}

func table(figures []Figure) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "measure\tmedian\tp95\tmax\tn\tpromised\tkept\t")
	for _, f := range figures {
		kept := "yes"
		if !f.OK {
			kept = "NO"
		}
		fmt.Fprintf(w, "%s (%s)\t%.3g\t%.3g\t%.3g\t%d\t%s\t%s\t\n", f.Name, f.Unit, f.Median, f.P95, f.Max, f.N, f.Limit, kept)
	}
	return w.Flush()
}

// figure sums up values; a value is kept when it is below the limit, or at least the limit when it begins with ">=".
func figure(name, unit string, values []float64, limit float64, atLeast bool) Figure {
	slices.Sort(values)
	at := func(p float64) float64 { return values[min(len(values)-1, int(p*float64(len(values))))] }
	f := Figure{Name: name, Unit: unit, Median: at(0.5), P95: at(0.95), Max: values[len(values)-1], N: len(values)}
	if atLeast {
		f.Limit, f.OK = fmt.Sprintf(">= %g", limit), f.Median >= limit
	} else {
		f.Limit, f.OK = fmt.Sprintf("< %g", limit), f.Median < limit
	}
	return f
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
