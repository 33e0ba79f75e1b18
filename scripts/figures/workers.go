package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"squall/internal/check"
)

// workers measures the same load by one, two and four workers.
func workers(ctx context.Context, p program) (string, error) {
	var b strings.Builder
	for i, n := range []int{1, 2, 4} {
		set := []string{"--set", fmt.Sprintf("workers=%d", n)}
		if n == 1 {
			set = append(set, "--set", "even=load.workers == 1")
		}
		r, err := p.run(ctx, "workers-merged", set...)
		if err != nil {
			return "", err
		}
		if i == 0 {
			fmt.Fprintf(&b, "Measured on %s, environment `%s`.\n\n", time.Now().UTC().Format(time.DateOnly), r.Env)
			b.WriteString("| workers | load | calls | calls a second | largest rate over smallest | P50 | P99 |\n|---:|---|---:|---:|---:|---:|---:|\n")
		}
		for _, phase := range []struct{ name, load string }{{"baseline", "at a rate"}, {"full", "as fast as they can"}} {
			row, err := merged(r, phase.name, n > 1)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "| %d | %s | %s |\n", n, phase.load, row)
		}
	}
	return b.String(), nil
}

// merged is the figures of a phase's load. Among several workers one can be faster.
func merged(r check.Result, phase string, several bool) (string, error) {
	var cells []string
	for _, c := range []struct {
		measure, format string
		scale           float64
	}{{"load.count", "%.0f", 1}, {"load.qps", "%.0f", 1}, {"load.skew", "%.2f", 1}, {"p50", "%.2f ms", 1000}, {"p99", "%.2f ms", 1000}} {
		if c.measure == "load.skew" && !several {
			cells = append(cells, "")
			continue
		}
		v, err := value(r, phase, c.measure)
		if err != nil {
			return "", err
		}
		cells = append(cells, fmt.Sprintf(c.format, c.scale*v))
	}
	return strings.Join(cells, " | "), nil
}
