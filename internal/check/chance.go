package check

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// unlikely is the share of all samples, on each side, that Chance leaves out.
const unlikely = 1e-9

// mostRequests is the largest sample whose chance is worked out.
const mostRequests = 1_000_000

// Chance is the probability that the statement passes when each of n requests meets its measure with the probability that is predicted.
// ok is false unless the statement is about that one share and the prediction, were it known exactly, would let it pass.
func (e *Expr) Chance(p Prediction, n int64) (pass float64, ok bool) {
	if p.Value == nil || n <= 0 || n > mostRequests || len(e.measures) != 1 || e.measures[0].kind != mRatio || e.measures[0].delta {
		return 0, false
	}
	if x, err := predicted(p, nil); err != nil || x.measures[0].key() != e.measures[0].key() || e.passes(exact(*p.Value, n, "")) != Pass {
		return 0, false
	}
	return e.chance(*p.Value, n), true
}

// RequestsFor is about how many requests give the statement the chance at least, or 0 when no number in reach does. The prediction is
// one of which Chance is ok.
func (e *Expr) RequestsFor(p Prediction, chance float64) int64 {
	for n := int64(10); n <= mostRequests; n += max(1, n/20) {
		if e.chance(*p.Value, n) >= chance {
			return n
		}
	}
	return 0
}

func (e *Expr) chance(p float64, n int64) float64 {
	if p <= 0 || p >= 1 {
		if e.passes(e.shareReading(int64(math.Round(p*float64(n))), n)) == Pass {
			return 1
		}
		return 0
	}
	b := distuv.Binomial{N: float64(n), P: p}
	least, most := Accept(p, n, 1-2*unlikely)
	var pass float64
	for k := least; k <= most; k++ {
		if e.passes(e.shareReading(k, n)) == Pass {
			pass += b.Prob(float64(k))
		}
	}
	return min(1, pass)
}

// shareReading is what is read when k of n requests meet the statement's one measure.
func (e *Expr) shareReading(k, n int64) reading {
	r := exact(float64(k)/float64(n), n, "")
	if c := e.shareOf(e.measures[0]); c > 0 {
		r.k, r.confidence = k, c
		r.lo, r.hi, r.method = ratioInterval(k, n, c)
	}
	return r
}

func (e *Expr) passes(r reading) Verdict { return e.evaluate(e.root, []reading{r}).verdict }
