package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"squall/internal/check"
)

// JUnit writes one test suite for the scenario and one test case for each check, proof and part of the rollback. FAIL
// is a failure, INCONCLUSIVE a failure of the type "inconclusive", ERROR and HALTED are errors; what is skipped are phases after a
// gate that ended the run, each with that reason. A phase, a rollback or a run that did not pass although none of its cases says so gets a case of its own,
// so that a run that died early fails. A case's time is its share of its phase's load.
func JUnit(w io.Writer, d Data) error {
	r := d.Result
	suite := junit.Testsuite{Name: clean(r.Scenario), File: clean(r.File), Time: junitSeconds(r.Seconds)}
	if !r.Start.IsZero() {
		suite.SetTimestamp(r.Start)
	}
	suite.AddProperty("runId", clean(r.RunID))
	suite.AddProperty("env", clean(r.Env))
	suite.AddProperty("seed", fmt.Sprint(r.Seed))
	suite.AddProperty("verdict", r.Verdict.String())
	for _, k := range slices.Sorted(maps.Keys(r.Versions)) {
		suite.AddProperty("version."+clean(k), clean(r.Versions[k]))
	}
	for _, c := range junitCases(d) {
		suite.AddTestcase(c)
	}
	all := junit.Testsuites{Name: "squall", Time: suite.Time}
	all.AddSuite(suite)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	return all.WriteXML(w)
}

func junitCases(d Data) []junit.Testcase {
	var cases []junit.Testcase
	for _, p := range d.Result.Phases {
		cases = append(cases, junitPhase(d, p, p.Name)...)
	}
	if d.Result.Verdict != check.Pass && !slices.ContainsFunc(cases, isBad) {
		cases = append(cases, junitCase(d, "run", check.Outcome{Name: "verdict", Verdict: d.Result.Verdict, Reason: d.Result.Reason}))
	}
	return append(cases, junitPhase(d, d.Result.Rollback, "rollback")...)
}

func isBad(c junit.Testcase) bool { return c.Failure != nil || c.Error != nil }

func junitPhase(d Data, p check.PhaseResult, name string) []junit.Testcase {
	if p.NotRun != "" {
		return []junit.Testcase{{
			Name: "stage", Classname: clean(d.Result.Scenario + "." + name), Time: junitSeconds(0),
			Skipped: &junit.Result{Message: clean(p.NotRun)},
		}}
	}
	var cases []junit.Testcase
	for _, o := range p.Outcomes {
		cases = append(cases, junitCase(d, name, o))
	}
	if p.Verdict != check.Pass && !slices.ContainsFunc(cases, isBad) || len(cases) == 0 {
		cases = append(cases, junitCase(d, name, check.Outcome{Name: "verdict", Verdict: p.Verdict, Reason: p.Reason}))
	}
	seconds := 0.0
	if l := phaseOf(d, name).Load; l != nil {
		seconds = l.Seconds
	}
	for i := range cases {
		cases[i].Time = junitSeconds(seconds / float64(len(cases)))
	}
	return cases
}

func junitCase(d Data, phase string, o check.Outcome) junit.Testcase {
	name := clean(title(o))
	if o.Kind == check.KindProof || o.Kind == check.KindHalt || o.Kind == check.KindGate {
		name = string(o.Kind) + ": " + name
	}
	c := junit.Testcase{Name: name, Classname: clean(d.Result.Scenario + "." + phase), Status: o.Verdict.String()}
	lines := append([]string{o.Verdict.String() + ": " + reasonOf(o.Reason)}, evidence(o)...)
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	text := strings.Join(lines, "\n")
	problem := &junit.Result{Message: junitMessage(o), Type: strings.ToLower(o.Verdict.String()), Data: text}
	switch o.Verdict {
	case check.Pass:
	case check.Fail, check.Inconclusive:
		c.Failure = problem
	default:
		c.Error = problem
	}
	c.SystemOut = &junit.Output{Data: text}
	return c
}

// junitMessage puts the measured values and the limit into the one line that most consumers show.
func junitMessage(o check.Outcome) string {
	msg := clean(reasonOf(o.Reason))
	var values []string
	for _, m := range o.Measures {
		v := clean(m.Expr) + " = " + measureValue(m, o.Limit)
		if iv := measureInterval(m, o.Limit); iv != "" {
			v += " " + iv
		}
		values = append(values, v)
	}
	if len(values) > 0 {
		msg += "; measured " + strings.Join(values, ", ")
	}
	if o.Limit != "" {
		msg += "; limit " + clean(o.Limit)
	}
	return msg
}

func junitSeconds(s float64) string { return fmt.Sprintf("%.3f", s) }
