package report

import (
	"fmt"
	"slices"
	"strings"

	"squall/internal/check"
	"squall/internal/record"
)

func newPhaseView(d Data, i int, r check.PhaseResult) phaseView {
	p := phaseOf(d, r.Name)
	v := phaseView{
		ID: fmt.Sprintf("phase-%d", i), Result: r, Reason: reasonOf(r.Reason), Live: liveTexts(d, r.Name),
		Checks:      outcomeViews(outcomesOf(r, check.KindCheck, check.KindGate, check.KindHalt, "")),
		Predictions: outcomeViews(outcomesOf(r, check.KindPrediction)), Unpredicted: specOf(d, r.Name).Unpredicted,
		Proofs: outcomeViews(outcomesOf(r, check.KindProof, check.KindRollback)), Unproven: specOf(d, r.Name).Unproven,
		Records: outcomeViews(outcomesOf(r, check.KindRecords)),
	}
	for _, o := range r.Origins[:min(maxOrigins, len(r.Origins))] {
		v.Origins = append(v.Origins, o.String())
	}
	switch {
	case r.NotRun != "":
		v.Note = "Not run: " + r.NotRun + "."
	case p.Load == nil:
		v.Note = "No load was recorded for this phase."
	default:
		v.URL, v.Load, v.Errors, v.Workers = p.Load.URL, loadFacts(p), loadErrors(p), newWorkersView(p.Load)
	}
	protocol := ""
	if p.Load != nil {
		protocol = p.Load.Protocol
	}
	classes := answerClasses(p.Answers, protocol)
	v.Codes = newBarChart(p, classes)
	v.Latency = newHistogram(p, classes)
	v.Rows = rowViews(p, classes)
	v.Hints = flagHints(p.Rows)
	return v
}

// specOf is what the phase is judged by.
func specOf(d Data, phase string) check.PhaseSpec {
	for _, p := range d.Spec.Phases {
		if p.Name == phase {
			return p
		}
	}
	return check.PhaseSpec{}
}

// loadFacts sets what was asked for beside what was achieved.
func loadFacts(p PhaseData) []fact {
	l := p.Load
	asked := "by duration"
	if l.Asked > 0 {
		asked = formatCount(l.Asked)
	}
	rate := "as fast as it can"
	if l.AskedQPS > 0 {
		rate = formatNumber(l.AskedQPS) + "/s"
	}
	f := []fact{
		{"Requests done", formatCount(l.Count)}, {"Asked", asked},
		{"Rate achieved", formatNumber(roundTo(l.QPS, 1)) + "/s"}, {"Rate asked", rate},
		{"Took", formatSeconds(l.Seconds)}, {"Connections", formatCount(int64(l.Connections))}, {"Protocol", l.Protocol},
		{"Warm-up, not counted", formatCount(l.WarmUp)}, {"Cut off, not counted", formatCount(l.Cut)},
		{"Access logs", accessLogs(l)},
	}
	if g := l.Generator; g != nil {
		f = append(f, fact{"Made by", fmt.Sprintf("%s %s: the calls and their times are from its proxy's access log", g.Name, g.Version)})
		f = append(f, fact{"A call by its own clock", fmt.Sprintf("mean %s, longest %s", formatSeconds(g.Mean), formatSeconds(g.Max))})
	}
	if l.Interrupted != "" {
		f = append(f, fact{"Interrupted", l.Interrupted})
	}
	if p.Count != l.Count {
		f = append(f, fact{"Records read", formatCount(p.Count)})
	}
	if p.Unjoined > 0 {
		f = append(f, fact{"Without a log entry", formatCount(p.Unjoined)})
	}
	return slices.DeleteFunc(f, func(f fact) bool { return f.Value == "" })
}

func accessLogs(l *record.Load) string {
	switch l.Complete {
	case "ok":
		return "complete"
	case "":
		return "not compared"
	}
	return l.Complete
}

func outcomeViews(outcomes []check.Outcome) []outcomeView {
	var out []outcomeView
	for _, o := range outcomes {
		v := outcomeView{Outcome: o, Title: title(o), Why: reasonOf(o.Reason)}
		for _, m := range o.Measures {
			v.Measures = append(v.Measures, newMeasureView(m, o))
		}
		if len(v.Measures) == 0 {
			v.Measures = []measureView{{Show: absent}}
		}
		v.Span = len(v.Measures)
		out = append(out, v)
	}
	return out
}

// newMeasureView draws the bar only where the limit is about this one measure.
func newMeasureView(m check.Measure, o check.Outcome) measureView {
	v := measureView{Measure: m, Show: measureValue(m, o.Limit), Interval: measureInterval(m, o.Limit), How: measureMethod(m)}
	if len(o.Measures) == 1 {
		v.Bar = newIntervalBar(m, o.Limit)
	}
	return v
}

func rowViews(p PhaseData, classes []string) []rowView {
	var out []rowView
	for _, r := range p.Rows {
		v := rowView{Row: r, Name: answerName(r.Code, r.Error), Class: "k-x"}
		if r.Rest {
			v.Name = "all other"
		}
		i := slices.IndexFunc(p.Answers, func(a Answer) bool { return a.Code == r.Code && a.Error == r.Error })
		if i >= 0 && !r.Rest {
			v.Class = classes[i]
		}
		percent := float64(r.Count) / float64(p.Count) * 100
		v.Percent = roundTo(percent, 2)
		v.Share = neverRound(fmt.Sprintf("%.1f", percent), percent) + " %"
		out = append(out, v)
	}
	return out
}

// answerClasses picks the colour of each answer: one hue for each class of codes, and up to three shades of it.
func answerClasses(answers []Answer, protocol string) []string {
	shades := map[string]int{}
	out := make([]string, len(answers))
	for i, a := range answers {
		hue := answerHue(a, protocol)
		out[i] = fmt.Sprintf("%s s%d", hue, min(shades[hue], 2))
		shades[hue]++
	}
	return out
}

func answerHue(a Answer, protocol string) string {
	switch {
	case a.Error != "":
		return "k-x"
	case protocol == "grpc" && a.Code == 0:
		return "k-2"
	case protocol == "grpc":
		return "k-5"
	case a.Code >= 100 && a.Code < 600:
		return fmt.Sprintf("k-%d", a.Code/100)
	}
	return "k-x"
}

// flagHints explains the response flags that were seen, in Envoy's words.
func flagHints(rows []Row) []fact {
	meanings := map[string]string{
		"UO": "upstream overflow: the circuit breaker shed the request", "UH": "no healthy upstream host",
		"UF": "upstream connection failure", "UC": "upstream connection termination", "UR": "upstream remote reset",
		"UT": "upstream request timeout", "URX": "retry or connect attempts used up", "UPE": "upstream protocol error",
		"FI": "fault injected: abort", "DI": "fault injected: delay", "NR": "no route configured", "NC": "no cluster found",
		"DC": "downstream connection termination", "DPE": "downstream protocol error", "DT": "downstream duration timeout",
		"LR": "connection local reset", "LH": "local service failed its health check", "RL": "rate limited",
		"UAEX": "denied by external authorization", "SI": "stream idle timeout", "UMSDR": "upstream maximum stream duration reached",
		"?": "no access log entry was found for these requests",
	}
	var out []fact
	for _, r := range rows {
		for f := range strings.SplitSeq(r.Flags, ",") {
			f = strings.TrimSpace(f)
			known := slices.ContainsFunc(out, func(h fact) bool { return h.Name == f })
			if meaning := meanings[f]; meaning != "" && !known {
				out = append(out, fact{f, meaning})
			}
		}
	}
	return out
}
