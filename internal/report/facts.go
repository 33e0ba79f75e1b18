package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"squall/internal/check"
	"squall/internal/record"
)

// verdictLine is the last line of a run's output.
func verdictLine(d Data) string {
	s := fmt.Sprintf("%s %s: %s", d.Result.Verdict, clean(d.Result.Scenario), clean(reasonOf(d.Result.Reason)))
	if d.Dir != "" {
		s += fmt.Sprintf(" (report: %s)", clean(d.Dir+"/"+record.ReportFile))
	}
	return s
}

// runLine is which run it was, where and how long it took.
func runLine(r check.Result) string {
	return fmt.Sprintf("%s on %s, seed %d, %s", cmp.Or(r.RunID, "without an id"), cmp.Or(r.Env, "an unknown environment"), r.Seed, took(r.Seconds))
}

// took is a duration that is 0 when it was not recorded.
func took(seconds float64) string {
	if seconds == 0 {
		return "duration not recorded"
	}
	return formatSeconds(seconds)
}

func reasonOf(s string) string {
	if strings.TrimSpace(s) == "" {
		return "no reason was recorded"
	}
	return s
}

// loadLine is one sentence about what a phase's load asked for and achieved.
func loadLine(p PhaseData) string {
	l := p.Load
	if l == nil {
		return "no load was recorded"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s/s over %s in %s", plural(l.Count, "request", "requests"), formatNumber(roundTo(l.QPS, 1)),
		plural(int64(l.Connections), "connection", "connections"), formatSeconds(l.Seconds))
	var asked []string
	if l.Asked > 0 && l.Asked != l.Count {
		asked = append(asked, plural(l.Asked, "request", "requests"))
	}
	if l.AskedQPS > 0 {
		asked = append(asked, formatNumber(l.AskedQPS)+"/s")
	}
	if len(asked) > 0 {
		fmt.Fprintf(&b, " (asked: %s)", strings.Join(asked, " at "))
	}
	if g := l.Generator; g != nil {
		fmt.Fprintf(&b, ", by %s %s: calls and times are from its proxy's log", g.Name, g.Version)
	}
	if l.Cut > 0 {
		fmt.Fprintf(&b, ", %s cut off", formatCount(l.Cut))
	}
	if l.Interrupted != "" {
		b.WriteString(", interrupted: " + l.Interrupted)
	}
	return b.String()
}

// answersLine is "200 164, 503 136".
func answersLine(p PhaseData) string {
	parts := make([]string, len(p.Answers))
	for i, a := range p.Answers {
		parts[i] = answerName(a.Code, a.Error) + " × " + formatCount(a.Count)
	}
	return strings.Join(parts, ", ")
}

// loadErrors has, for each kind of failed calls, how many they are and the whole text of the first one's error.
func loadErrors(p PhaseData) []string {
	if p.Load == nil {
		return nil
	}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(p.Load.Errors)) {
		name := kind
		if i := slices.IndexFunc(p.Answers, func(a Answer) bool { return a.Error == kind }); i >= 0 {
			name += " × " + formatCount(p.Answers[i].Count)
		}
		out = append(out, name+", the first: "+p.Load.Errors[kind])
	}
	return out
}

// phaseOf is the aggregated load of the phase, or nothing but its name.
func phaseOf(d Data, name string) PhaseData {
	i := slices.IndexFunc(d.Phases, func(p PhaseData) bool { return p.Name == name })
	if i < 0 {
		return PhaseData{Name: name}
	}
	return d.Phases[i]
}

// liveTexts say of each change of a phase, in order, on how many proxies it is live.
func liveTexts(d Data, phase string) []string {
	var out []string
	for _, e := range d.Events {
		if e.Phase == phase && e.Kind == "live" {
			out = append(out, e.Text)
		}
	}
	return out
}

// outcomesOf are a phase's outcomes of the given kinds, in order.
func outcomesOf(p check.PhaseResult, kinds ...check.Kind) []check.Outcome {
	var out []check.Outcome
	for _, o := range p.Outcomes {
		if slices.Contains(kinds, o.Kind) {
			out = append(out, o)
		}
	}
	return out
}

// title is what an outcome says, as the author wrote it.
func title(o check.Outcome) string {
	switch {
	case o.Kind == check.KindGate && o.Name != o.Expr:
		return o.Name + ": " + o.Expr
	case o.Kind == check.KindProof && o.Text != "":
		return o.Name + ": " + o.Text
	case o.Expr != "" && o.Kind != check.KindProof:
		return o.Expr
	}
	return o.Name
}

// measureLine is a measure with all its evidence: "ratio(code == 503) = 45.33 % [39.79 %, 50.99 %] (95 % wilson), n 300, client records".
func measureLine(m check.Measure, limit string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s = %s", m.Expr, measureValue(m, limit))
	if m.Missing != "" {
		fmt.Fprintf(&b, " (absent: %s)", m.Missing)
	}
	if iv := measureInterval(m, limit); iv != "" {
		b.WriteString(" " + iv)
	}
	if how := measureMethod(m); how != "" {
		fmt.Fprintf(&b, " (%s)", how)
	}
	fmt.Fprintf(&b, ", n %s", formatCount(m.N))
	if m.Source != "" {
		b.WriteString(", " + m.Source)
	}
	return b.String()
}

// evidence are the lines under an outcome: its measures, how many requests it would have needed, and the limit where it
// is about one measure; else the outcome's title has it.
func evidence(o check.Outcome) []string {
	var out []string
	for _, m := range o.Measures {
		out = append(out, measureLine(m, o.Limit))
	}
	switch {
	case len(out) != 1 || o.Limit == "":
	case o.Predicted != nil:
		out[0] = "predicted " + formatIn(*o.Predicted, o.Measures[0], o.Limit) + "; " + out[0] + "; accepted " + o.Limit
	case o.Kind == check.KindPrediction:
		out[0] += "; predicted " + o.Limit
	default:
		out[0] += "; limit " + o.Limit
	}
	if o.Need > 0 {
		out = append(out, "needs about "+plural(o.Need, "request", "requests"))
	}
	return out
}

// rollbackParts are the three parts of the rollback's verification, with what was wrong in words.
func rollbackParts(r record.Rollback) []namedPart {
	parts := []namedPart{{Name: "objects", Text: r.Objects}, {Name: "proxies", Text: r.Proxies}, {Name: "baseline", Text: r.Baseline}}
	for i := range parts {
		parts[i].OK = parts[i].Text == "ok"
		if parts[i].Text == "" {
			parts[i].Text = "not verified"
		}
	}
	return parts
}

type namedPart struct {
	Name, Text string
	OK         bool
}
