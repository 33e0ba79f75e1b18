package check

import (
	"fmt"
	"math"
	"sort"
	"strconv"

	"gonum.org/v1/gonum/stat/distuv"
)

// acceptAt is the confidence of the range in which a share has to lie that is predicted: of 100,000 right predictions one is refused.
const acceptAt = 0.99999

// shownAt is the confidence of the interval that is shown beside a prediction.
const shownAt = 0.95

// slack is how far rounding may carry a figure from the one that is predicted.
const slack = 1e-9

// Prediction is what the rules of a phase say that a measure will be. Either Value or a bound is needed.
type Prediction struct {
	// Measure is one measure in the language of checks, such as ratio(code == 503).
	Measure string `json:"measure"`
	// Value is the expected value: of a ratio, the probability for each of its requests; of anything else, the exact figure when there
	// is no bound.
	Value *float64 `json:"value,omitempty"`
	// Lo and Hi bound the measure where the rules give no probability; in seconds for times.
	Lo *float64 `json:"lo,omitempty"`
	Hi *float64 `json:"hi,omitempty"`
	// Why is the rule and the formula that it follows from.
	Why string `json:"why"`
}

// String is the measure with its value or bounds.
func (p Prediction) String() string {
	if p.Value != nil {
		return p.Measure + " = " + figure(*p.Value, "")
	}
	lo, hi := math.Inf(-1), math.Inf(1)
	if p.Lo != nil {
		lo = *p.Lo
	}
	if p.Hi != nil {
		hi = *p.Hi
	}
	return p.Measure + " " + limitOf(lo, hi, "")
}

// Accept is the range of k for which a probability of p for each of n requests is not refuted: outside of it are at most 1-confidence
// of all samples, half on each side.
func Accept(p float64, n int64, confidence float64) (lo, hi int64) {
	switch {
	case p <= 0:
		return 0, 0
	case p >= 1:
		return n, n
	}
	tail := (1 - confidence) / 2
	b := distuv.Binomial{N: float64(n), P: p}
	lo = int64(sort.Search(int(n), func(k int) bool { return b.CDF(float64(k)) > tail }))
	hi = int64(sort.Search(int(n), func(k int) bool { return 1-b.CDF(float64(k)) <= tail }))
	return lo, hi
}

// CheckPrediction says whether the prediction's measure can be read.
func CheckPrediction(p Prediction, services []string) error {
	_, err := predicted(p, services)
	return err
}

// predicted compiles a prediction's measure. A comparison that is neither always nor never true stands for it.
func predicted(p Prediction, services []string) (*Expr, error) {
	var err error
	for _, rest := range []string{" < 0.5", " < 0.5s", " < 2"} {
		var e *Expr
		if e, err = Compile(p.Measure+rest, services); err == nil {
			return e, nil
		}
	}
	return nil, err
}

// predict judges the phase's predictions.
func (j *runJudge) predict(spec PhaseSpec) []Outcome {
	out := make([]Outcome, 0, len(spec.Predictions))
	for _, p := range spec.Predictions {
		o := Outcome{Kind: KindPrediction, Phase: spec.Name, Name: p.Measure, Expr: p.Measure, Text: p.Why, Predicted: p.Value}
		c := j.predicted[p.Measure]
		if c.err != nil {
			o.Verdict, o.Reason = Error, fmt.Sprintf("%s cannot be read: %v", p.Measure, c.err)
			out = append(out, o)
			continue
		}
		m := c.expr.measures[0]
		confidence := 0.0
		if m.estimated() {
			confidence = shownAt
		}
		r := j.book.read(m, spec.Name, confidence)
		o.Measures = []Measure{m.report(r)}
		load := j.book.phase(spec.Name).load
		if load.Lost == "" && load.HasLost() && !m.estimated() {
			continue // how many calls there would have been is not known; the report says that a worker was lost
		}
		if load.Interrupted != "" && r.missing == "" {
			r.missing = "the load was interrupted: " + load.Interrupted
		}
		o.Verdict, o.Limit, o.Reason = p.judge(m, r)
		out = append(out, o)
	}
	return out
}

// judge compares what was measured with what is predicted.
func (p Prediction) judge(m *measure, r reading) (v Verdict, limit, reason string) {
	if r.missing != "" {
		return Inconclusive, "", p.Measure + " is not known: " + r.missing
	}
	lo, hi := math.Inf(-1), math.Inf(1)
	switch {
	case p.Value != nil && m.isShare() && r.n > 0:
		least, most := Accept(*p.Value, r.n, acceptAt)
		lo, hi = float64(least)/float64(r.n), float64(most)/float64(r.n)
	case p.Value != nil && p.Lo == nil && p.Hi == nil:
		lo, hi = *p.Value, *p.Value
	}
	if p.Lo != nil {
		lo = math.Max(lo, *p.Lo)
	}
	if p.Hi != nil {
		hi = math.Min(hi, *p.Hi)
	}
	limit = limitOf(lo, hi, m.unit())
	what := "the rules predict " + limit
	if p.Value != nil {
		what = fmt.Sprintf("the rules predict %s, which allows %s", figure(*p.Value, m.unit()), limit)
	}
	if r.value < lo-slack || r.value > hi+slack {
		return Fail, limit, fmt.Sprintf("%s; measured %s: %s", what, figure(r.value, m.unit()), p.Why)
	}
	return Pass, limit, what + ": " + p.Why
}

func limitOf(lo, hi float64, unit string) string {
	switch {
	case math.IsInf(lo, -1):
		return "<= " + figure(hi, unit)
	case math.IsInf(hi, 1):
		return ">= " + figure(lo, unit)
	}
	return "in [" + figure(lo, unit) + ", " + figure(hi, unit) + "]"
}

// figure is a number with four digits, and the unit of times.
func figure(v float64, unit string) string {
	s := strconv.FormatFloat(v, 'g', 4, 64)
	if unit == "s" {
		s += "s"
	}
	return s
}
