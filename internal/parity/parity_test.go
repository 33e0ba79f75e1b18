package parity

import (
	"strings"
	"testing"

	"squall/internal/check"
)

// result is a run with one share in one phase.
func result(env string, verdict check.Verdict, kind check.Kind, value float64, n int64) check.Result {
	m := check.Measure{Expr: "ratio(code == 503)", Value: &value, N: n}
	o := check.Outcome{Kind: kind, Measures: []check.Measure{m}}
	if kind == check.KindPrediction {
		o.Predicted = &value
	}
	return check.Result{
		Scenario: "abort", Env: env, Verdict: verdict, Reason: "so it is", Seconds: 2,
		Phases: []check.PhaseResult{{Name: "aborted", Outcomes: []check.Outcome{o}}},
	}
}

func TestCompare(t *testing.T) {
	for name, tt := range map[string]struct {
		a, b check.Result
		want string // part of the error, "" for none
		rows int    // shares
	}{
		"the same": {result("local", check.Pass, check.KindPrediction, 0.3, 2000), result("kind", check.Pass, check.KindPrediction, 0.31, 2000), "", 1},
		"another verdict": {result("local", check.Pass, check.KindPrediction, 0.3, 2000), result("kind", check.Fail, check.KindPrediction, 0.3, 2000),
			"abort: PASS on local (so it is), FAIL on kind (so it is)", 1},
		"a predicted share apart": {result("local", check.Pass, check.KindPrediction, 0.3, 2000), result("kind", check.Pass, check.KindPrediction, 0.4, 2000),
			"aborted: ratio(code == 503) is 30.0 % (26.7 % to 33.5 %) on local, 40.0 %", 1},
		"few requests":             {result("local", check.Pass, check.KindPrediction, 0.3, 50), result("kind", check.Pass, check.KindPrediction, 0.4, 50), "", 1},
		"one that timing decides":  {result("local", check.Pass, check.KindCheck, 0.3, 2000), result("kind", check.Pass, check.KindCheck, 0.6, 2000), "", 1},
		"predicted in one of them": {result("local", check.Pass, check.KindCheck, 0.3, 2000), result("kind", check.Pass, check.KindPrediction, 0.6, 2000), "aborted: ", 1},
		"only one has the phase":   {result("local", check.Pass, check.KindCheck, 0.3, 2000), check.Result{Env: "kind", Verdict: check.Pass}, "", 0},
	} {
		c := Compare(tt.a, tt.b)
		if err := c.Err(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if len(c.Shares) != tt.rows {
			t.Errorf("%s: %d shares, want %d", name, len(c.Shares), tt.rows)
		}
	}
}

func TestTable(t *testing.T) {
	got := Table([]Comparison{
		Compare(result("local", check.Pass, check.KindPrediction, 0.3, 2000), result("kind", check.Pass, check.KindPrediction, 0.31, 2000)),
		Compare(result("local", check.Pass, check.KindCheck, 0.3, 2000), result("kind", check.Fail, check.KindCheck, 0.6, 2000)),
	})
	const want = "| scenario | local | kind | shares that the rules determine | other shares |\n|---|---|---|---|---|\n" +
		"| abort | PASS (2.0 s) | PASS (2.0 s) | 1 of 1 overlap | none |\n" +
		"| abort | PASS (2.0 s) | FAIL (2.0 s) | none | 0 of 1 overlap |\n" +
		"\nShares whose intervals do not overlap:\n\n" +
		"| scenario | stage | share | local | kind |\n|---|---|---|---|---|\n" +
		"| abort | aborted | `ratio(code == 503)` | 30.0 % (26.7 % to 33.5 %) | 60.0 % (56.4 % to 63.5 %) |\n"
	if got != want {
		t.Errorf("%s", got)
	}
	if Table(nil) != "" {
		t.Error("a table of nothing is not empty")
	}
}
