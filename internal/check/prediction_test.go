package check

import (
	"math"
	"strings"
	"testing"

	"squall/internal/record"
)

// TestAccept compares with the binomial distribution as tables give it.
func TestAccept(t *testing.T) {
	for _, c := range []struct {
		p          float64
		n          int64
		confidence float64
		lo, hi     int64
	}{
		{0, 100, 0.95, 0, 0},
		{1, 100, 0.95, 100, 100},
		{0.5, 10, 0.95, 2, 8}, // P(X<=1) = 0.0107, P(X<=2) = 0.0547
		{0.5, 100, 0.95, 40, 60},
		{0.1, 20, 0.95, 0, 5}, // P(X<=4) = 0.9568, P(X<=5) = 0.9887
		{0.01, 10000, 0.99999, 59, 147},
		{0.5, 1, 0.95, 0, 1},
	} {
		lo, hi := Accept(c.p, c.n, c.confidence)
		if lo != c.lo || hi != c.hi {
			t.Errorf("Accept(%v, %d, %v) = %d, %d; want %d, %d", c.p, c.n, c.confidence, lo, hi, c.lo, c.hi)
		}
	}
}

func answers(codes map[int]int) []record.Sample {
	var out []record.Sample
	for code, n := range codes {
		for range n {
			out = append(out, record.Sample{Request: record.Request{Code: code, Latency: 0.010}})
		}
	}
	return out
}

func TestPredictions(t *testing.T) {
	number := func(v float64) *float64 { return &v }
	for name, c := range map[string]struct {
		prediction Prediction
		codes      map[int]int
		verdict    Verdict
		reason     string
	}{
		"a share near its probability": {Prediction{Measure: "ratio(code == 503)", Value: number(0.5)}, map[int]int{200: 480, 503: 520}, Pass, "the rules predict 0.5"},
		"a share far from it":          {Prediction{Measure: "ratio(code == 503)", Value: number(0.5), Why: "half are aborted"}, map[int]int{200: 700, 503: 300}, Fail, "measured 0.3: half are aborted"},
		"none where none may be":       {Prediction{Measure: "ratio(code == 503)", Value: number(0)}, map[int]int{200: 700}, Pass, ""},
		"one where none may be":        {Prediction{Measure: "ratio(code == 503)", Value: number(0)}, map[int]int{200: 700, 503: 1}, Fail, ""},
		"within bounds":                {Prediction{Measure: "min()", Lo: number(0.009), Hi: number(0.02)}, map[int]int{200: 7}, Pass, "[0.009s, 0.02s]"},
		"below its bound":              {Prediction{Measure: "p50", Lo: number(0.02)}, map[int]int{200: 7}, Fail, ">= 0.02s"},
		"an exact count":               {Prediction{Measure: "count(code == 200)", Value: number(7)}, map[int]int{200: 7}, Pass, ""},
		"another count":                {Prediction{Measure: "count(code == 200)", Value: number(8)}, map[int]int{200: 7}, Fail, ""},
		"absent":                       {Prediction{Measure: "overflow(httpbin)", Value: number(0)}, map[int]int{200: 7}, Inconclusive, "is not known"},
		"no measure":                   {Prediction{Measure: "rtio(code == 503)", Value: number(0)}, map[int]int{200: 7}, Error, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			samples := answers(c.codes)
			run := &memory{
				samples: map[string][]record.Sample{"stage": samples},
				load:    map[string]record.Load{"stage": {Count: int64(len(samples)), Complete: "ok", Seconds: 1}},
			}
			spec := Spec{Services: []string{"httpbin"}, Phases: []PhaseSpec{{Name: "stage", Predictions: []Prediction{c.prediction}}}}
			j := newRunJudge(run, record.Manifest{}, spec)
			outcomes := j.judgePhases()[0].Outcomes
			got := outcomes[len(outcomes)-1]
			if got.Kind != KindPrediction || got.Verdict != c.verdict || !strings.Contains(got.Reason, c.reason) {
				t.Errorf("%s %s: %s", got.Kind, got.Verdict, got.Reason)
			}
			if c.verdict == Pass && got.Measures[0].Value == nil {
				t.Error("nothing was measured")
			}
		})
	}
}

// TestGateOfARun judges what the runner asks, and what is said of the phases after it.
func TestGateOfARun(t *testing.T) {
	gate := func(expect string) Spec {
		return Spec{Phases: []PhaseSpec{
			{Name: "few", Gate: &Gate{Promote: []Stmt{{Expr: "ratio(code == 200) >= 1"}}, Expect: expect}},
			{Name: "all", Checks: []Stmt{{Expr: "ratio(code == 200) >= 1"}}},
		}}
	}
	good, bad := answers(map[int]int{200: 10}), answers(map[int]int{200: 9, 500: 1})
	for name, c := range map[string]struct {
		expect   string
		few      []record.Sample
		all      bool // whether the second phase has a load
		promote  bool
		verdicts [2]Verdict
		notRun   bool
	}{
		"promotes":                   {Promote, good, true, true, [2]Verdict{Pass, Pass}, false},
		"refuses":                    {Promote, bad, false, false, [2]Verdict{Fail, Inconclusive}, true},
		"refuses as expected":        {RollBack, bad, false, false, [2]Verdict{Pass, Inconclusive}, true},
		"promotes unexpectedly":      {RollBack, good, true, true, [2]Verdict{Fail, Pass}, false},
		"unknown":                    {Promote, nil, false, false, [2]Verdict{Inconclusive, Inconclusive}, true},
		"unknown is no refusal":      {RollBack, nil, false, false, [2]Verdict{Inconclusive, Inconclusive}, true},
		"refused and went on anyway": {Promote, bad, true, false, [2]Verdict{Fail, Error}, false},
	} {
		t.Run(name, func(t *testing.T) {
			run := &memory{samples: map[string][]record.Sample{}, load: map[string]record.Load{}}
			put := func(phase string, s []record.Sample) {
				run.samples[phase] = s
				run.load[phase] = record.Load{Count: int64(len(s)), Complete: "ok", Seconds: 1}
			}
			if c.few != nil {
				put("few", c.few)
			}
			if c.all {
				put("all", good)
			}
			spec := gate(c.expect)
			if promote, why := JudgeGate(run, spec, "few"); promote != c.promote || promote == (why != "") {
				t.Errorf("the gate: %v, %q", promote, why)
			}
			phases := newRunJudge(run, record.Manifest{}, spec).judgePhases()
			for i, p := range phases {
				if p.Verdict != c.verdicts[i] {
					t.Errorf("%s is %s: %s", p.Name, p.Verdict, p.Reason)
				}
			}
			if (phases[1].NotRun != "") != c.notRun {
				t.Errorf("not run: %q", phases[1].NotRun)
			}
		})
	}
}

func FuzzAccept(f *testing.F) {
	f.Add(0.3, int64(1000))
	f.Fuzz(func(t *testing.T, p float64, n int64) {
		if math.IsNaN(p) || n < 1 || n > 1_000_000 {
			t.Skip()
		}
		lo, hi := Accept(p, n, acceptAt)
		if lo < 0 || hi > n || lo > hi {
			t.Errorf("Accept(%v, %d) = %d, %d", p, n, lo, hi)
		}
		if mean := min(1, max(0, p)) * float64(n); float64(lo) > mean+1 || float64(hi) < mean-1 {
			t.Errorf("Accept(%v, %d) = %d, %d leaves its mean out", p, n, lo, hi)
		}
	})
}
