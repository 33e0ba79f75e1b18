package lint

import (
	"fmt"

	"squall/internal/check"
	"squall/internal/scenario"
)

// The checks that need a scenario: its load, its client and its statements.
const (
	SmallSample   = "small-sample"
	NoSidecar     = "no-sidecar-caller"
	fewFaults     = 10 // expected faults below which a percentage is a matter of luck
	percentOfAll  = 100
	noSidecarHint = "let the load go through a sidecar, or put the rule where the callers have one"
)

// Placed is a finding with its place in the author's files.
type Placed struct {
	Pos scenario.Pos
	Finding
}

// String is file:line:column: id: what (hint).
func (p Placed) String() string {
	text := fmt.Sprintf("%s: %s: %s", p.Pos, p.ID, p.What)
	if p.Hint != "" {
		text += " (" + p.Hint + ")"
	}
	return text
}

// TooFew is the finding that a statement needs more requests than the load makes to be able to pass.
func TooFew(pos scenario.Pos, stmt string, have, need int64) Placed {
	return Placed{pos, Finding{
		ID: SmallSample, What: fmt.Sprintf("%d requests cannot show %q, whatever comes out", have, stmt), Hint: fmt.Sprintf("at least %d are needed", need),
	}}
}

// surely is the chance below which a statement is left to luck: of a thousand runs that go as the rules say, one comes to nothing.
const surely = 0.999

// Lucky is the finding that a statement may well not pass though the rules do as they are predicted to; ok is false when it is not so.
func Lucky(pos scenario.Pos, stmt *check.Expr, p check.Prediction, requests int64) (f Placed, ok bool) {
	chance, ok := stmt.Chance(p, requests)
	if !ok || chance >= surely {
		return f, false
	}
	f = Placed{pos, Finding{
		ID: SmallSample, Hint: "give wider limits",
		What: fmt.Sprintf("%s passes in %.3g %% of runs of %d requests, when %s as the rules predict", stmt, percentOfAll*chance, requests, p),
	}}
	if n := stmt.RequestsFor(p, surely); n > 0 {
		f.Hint = fmt.Sprintf("send about %d requests, or give wider limits", n)
	}
	return f, true
}

// FewFaults is the finding that a fault of so many percent is expected to meet very few of the load's requests; ok is false when it is not,
// and when the fault meets all of them, which is no matter of luck.
func FewFaults(pos scenario.Pos, percent float64, requests int64) (p Placed, ok bool) {
	expected := percent / percentOfAll * float64(requests)
	if requests == 0 || percent >= percentOfAll || expected >= fewFaults {
		return p, false
	}
	return Placed{pos, Finding{
		ID: SmallSample, What: fmt.Sprintf("%g %% of %d requests are %.3g: whether any is met is a matter of luck", percent, requests, expected),
		Hint: fmt.Sprintf("send at least %.0f requests", fewFaults*percentOfAll/percent),
	}}, true
}

// WithoutSidecar is the finding that a rule of the caller's side does not hold for a load without a proxy.
func WithoutSidecar(pos scenario.Pos, object string) Placed {
	return Placed{pos, Finding{ID: NoSidecar, What: object + " holds in the caller's proxy, and the load has none", Hint: noSidecarHint}}
}

// ScenarioChecks are the checks that Objects does not make.
func ScenarioChecks() []Check {
	return []Check{
		{ID: NoSidecar, Title: "A rule of the caller's side for a caller without a sidecar"},
		{ID: SmallSample, Title: "Too few requests for what is to be shown"},
	}
}
