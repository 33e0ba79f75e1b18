package report

import (
	"fmt"
	"io"
	"strings"

	prettytext "github.com/jedib0t/go-pretty/v6/text"

	"squall/internal/check"
)

// Options are decided by the caller, who knows the terminal and NO_COLOR.
type Options struct {
	Color bool
	Width int // columns to wrap at; 0 does not wrap
}

// Text writes the summary of a run for a terminal or a CI log. Its last line is the verdict with its reason, and is
// never wrapped. Every line begins with the report's own words and holds no control characters but its own colours,
// so that nothing measured can pass for a verdict or a command.
func Text(w io.Writer, d Data, o Options) error {
	t := &textWriter{o: o}
	t.head(d)
	for _, p := range d.Result.Phases {
		t.phase(d, p)
	}
	t.rollback(d)
	if d.Dir != "" || len(d.Missing) > 0 {
		t.b.WriteByte('\n')
	}
	for _, m := range d.Missing {
		t.line("", "missing  ", m)
	}
	if d.Dir != "" {
		t.line("", "files    ", d.Dir+" (result.json, junit.xml, report.html)")
	}
	t.b.WriteByte('\n')
	last := verdictLine(d)
	name := d.Result.Verdict.String()
	t.b.WriteString(t.paint(d.Result.Verdict, name) + strings.TrimPrefix(last, name) + "\n")
	_, err := io.WriteString(w, t.b.String())
	return err
}

type textWriter struct {
	b strings.Builder
	o Options
}

func (t *textWriter) paint(v check.Verdict, s string) string {
	if !t.o.Color {
		return s
	}
	code := "33" // INCONCLUSIVE and whatever else is not known: yellow
	switch v {
	case check.Pass:
		code = "32"
	case check.Fail:
		code = "31"
	case check.Error, check.Halted:
		code = "35"
	}
	return "\x1b[1;" + code + "m" + s + "\x1b[0m"
}

func (t *textWriter) dim(s string) string {
	if !t.o.Color || s == "" {
		return s
	}
	return "\x1b[2m" + s + "\x1b[0m"
}

// line writes text after a prefix and wraps it with a hanging indent of the prefix's width.
func (t *textWriter) line(indent, prefix, text string) {
	t.row(indent+prefix, indent+prefix, clean(text), false)
}

func (t *textWriter) row(shown, plain, text string, dim bool) {
	width := prettytext.StringWidth(plain)
	lines := []string{text}
	if room := t.o.Width - width; t.o.Width > 0 && room >= 20 {
		lines = strings.Split(prettytext.WrapSoft(text, room), "\n")
	}
	for i, l := range lines {
		l = strings.TrimRight(l, " ")
		if dim {
			l = t.dim(l)
		}
		if i == 0 {
			t.b.WriteString(shown + l + "\n")
			continue
		}
		t.b.WriteString(strings.Repeat(" ", width) + l + "\n")
	}
}

// verdict writes a line that begins with a verdict in a column of fixed width.
func (t *textWriter) verdict(indent string, v check.Verdict, text string) {
	name := fmt.Sprintf("%-12s ", v)
	t.row(indent+t.paint(v, name), indent+name, clean(text), false)
}

func (t *textWriter) head(d Data) {
	r := d.Result
	t.line("", "scenario ", r.Scenario)
	if r.Hypothesis != "" {
		t.line("", "expects  ", r.Hypothesis)
	}
	t.line("", "run      ", runLine(r))
}

// maxOrigins bounds the places that are shown where requests began to fail; result.json has all of them.
const maxOrigins = 5

func (t *textWriter) phase(d Data, p check.PhaseResult) {
	t.b.WriteByte('\n')
	if p.NotRun != "" {
		t.line("", "not run      ", p.Name+": "+p.NotRun)
		return
	}
	t.verdict("", p.Verdict, p.Name+": "+reasonOf(p.Reason))
	load := phaseOf(d, p.Name)
	for _, live := range liveTexts(d, p.Name) {
		t.line("  ", "live  ", live)
	}
	t.line("  ", "load  ", loadLine(load))
	if w := workersLine(load.Load); w != "" {
		t.line("  ", "workers ", w)
	}
	for _, lost := range lostLines(load.Load) {
		t.line("  ", "lost  ", lost)
	}
	if a := answersLine(load); a != "" {
		t.line("  ", "codes ", a)
	}
	for _, e := range loadErrors(load) {
		t.line("  ", "error ", e)
	}
	for _, o := range p.Origins[:min(maxOrigins, len(p.Origins))] {
		t.line("  ", "origin ", o.String())
	}
	t.outcomes(p.Outcomes)
	for _, why := range specOf(d, p.Name).Unproven {
		t.line("  ", "not proven ", why)
	}
}

func (t *textWriter) outcomes(outcomes []check.Outcome) {
	for _, o := range outcomes {
		name := title(o)
		if o.Kind != check.KindCheck && o.Kind != "" {
			name = string(o.Kind) + " " + name
		}
		t.verdict("  ", o.Verdict, name)
		const under = "               "
		if (o.Verdict != check.Pass || len(o.Measures) == 0) && o.Reason != "" {
			t.line(under, "", o.Reason)
		}
		for _, e := range evidence(o) {
			t.row(under, under, clean(e), true)
		}
	}
}

func (t *textWriter) rollback(d Data) {
	t.b.WriteByte('\n')
	p, m := d.Result.Rollback, d.Manifest.Rollback
	t.verdict("", p.Verdict, "rollback: "+reasonOf(p.Reason))
	switch {
	case !m.Tried:
		t.line("  ", "tried ", "no, or the run left no record of it")
	case len(p.Outcomes) > 0:
		t.line("  ", "took  ", took(m.Seconds))
	default:
		parts := make([]string, 0, 3)
		for _, part := range rollbackParts(m) {
			parts = append(parts, part.Name+" "+part.Text)
		}
		t.line("  ", "parts ", strings.Join(parts, ", ")+"; "+took(m.Seconds))
	}
	for _, e := range m.Errors {
		t.line("  ", "error ", e)
	}
	t.outcomes(p.Outcomes)
}
