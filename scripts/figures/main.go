// Command figures measures what the pages docs/accuracy.md, docs/overhead.md and docs/workers.md say, and writes their tables; that of
// docs/parity.md it takes from the last make test-kind. Arguments after the page's name go to squall run: workers --env kind.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"squall/internal/check"
)

// The markers around the table in the page.
const (
	begin = "<!-- measured -->\n"
	end   = "<!-- end -->"
)

// rule is a kind of rule with a percentage, and the scenario that measures it.
type rule struct {
	name, scenario, measure string
	set                     func(percent int) []string
}

// figure is one measured share.
type figure struct {
	rule    string
	percent int
	measure check.Measure
}

func main() {
	squall := flag.String("squall", "bin/squall", "the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, program{*squall, flag.Args()[min(1, flag.NArg()):]}, flag.Arg(0))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run measures one page's figures, prints them and writes them.
func run(ctx context.Context, p program, name string) error {
	pages := map[string]func(context.Context, program) (string, error){
		"accuracy": accuracy, "overhead": overhead, "parity": parity, "workers": workers,
	}
	measure := pages[name]
	if measure == nil {
		return fmt.Errorf("usage: figures accuracy|overhead|parity|workers [ARGS of squall run], not %q", name)
	}
	page := "docs/" + name + ".md"
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s: no place for the table: write %q and %q", page, begin, end)
	}
	table, err := measure(ctx, p)
	if err != nil {
		return err
	}
	fmt.Print(table)
	return os.WriteFile(page, []byte(head+begin+table+end+tail), 0o644)
}

// parity is the table that make test-kind wrote.
func parity(context.Context, program) (string, error) {
	b, err := os.ReadFile("reports/parity.md")
	if err != nil {
		return "", fmt.Errorf("%w: make test-kind writes it", err)
	}
	return string(b), nil
}

// accuracy measures every rule at several percentages.
func accuracy(ctx context.Context, p program) (string, error) {
	var table strings.Builder
	fmt.Fprintf(&table, "Measured on %s.\n\n", time.Now().UTC().Format(time.DateOnly))
	table.WriteString("| rule | percent | requests | measured | distance | in standard deviations | 99 % interval |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rules() {
		for _, percent := range []int{1, 10, 33, 50, 90} {
			f, err := measure(ctx, p, r, percent)
			if err != nil {
				return "", err
			}
			fmt.Fprint(os.Stderr, f)
			table.WriteString(f.String())
		}
	}
	return table.String(), nil
}

func rules() []rule {
	percent := func(p int) []string { return []string{fmt.Sprintf("percent=%d", p)} }
	return []rule{
		{"weight", "accuracy-weights", `ratio(version == "v2")`, func(p int) []string {
			return append(percent(p), fmt.Sprintf("rest=%d", 100-p))
		}},
		{"abort", "accuracy-abort", "ratio(code == 503)", percent},
		{"delay", "accuracy-delay", `ratio(flag("DI"))`, percent},
	}
}

// measure runs the rule's scenario.
func measure(ctx context.Context, p program, r rule, percent int) (figure, error) {
	var flags []string
	for _, set := range r.set(percent) {
		flags = append(flags, "--set", set)
	}
	result, err := p.run(ctx, r.scenario, flags...)
	if err != nil {
		return figure{}, err
	}
	for _, phase := range result.Phases {
		for _, o := range phase.Outcomes {
			for _, m := range o.Measures {
				if m.Expr == r.measure && m.Value != nil && m.Lo != nil {
					return figure{r.name, percent, m}, nil
				}
			}
		}
	}
	return figure{}, fmt.Errorf("%s: the result has no %s with an interval", r.scenario, r.measure)
}

// String is the figure's row.
func (f figure) String() string {
	p, n := float64(f.percent)/100, float64(f.measure.N)
	distance := *f.measure.Value - p
	return fmt.Sprintf("| %s | %d %% | %d | %.2f %% | %+.2f points | %+.1f | %.2f %% to %.2f %% |\n", f.rule, f.percent, f.measure.N,
		100**f.measure.Value, 100*distance, distance/math.Sqrt(p*(1-p)/n), 100**f.measure.Lo, 100**f.measure.Hi)
}

// program is Squall's and what all its runs are told.
type program struct {
	path string
	args []string
}

// run runs a scenario. A run that does not pass is an error: its figures would say nothing.
func (p program) run(ctx context.Context, name string, flags ...string) (result check.Result, err error) {
	args := slices.Concat([]string{"run", name, "-o", "json"}, p.args, flags)
	out, err := exec.CommandContext(ctx, p.path, args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return result, fmt.Errorf("%s %s: %w\n%s", p.path, strings.Join(args, " "), err, failed.Stderr)
	}
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(out)).Decode(&result)
	}
	if err != nil {
		return result, fmt.Errorf("%s: %w", name, err)
	}
	return result, nil
}
