package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"squall/internal/check"
)

// cost is one quantity without a mesh and with one, and what the handbook says of it.
type cost struct {
	name, unit       string
	none, mesh       string // measures
	nonePhase, phase string
	scale            float64
	handbook         [2]string
	difference       string // the handbook's
	relative         bool   // show the difference in percent
}

func costs() []cost {
	return []cost{
		{"requests a second, at most", "/s", "load.qps", "load.qps", "none-full", "mesh-full", 1, [2]string{"10,000", "9,500"}, "-5 %", true},
		{"P50", " ms", "p50", "p50", "baseline", "mesh", 1000, [2]string{"", ""}, "+1 to 2 ms", false},
		{"P99", " ms", "p99", "p99", "baseline", "mesh", 1000, [2]string{"10 ms", "18 ms"}, "+8 ms", false},
		{"processor cores", "", `cpu("httpbin-plain")`, "cpu(httpbin)", "baseline", "mesh", 1, [2]string{"2", "3"}, "+1", false},
		{"memory", " MiB", `memory("httpbin-plain")`, "memory(httpbin)", "baseline", "mesh", 1, [2]string{"1 GB", "2 GB"}, "+1 GB", false},
	}
}

// overhead runs the scenario and makes the table.
func overhead(ctx context.Context, p program) (string, error) {
	result, err := p.run(ctx, "mesh-overhead")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s.\n\n", time.Now().UTC().Format(time.DateOnly))
	b.WriteString("| | none | mesh | difference | handbook: none | handbook: mesh | handbook: difference |\n|---|---|---|---|---|---|---|\n")
	for _, c := range costs() {
		none, err := value(result, c.nonePhase, c.none)
		if err != nil {
			return "", err
		}
		mesh, err := value(result, c.phase, c.mesh)
		if err != nil {
			return "", err
		}
		difference := fmt.Sprintf("%+.3g%s", c.scale*(mesh-none), c.unit)
		if c.relative {
			difference = fmt.Sprintf("%+.0f %%", 100*(mesh-none)/none)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", c.name, number(c.scale*none, c.unit), number(c.scale*mesh, c.unit), difference,
			c.handbook[0], c.handbook[1], c.difference)
	}
	return b.String(), nil
}

func number(v float64, unit string) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f%s", v, unit)
	}
	return fmt.Sprintf("%.3g%s", v, unit)
}

// value is a measure of a phase.
func value(r check.Result, phase, measure string) (float64, error) {
	for _, p := range r.Phases {
		if p.Name != phase {
			continue
		}
		for _, o := range p.Outcomes {
			for _, m := range o.Measures {
				if m.Expr == measure && m.Value != nil {
					return *m.Value, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("%s: the result has no %s in %s", r.Scenario, measure, phase)
}
