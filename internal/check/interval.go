package check

import (
	"math"
	"sort"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// exactBelow is the number of requests below which a ratio's interval is Clopper-Pearson's.
const exactBelow = 40

// maxNeed is the number of requests above which "about N needed" helps nobody.
const maxNeed = 1_000_000_000

// quantileNormal is z for a two-sided confidence.
func quantileNormal(confidence float64) float64 {
	return distuv.UnitNormal.Quantile(1 - (1-confidence)/2)
}

// ratioInterval is the interval for a share of which k of n were seen: Wilson's score interval, or Clopper and
// Pearson's where that is known to be too narrow (few requests, none or all).
func ratioInterval(k, n int64, confidence float64) (lo, hi float64, method string) {
	if n < exactBelow || k == 0 || k == n {
		lo, hi = clopperPearson(k, n, confidence)
		return lo, hi, "clopper-pearson"
	}
	lo, hi = wilson(float64(k)/float64(n), float64(n), confidence)
	return lo, hi, "wilson"
}

// RatioInterval is the interval at the confidence for a share of which k of n requests were seen.
func RatioInterval(k, n int64, confidence float64) (lo, hi float64) {
	lo, hi, _ = ratioInterval(k, n, confidence)
	return lo, hi
}

func wilson(p, n, confidence float64) (lo, hi float64) {
	z := quantileNormal(confidence)
	mid := p + z*z/(2*n)
	half := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	scale := 1 + z*z/n
	return math.Max(0, (mid-half)/scale), math.Min(1, (mid+half)/scale)
}

func clopperPearson(k, n int64, confidence float64) (lo, hi float64) {
	tail, fk, fn := (1-confidence)/2, float64(k), float64(n)
	lo, hi = 0, 1
	switch k {
	case 0:
	case n:
		lo = math.Pow(tail, 1/fn)
	default:
		lo = mathext.InvRegIncBeta(fk, fn-fk+1, tail)
	}
	switch k {
	case n:
	case 0:
		hi = 1 - math.Pow(tail, 1/fn)
	default:
		hi = mathext.InvRegIncBeta(fk+1, fn-fk, 1-tail)
	}
	return lo, hi
}

// rankInterval gives the ranks (from 1) of the order statistics between which the q-quantile lies with at least the
// confidence, whatever the distribution. Rank 0 and rank n+1 say that n is too small for that side.
func rankInterval(n int64, q, confidence float64) (lo, hi int64) {
	tail := (1 - confidence) / 2
	b := distuv.Binomial{N: float64(n), P: q}
	// P(B <= r-1) <= tail for the lower rank r, and P(B >= r) <= tail for the upper.
	lo = int64(sort.Search(int(n), func(r int) bool { return b.CDF(float64(r)) > tail }))
	hi = 1 + int64(sort.Search(int(n), func(r int) bool { return 1-b.CDF(float64(r)) <= tail }))
	return lo, hi
}

// minForPercentile is the smallest n that has an upper and a lower rank.
func minForPercentile(q, confidence float64) int64 {
	tail := (1 - confidence) / 2
	return int64(math.Ceil(math.Log(tail) / math.Log(math.Max(q, 1-q))))
}

// percentileReading reads a percentile from sorted latencies: its nearest rank, and where a confidence is asked for the
// order statistics around it. A side that has too few requests is open.
func percentileReading(sorted []float64, q, confidence float64) reading {
	n := int64(len(sorted))
	rank := max(1, int64(math.Ceil(q*float64(n)-1e-9)))
	r := exact(sorted[rank-1], n, "")
	if confidence == 0 {
		return r
	}
	r.confidence, r.method = confidence, "order-statistics"
	lo, hi := rankInterval(n, q, confidence)
	r.lo, r.hi = 0, math.Inf(1)
	if lo >= 1 {
		r.lo = sorted[lo-1]
	}
	if hi <= n {
		r.hi = sorted[hi-1]
	}
	if lo < 1 || hi > n {
		r.need = minForPercentile(q, confidence)
	}
	r.fraction = func(limit float64) float64 {
		return float64(sort.SearchFloat64s(sorted, math.Nextafter(limit, math.Inf(1)))) / float64(n)
	}
	return r
}

// needForRatio is the number of requests at which a share that stays at p would be told from the limit, or 0.
func needForRatio(p, limit, confidence float64) int64 {
	told := func(n int64) bool {
		lo, hi, _ := ratioInterval(int64(math.Round(p*float64(n))), n, confidence)
		return limit < lo || limit > hi
	}
	if !told(maxNeed) {
		return 0
	}
	return int64(sort.Search(maxNeed, func(n int) bool { return n > 0 && told(int64(n)) }))
}

// need is about how many requests would tell the reading from the limit, if it stays what it is; 0 is unknown.
func (m *measure) need(r reading, limit float64) int64 {
	switch {
	case r.confidence == 0 || r.value == limit || r.n == 0:
		return 0
	case m.delta:
		half := r.hi - r.value
		if limit < r.value {
			half = r.value - r.lo
		}
		scale := half / (limit - r.value)
		n := math.Ceil(float64(r.n) * scale * scale)
		if !(n < maxNeed) {
			return r.need
		}
		return max(r.need, int64(n))
	case m.isShare():
		return needForRatio(r.value, limit, r.confidence)
	case m.kind == mPercentile:
		return max(r.need, needForRatio(r.fraction(limit), m.q, r.confidence))
	default:
		return 0
	}
}
