package check

import (
	"math"
	"sort"

	"cel.dev/cel-go/common/operators"
)

// Enough is the number of requests below which a statement about one ratio cannot pass, however they come out: its interval is wider
// than its limits, or reaches over its limit. It is 0 for all other statements. It counts all requests, which delta only makes more.
func (e *Expr) Enough() int64 {
	n := e.root
	if e.confidence == 0 || len(e.measures) != 1 || e.measures[0].kind != mRatio || len(n.kids) < 2 || n.kids[0].op != opMeasure {
		return 0
	}
	var limits []float64
	for _, k := range n.kids[1:] {
		if k.op != opNumber {
			return 0
		}
		limits = append(limits, k.num)
	}
	c := e.shareOf(e.measures[0])
	var fits func(int64) bool
	switch {
	case n.op == operators.In && len(limits) == 2:
		fits = func(n int64) bool { return fitsWithin(limits[0], limits[1], n, c) }
	case n.op == operators.Less || n.op == operators.LessEquals:
		fits = func(n int64) bool { _, hi, _ := ratioInterval(0, n, c); return hi < limits[0] }
	case n.op == operators.Greater || n.op == operators.GreaterEquals:
		fits = func(n int64) bool { lo, _, _ := ratioInterval(n, n, c); return lo > limits[0] }
	default:
		return 0
	}
	const most = 100_000_000
	if !fits(most) {
		return 0 // the compiler has said so, or it is for ever beyond reach
	}
	return int64(sort.Search(most, func(n int) bool { return n > 0 && fits(int64(n)) }))
}

// fitsWithin says whether some share of n requests has an interval within [a, b]: it tries those around the middle, where there is most
// room on both sides.
func fitsWithin(a, b float64, n int64, confidence float64) bool {
	mid := int64(math.Round((a + b) / 2 * float64(n)))
	for k := max(0, mid-1); k <= min(n, mid+1); k++ {
		if lo, hi, _ := ratioInterval(k, n, confidence); lo >= a && hi <= b {
			return true
		}
	}
	for _, k := range []int64{0, n} { // all or none
		if lo, hi, _ := ratioInterval(k, n, confidence); lo >= a && hi <= b {
			return true
		}
	}
	return false
}
