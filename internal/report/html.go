package report

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"squall/internal/check"
	"squall/internal/record"
)

//go:embed templates
var templates embed.FS

// HTML writes the report as one page that needs no network and runs no script: it can be opened from a file, printed,
// and served under a strict content security policy. All text is escaped; control characters and direction overrides
// in it are replaced.
func HTML(w io.Writer, d Data) error {
	css, err := templates.ReadFile("templates/style.css")
	if err != nil {
		return fmt.Errorf("read the report's style: %w", err)
	}
	t, err := template.New("report.tmpl").Funcs(template.FuncMap{
		"count": formatCount,
		"vc":    verdictClass,
		"css":   func() template.CSS { return template.CSS(css) }, //nolint:gosec // a file of ours, not input
	}).ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return fmt.Errorf("parse the report's templates: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, newPage(d)); err != nil {
		return fmt.Errorf("render the report: %w", err)
	}
	_, err = io.WriteString(w, cleanLines(b.String()))
	return err
}

// pageView is what the templates print: all figures are already texts and positions.
type pageView struct {
	Data
	Verdict   check.Verdict
	Reason    string
	Mark      string
	Facts     []fact
	Versions  []fact
	Timeline  timeline
	Stages    []phaseView
	Rollback  rollbackView
	Diffs     []objectView
	EventRows []eventRow
	Commands  []fact
}

type fact struct{ Name, Value string }

type phaseView struct {
	ID          string
	Result      check.PhaseResult
	Reason      string
	Live        []string
	Load        []fact
	Errors      []string // of the load
	Note        string   // in place of the load's facts
	URL         string
	Checks      []outcomeView
	Proofs      []outcomeView
	Records     []outcomeView
	Origins     []string // where requests began to fail
	Predictions []outcomeView
	Unpredicted []string     // what the rules do not say, and why
	Unproven    []string     // what the steps do without a proof, and why
	Workers     *workersView // nil: there is nothing to tell apart
	Codes       *barChart
	Latency     *histogram
	Rows        []rowView
	Hints       []fact // what the response flags mean
}

type outcomeView struct {
	check.Outcome
	Title    string
	Why      string
	Measures []measureView
	Span     int // table rows
}

type measureView struct {
	check.Measure
	Show, Interval, How string
	Bar                 *intervalBar
}

type rollbackView struct {
	Result   check.PhaseResult
	Reason   string
	Tried    bool
	Parts    []namedPart
	Errors   []string
	Took     string
	Outcomes []outcomeView
}

type rowView struct {
	Row
	Name, Class, Share string
	Percent            float64
}

type eventRow struct{ At, Phase, Kind, Text, Took, Data string }

func newPage(d Data) pageView {
	r := d.Result
	p := pageView{Data: d, Verdict: r.Verdict, Reason: reasonOf(r.Reason), Mark: verdictSign(r.Verdict)}
	p.Facts = runFacts(d)
	for _, k := range slices.Sorted(maps.Keys(r.Versions)) {
		p.Versions = append(p.Versions, fact{k, r.Versions[k]})
	}
	p.Timeline = newTimeline(d)
	for i, ph := range r.Phases {
		p.Stages = append(p.Stages, newPhaseView(d, i, ph))
	}
	p.Rollback = newRollbackView(d)
	for _, o := range d.Objects {
		p.Diffs = append(p.Diffs, newObjectView(o))
	}
	for _, e := range d.Events {
		p.EventRows = append(p.EventRows, newEventRow(e))
	}
	p.Commands = commands(d)
	return p
}

func verdictSign(v check.Verdict) string {
	switch v {
	case check.Pass:
		return "✓"
	case check.Fail:
		return "✗"
	case check.Error:
		return "!"
	case check.Halted:
		return "■"
	}
	return "?"
}

func runFacts(d Data) []fact {
	r := d.Result
	f := []fact{{"Scenario", r.Scenario}, {"File", r.File}, {"Run", r.RunID}, {"Environment", r.Env}, {"Seed", fmt.Sprint(r.Seed)}}
	if !r.Start.IsZero() {
		f = append(f, fact{"Started", r.Start.UTC().Format(time.RFC3339)})
	}
	f = append(f, fact{"Took", took(r.Seconds)}, fact{"Ended", ended(d.Manifest)}, fact{"Exit code", exitCode(r)})
	return slices.DeleteFunc(f, func(f fact) bool { return f.Value == "" })
}

// exitCode is not shown as 0 where the verdict says that it cannot be.
func exitCode(r check.Result) string {
	if r.ExitCode == 0 && r.Verdict != check.Pass {
		return "not recorded"
	}
	return fmt.Sprint(r.ExitCode)
}

func ended(m record.Manifest) string {
	parts := []string{m.Ended}
	if m.Ended == "" {
		parts[0] = "it left no end: killed, or its manifest is missing"
	}
	if m.Signal != "" {
		parts = append(parts, "by "+m.Signal)
	}
	if m.Error != "" {
		parts = append(parts, "with: "+m.Error)
	}
	return strings.Join(parts, " ")
}

func commands(d Data) []fact {
	var f []fact
	if d.Result.File != "" {
		f = append(f, fact{"Run it again", fmt.Sprintf("squall run %s --seed %d", shellWord(d.Result.File), d.Result.Seed)})
	}
	if d.Dir != "" {
		f = append(f, fact{"Judge the same records again", "squall judge " + shellWord(d.Dir)},
			fact{"Render this report again", "squall report " + shellWord(d.Dir)})
	}
	return f
}

// shellWord quotes a word that a shell would not take as it is.
func shellWord(s string) string {
	plain := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") == ""
	if plain && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func newRollbackView(d Data) rollbackView {
	m := d.Manifest.Rollback
	return rollbackView{
		Result: d.Result.Rollback, Reason: reasonOf(d.Result.Rollback.Reason), Tried: m.Tried, Parts: rollbackParts(m),
		Errors: m.Errors, Took: took(m.Seconds), Outcomes: outcomeViews(d.Result.Rollback.Outcomes),
	}
}

func newEventRow(e record.Event) eventRow {
	row := eventRow{At: fmt.Sprintf("%.3f", e.At), Phase: e.Phase, Kind: e.Kind, Text: e.Text}
	if e.Took > 0 {
		row.Took = formatSeconds(e.Took)
	}
	if len(e.Data) > 0 {
		b, err := json.Marshal(e.Data)
		if err != nil {
			b = []byte(err.Error())
		}
		row.Data = string(b)
	}
	return row
}
