package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"squall/internal/check"
)

const (
	maxMarkdown    = 1 << 20 // GitHub drops a step summary that is larger
	maxAnnotations = 10      // of one kind in one step; GitHub drops the rest
)

// Markdown writes the summary for a GitHub step summary, at most 1 MiB. The verdict comes first and is never cut.
func Markdown(w io.Writer, d Data) error {
	r := d.Result
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s: %s\n\n", verdictMark(r.Verdict), r.Verdict, md(r.Scenario))
	fmt.Fprintf(&b, "**%s**\n\n", md(reasonOf(r.Reason)))
	if r.Hypothesis != "" {
		fmt.Fprintf(&b, "> %s\n\n", md(r.Hypothesis))
	}
	fmt.Fprintf(&b, "Run %s\n", md(runLine(r)))
	const cut = "\n*The rest is left out here; the report has it.*\n"
	for _, section := range markdownSections(d) {
		if b.Len()+len(section)+len(cut) > maxMarkdown {
			b.WriteString(cut)
			break
		}
		b.WriteString(section)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func markdownSections(d Data) []string {
	var out []string
	for _, p := range d.Result.Phases {
		if p.NotRun != "" {
			out = append(out, fmt.Sprintf("\n### %s\n\nNot run: %s\n", md(p.Name), md(p.NotRun)))
			continue
		}
		out = append(out, fmt.Sprintf("\n### %s %s: %s\n\n%s; load: %s\n\n", verdictMark(p.Verdict), p.Verdict, md(p.Name), md(reasonOf(p.Reason)),
			md(loadLine(phaseOf(d, p.Name)))))
		for _, e := range loadErrors(phaseOf(d, p.Name)) {
			out = append(out, "- "+md(e)+"\n\n")
		}
		for _, live := range liveTexts(d, p.Name) {
			out = append(out, "◆ "+md(live)+"\n\n")
		}
		out = append(out, markdownTable(p.Outcomes)...)
	}
	rb := d.Result.Rollback
	out = append(out, fmt.Sprintf("\n### %s %s: rollback\n\n%s\n\n", verdictMark(rb.Verdict), rb.Verdict, md(reasonOf(rb.Reason))))
	out = append(out, markdownTable(rb.Outcomes)...)
	for _, m := range d.Missing {
		out = append(out, "\n- missing: "+md(m)+"\n")
	}
	return out
}

func markdownTable(outcomes []check.Outcome) []string {
	if len(outcomes) == 0 {
		return nil
	}
	out := []string{"| | kind | check | measured | limit | reason |\n|---|---|---|---|---|---|\n"}
	for _, o := range outcomes {
		var ms []string
		for _, m := range o.Measures {
			ms = append(ms, md(measureLine(m, o.Limit)))
		}
		out = append(out, fmt.Sprintf("| %s %s | %s | %s | %s | %s | %s |\n", verdictMark(o.Verdict), o.Verdict, md(string(o.Kind)),
			md(title(o)), strings.Join(ms, "<br>"), md(o.Limit), md(reasonOf(o.Reason))))
	}
	return out
}

// verdictMark is a sign that does not rest on colour alone.
func verdictMark(v check.Verdict) string {
	switch v {
	case check.Pass:
		return "✅"
	case check.Fail:
		return "❌"
	case check.Error:
		return "💥"
	case check.Halted:
		return "🛑"
	}
	return "❔"
}

// md makes text of unknown origin plain text in a Markdown table cell: every mark of Markdown and HTML is a character
// reference, so that neither tables, code, links, images nor mentions can be made.
func md(s string) string {
	var b strings.Builder
	for _, r := range clean(s) {
		if strings.ContainsRune("&<>|`*_~[]#\\@$:", r) {
			fmt.Fprintf(&b, "&#%d;", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Annotations writes at most ten GitHub workflow commands, one for each outcome or phase that did not pass, at the scenario's
// line where it is known. When there are more, the last one counts them. Nothing is written for a run that passed.
func Annotations(w io.Writer, d Data) error {
	all := annotations(d)
	if rest := len(all) - (maxAnnotations - 1); rest > 1 {
		all = append(all[:maxAnnotations-1], annotation(d, "", fmt.Sprintf("%d more, see the report", rest)))
	}
	_, err := io.WriteString(w, strings.Join(all, ""))
	return err
}

func annotations(d Data) []string {
	if d.Result.Verdict == check.Pass {
		return nil
	}
	var out []string
	phases := append(append([]check.PhaseResult(nil), d.Result.Phases...), d.Result.Rollback)
	for _, p := range phases {
		before := len(out)
		for _, o := range p.Outcomes {
			if o.Verdict != check.Pass {
				out = append(out, annotation(d, placeOf(d.Spec, p.Name, o), fmt.Sprintf("%s %s: %s", o.Verdict, title(o), reasonOf(o.Reason))))
			}
		}
		if p.NotRun == "" && p.Verdict != check.Pass && len(out) == before && p.Name != "" {
			out = append(out, annotation(d, "", fmt.Sprintf("%s %s: %s", p.Verdict, p.Name, reasonOf(p.Reason))))
		}
	}
	if len(out) == 0 {
		out = append(out, annotation(d, "", fmt.Sprintf("%s: %s", d.Result.Verdict, reasonOf(d.Result.Reason))))
	}
	return out
}

// placeOf is where the author wrote the expression, as file:line:column, or empty.
func placeOf(s check.Spec, phase string, o check.Outcome) string {
	for _, p := range s.Phases {
		if p.Name != phase {
			continue
		}
		for _, stmt := range p.Checks {
			if stmt.Expr == o.Expr || stmt.Expr == o.Name {
				return stmt.At
			}
		}
	}
	return ""
}

func annotation(d Data, at, msg string) string {
	file, line := d.Result.File, ""
	if parts := strings.Split(at, ":"); len(parts) >= 3 {
		file, line = strings.Join(parts[:len(parts)-2], ":"), parts[len(parts)-2]
	}
	props := "title=" + annotationProperty("squall "+d.Result.Scenario)
	if file != "" {
		props += ",file=" + annotationProperty(filepath.ToSlash(file))
	}
	if line != "" {
		props += ",line=" + annotationProperty(line)
	}
	return "::error " + props + "::" + annotationData(msg) + "\n"
}

func annotationData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(clean(s))
}

func annotationProperty(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(annotationData(s))
}
