package check

import "testing"

// TestEnough compares with the first n at which some outcome passes, found by trying all of them.
func TestEnough(t *testing.T) {
	for stmt, want := range map[string]int64{
		"ratio(code == 503) in [24%, 36%] @95%": 0, "ratio(code == 200) > 99% @95%": 0, "ratio(code == 503) < 8% @95%": 0,
		"ratio(code == 503) in [24%, 36%]": -1, "p99 < 2s @95%": -1, "count(code == 503) > 3": -1, "ratio(code == 503) in [0.1, 0.95] @95%": 0,
	} {
		e, err := Compile(stmt, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := e.Enough()
		if want < 0 {
			if got != 0 {
				t.Errorf("%s: %d", stmt, got)
			}
			continue
		}
		passes := func(n int64) bool {
			for k := range n + 1 {
				r := exact(float64(k)/float64(n), n, "")
				r.k, r.confidence = k, e.confidence
				r.lo, r.hi, r.method = ratioInterval(k, n, e.confidence)
				if e.evaluate(e.root, []reading{r}).verdict == Pass {
					return true
				}
			}
			return false
		}
		if got < 1 || !passes(got) || got > 20 && passes(got*9/10-2) {
			t.Errorf("%s: %d: passes %v there", stmt, got, got > 0 && passes(got))
		}
	}
}
