package check

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// TestChance compares with how often samples that are drawn pass.
func TestChance(t *testing.T) {
	src := rand.NewPCG(1, 2)
	for _, c := range []struct {
		stmt, measure string
		p             float64
		n             int64
	}{
		{`ratio(version == "v2") in [29%, 38%] @99%`, `ratio(version == "v2")`, 1.0 / 3, 2000},
		{`ratio(version=="v2") in [29%, 38%]`, `ratio(version == "v2")`, 1.0 / 3, 100},
		{`abs(ratio(code == 503) - 10%) < 4% @95%`, `ratio(code == 503)`, 0.1, 300},
		{`ratio(code == 503) > 1%`, `ratio(code == 503)`, 0.02, 60},
		{`ratio(code == 503) > 1% && ratio(code == 503) < 3%`, `ratio(code == 503)`, 0.02, 1000},
	} {
		e, err := Compile(c.stmt, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := e.Chance(Prediction{Measure: c.measure, Value: &c.p}, c.n)
		const draws = 20000
		b, passed := distuv.Binomial{N: float64(c.n), P: c.p, Src: src}, 0
		for range draws {
			if e.passes(e.shareReading(int64(b.Rand()), c.n)) == Pass {
				passed++
			}
		}
		want := float64(passed) / draws
		if !ok || math.Abs(got-want) > 0.02 || got < 0.1 || got > 0.999 {
			t.Errorf("%s: %v %v, drawn %v", c.stmt, got, ok, want)
		}
	}
}

// TestChanceUnknown are statements of which nothing is said: of another measure, of two, of one that is predicted not to pass.
func TestChanceUnknown(t *testing.T) {
	p := 0.5
	for stmt, measure := range map[string]string{
		`ratio(code == 503) in [40%, 60%]`:                                `ratio(code == 500)`,
		`ratio(code == 503) < 60% && ratio(code == 200) > 40%`:            `ratio(code == 503)`,
		`ratio(code == 503) > 60%`:                                        `ratio(code == 503)`,
		`count(code == 503) > 60`:                                         `count(code == 503)`,
		`delta(ratio(code == 503)) < 60%`:                                 `ratio(code == 503)`,
		`ratio(code == 503) in [40%, 60%] || ratio(code == 503) <= 100.%`: `ratio(`,
	} {
		e, err := Compile(stmt, nil)
		if err != nil {
			continue
		}
		if got, ok := e.Chance(Prediction{Measure: measure, Value: &p}, 100); ok {
			t.Errorf("%s: %v", stmt, got)
		}
	}
}

// TestRequestsFor is enough where it says so, and not for far fewer.
func TestRequestsFor(t *testing.T) {
	p := Prediction{Measure: `ratio(code == 503)`}
	share := 0.3
	p.Value = &share
	e, err := Compile(`ratio(code == 503) in [27%, 33%] @95%`, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := e.RequestsFor(p, 0.999)
	if enough, _ := e.Chance(p, n); n == 0 || enough < 0.999 {
		t.Errorf("%d: %v", n, enough)
	}
	if less, _ := e.Chance(p, n*3/4); less >= 0.999 {
		t.Errorf("%d, and %v at three quarters of them", n, less)
	}
	e, err = Compile(`ratio(code == 503) in [29.999%, 30.001%] @95%`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := e.RequestsFor(p, 0.999); n != 0 {
		t.Errorf("%d", n)
	}
}
