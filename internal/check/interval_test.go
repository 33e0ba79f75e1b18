package check

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

// TestRatioInterval compares with published values: Clopper-Pearson of R's binom.test, Wilson of R's prop.test without
// the continuity correction.
func TestRatioInterval(t *testing.T) {
	tests := []struct {
		k, n       int64
		confidence float64
		lo, hi     float64
		method     string
	}{
		{0, 10, 0.95, 0, 0.3084971, "clopper-pearson"},
		{10, 10, 0.95, 0.6915029, 1, "clopper-pearson"},
		{1, 10, 0.95, 0.002528579, 0.4450161, "clopper-pearson"},
		{5, 10, 0.95, 0.1870860, 0.8129140, "clopper-pearson"},
		{0, 100, 0.95, 0, 0.03621669, "clopper-pearson"},
		{0, 368, 0.95, 0, 0.009974, "clopper-pearson"},
		{50, 100, 0.95, 0.4038315, 0.5961685, "wilson"},
		{15, 50, 0.95, 0.1910384, 0.4375032, "wilson"},
		{81, 263, 0.95, 0.2553, 0.3662, "wilson"}, // Newcombe 1998, table I
		{15, 148, 0.95, 0.0624, 0.1605, "wilson"}, // the same
	}
	for _, tt := range tests {
		lo, hi, method := ratioInterval(tt.k, tt.n, tt.confidence)
		if !near(lo, tt.lo, 5e-5) || !near(hi, tt.hi, 5e-5) || method != tt.method {
			t.Errorf("%d of %d: [%.7f, %.7f] %s, want [%.7f, %.7f] %s", tt.k, tt.n, lo, hi, method, tt.lo, tt.hi, tt.method)
		}
	}
}

// TestRankInterval compares with the definition: binomial tails summed term by term.
func TestRankInterval(t *testing.T) {
	for _, n := range []int64{1, 5, 6, 10, 50, 100, 299, 367, 368, 500, 1000} {
		for _, q := range []float64{0.5, 0.9, 0.99} {
			for _, confidence := range []float64{0.8, 0.95, 0.99} {
				lo, hi := rankInterval(n, q, confidence)
				wantLo, wantHi := ranksBySumming(n, q, confidence)
				if lo != wantLo || hi != wantHi {
					t.Errorf("n=%d q=%v at %v: ranks %d and %d, want %d and %d", n, q, confidence, lo, hi, wantLo, wantHi)
				}
			}
		}
	}
}

func ranksBySumming(n int64, q, confidence float64) (lo, hi int64) {
	tail := (1 - confidence) / 2
	pmf := func(k int64) float64 {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(k + 1))
		c, _ := math.Lgamma(float64(n - k + 1))
		return math.Exp(a - b - c + float64(k)*math.Log(q) + float64(n-k)*math.Log(1-q))
	}
	var sum float64
	for k := int64(0); k < n; k++ {
		if sum += pmf(k); sum > tail {
			break
		}
		lo = k + 1
	}
	hi, sum = n+1, 0
	for k := n; k >= 1; k-- {
		if sum += pmf(k); sum > tail {
			break
		}
		hi = k
	}
	return lo, hi
}

// TestRankIntervalLarge: for a million requests the ranks are those of the normal approximation.
func TestRankIntervalLarge(t *testing.T) {
	const n = 1_000_000
	for _, q := range []float64{0.5, 0.99, 0.999} {
		lo, hi := rankInterval(n, q, 0.95)
		half := 1.959964 * math.Sqrt(n*q*(1-q))
		if !near(float64(lo), n*q-half, 3) || !near(float64(hi), n*q+half, 3) {
			t.Errorf("q=%v: ranks %d and %d, want about %.0f and %.0f", q, lo, hi, n*q-half, n*q+half)
		}
	}
}

func TestMinForPercentile(t *testing.T) {
	for _, q := range []float64{0.05, 0.5, 0.9, 0.99, 0.999} {
		n := minForPercentile(q, 0.95)
		if lo, hi := rankInterval(n, q, 0.95); lo < 1 || hi > n {
			t.Errorf("q=%v: %d requests have ranks %d and %d", q, n, lo, hi)
		}
		if lo, hi := rankInterval(n-1, q, 0.95); lo >= 1 && hi <= n-1 {
			t.Errorf("q=%v: %d requests are already enough", q, n-1)
		}
	}
}

// TestCoverage draws many samples and counts how often the interval holds the truth.
func TestCoverage(t *testing.T) {
	const rounds, confidence = 4000, 0.95
	random := rand.New(rand.NewPCG(1, 2))
	t.Run("ratio", func(t *testing.T) {
		for _, n := range []int{20, 100, 1000} {
			for _, p := range []float64{0.05, 0.3, 0.9} {
				hit := 0
				for range rounds {
					var k int64
					for range n {
						if random.Float64() < p {
							k++
						}
					}
					if lo, hi, _ := ratioInterval(k, int64(n), confidence); lo <= p && p <= hi {
						hit++
					}
				}
				// Wilson's coverage swings around the confidence by up to two points here.
				if c := float64(hit) / rounds; c < confidence-0.025 {
					t.Errorf("n=%d p=%v: %.3f", n, p, c)
				}
			}
		}
	})
	t.Run("percentile", func(t *testing.T) {
		for _, n := range []int{30, 400} {
			for _, q := range []float64{0.5, 0.9, 0.99} {
				hit, truth := 0, -math.Log(1-q) // of the exponential distribution
				for range rounds {
					xs := make([]float64, n)
					for i := range xs {
						xs[i] = random.ExpFloat64()
					}
					slices.Sort(xs)
					if r := percentileReading(xs, q, confidence); r.lo <= truth && truth <= r.hi {
						hit++
					}
				}
				if c := float64(hit) / rounds; c < confidence-0.01 {
					t.Errorf("n=%d q=%v: %.3f", n, q, c)
				}
			}
		}
	})
}

// TestNeedIsEnough: with as many requests as were said to be needed, and the same share, the limit is decided.
func TestNeedIsEnough(t *testing.T) {
	for _, p := range []float64{0, 0.01, 0.3, 0.5, 0.97, 1} {
		for _, limit := range []float64{0.02, 0.32, 0.9} {
			n := needForRatio(p, limit, 0.95)
			if n == 0 {
				t.Errorf("p=%v limit=%v: no number", p, limit)
				continue
			}
			k := int64(math.Round(p * float64(n)))
			if lo, hi, _ := ratioInterval(k, n, 0.95); limit >= lo && limit <= hi {
				t.Errorf("p=%v limit=%v: %d are not enough: [%v, %v]", p, limit, n, lo, hi)
			}
		}
	}
	if n := needForRatio(0.5, 0.5, 0.95); n != 0 {
		t.Errorf("a share on its limit needs %d", n)
	}
}

func TestLogic(t *testing.T) {
	all := []Verdict{Pass, Fail, Inconclusive}
	for _, a := range all {
		for _, b := range all {
			wantAnd, wantOr := Inconclusive, Inconclusive
			switch {
			case a == Fail || b == Fail:
				wantAnd = Fail
			case a == Pass && b == Pass:
				wantAnd = Pass
			}
			switch {
			case a == Pass || b == Pass:
				wantOr = Pass
			case a == Fail && b == Fail:
				wantOr = Fail
			}
			if and(a, b) != wantAnd || or(a, b) != wantOr {
				t.Errorf("%v, %v: and %v, or %v", a, b, and(a, b), or(a, b))
			}
		}
	}
}

func TestWorst(t *testing.T) {
	order := []Verdict{Pass, Inconclusive, Fail, Halted, Error}
	for i, a := range order {
		for j, b := range order {
			if got := Worst(a, b); got != order[max(i, j)] {
				t.Errorf("Worst(%v, %v) = %v", a, b, got)
			}
		}
	}
	if Worst() != Inconclusive {
		t.Error("the worst of nothing is not INCONCLUSIVE")
	}
	if Worst(Pass, Verdict(77)) == Pass {
		t.Error("an unknown verdict passes")
	}
}

func TestFormat(t *testing.T) {
	tests := []struct {
		v    float64
		unit string
		want string
	}{
		{0.5, "", "50 %"}, {1, "", "100 %"}, {0.9999999, "", "99.99999 %"}, {0.00001, "", "0.001 %"}, {0, "", "0 %"}, {1.0 / 3, "", "33.33 %"},
		{0.25, "s", "250 ms"}, {2, "s", "2 s"}, {0.0000125, "s", "12.5 µs"}, {-0.001, "s", "-1 ms"}, {0, "s", "0 s"}, {123456, "s", "123500 s"},
		{1068, "requests", "1,068"}, {-1234567, "events", "-1,234,567"}, {999, "requests", "999"}, {-100, "requests", "-100"},
		{99.5, "1/s", "99.5 1/s"}, {math.Inf(1), "s", "unknown"},
	}
	for _, tt := range tests {
		if got := formatValue(tt.v, tt.unit); got != tt.want {
			t.Errorf("formatValue(%v, %q) = %s, want %s", tt.v, tt.unit, got, tt.want)
		}
	}
}
