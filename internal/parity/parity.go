// Package parity compares what one scenario came to in two environments: the same verdict, and shares whose intervals overlap. It is
// pure: results in, comparison out.
package parity

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"squall/internal/check"
)

// confidence is that of the intervals: two right shares are told apart wrongly about three times in a million comparisons.
const confidence = 0.999

// Share is one ratio as it was measured in both environments.
type Share struct {
	Phase string
	Expr  string // as written: ratio(code == 503)
	A, B  Interval
	// Predicted says that the rules determine the share, so that environments must agree in it. Others depend on timing: how much a
	// breaker sheds is not the same on a slower machine.
	Predicted bool
}

// Interval is a measured share with its interval at 99.9 %.
type Interval struct {
	Value, Lo, Hi float64
	N             int64
}

// Overlap reports whether one probability can be behind both.
func (s Share) Overlap() bool { return s.A.Lo <= s.B.Hi && s.B.Lo <= s.A.Hi }

// Comparison is one scenario in two environments.
type Comparison struct {
	Scenario string
	A, B     check.Result
	Shares   []Share
}

// Compare sets two results of one scenario side by side. Measures that only one of them has are left out: phases that a gate left out
// are, and the verdicts tell.
func Compare(a, b check.Result) Comparison {
	c := Comparison{Scenario: a.Scenario, A: a, B: b}
	other := map[string]Share{}
	for _, s := range shares(b) {
		other[s.key()] = s
	}
	for _, s := range shares(a) {
		if o, ok := other[s.key()]; ok {
			s.B, s.Predicted = o.A, s.Predicted || o.Predicted
			c.Shares = append(c.Shares, s)
		}
	}
	return c
}

func (s Share) key() string { return s.Phase + "\x00" + s.Expr }

// shares are the ratios of a result, each once for a phase; A is what was measured.
func shares(r check.Result) []Share {
	var out []Share
	at := map[string]int{}
	for _, p := range r.Phases {
		for _, o := range p.Outcomes {
			for _, m := range o.Measures {
				if !isShare(m) {
					continue
				}
				s := Share{Phase: p.Name, Expr: m.Expr, A: interval(m), Predicted: o.Kind == check.KindPrediction && o.Predicted != nil}
				i, had := at[s.key()]
				if had {
					out[i].Predicted = out[i].Predicted || s.Predicted
					continue
				}
				at[s.key()] = len(out)
				out = append(out, s)
			}
		}
	}
	return out
}

// isShare reports whether a measure is a share of requests.
func isShare(m check.Measure) bool {
	return m.Value != nil && m.N > 0 && m.Unit == "" && (strings.HasPrefix(m.Expr, "ratio(") || strings.HasSuffix(m.Expr, ").ratio"))
}

func interval(m check.Measure) Interval {
	lo, hi := check.RatioInterval(int64(math.Round(*m.Value*float64(m.N))), m.N, confidence)
	return Interval{Value: *m.Value, Lo: lo, Hi: hi, N: m.N}
}

// Err says in what the environments do not agree, nil when they do.
func (c Comparison) Err() error {
	var errs []error
	if c.A.Verdict != c.B.Verdict {
		errs = append(errs, fmt.Errorf("%s on %s (%s), %s on %s (%s)", c.A.Verdict, c.A.Env, c.A.Reason, c.B.Verdict, c.B.Env, c.B.Reason))
	}
	for _, s := range c.Shares {
		if s.Predicted && !s.Overlap() {
			errs = append(errs, fmt.Errorf("%s: %s is %s on %s, %s on %s", s.Phase, s.Expr, s.A, c.A.Env, s.B, c.B.Env))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", c.Scenario, err)
	}
	return nil
}

// String is such as "30.5 % (27.1 % to 34.0 %)".
func (i Interval) String() string {
	return fmt.Sprintf("%.1f %% (%.1f %% to %.1f %%)", 100*i.Value, 100*i.Lo, 100*i.Hi)
}
