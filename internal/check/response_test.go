package check

import (
	"strings"
	"testing"

	"squall/internal/record"
)

// stalled is a run whose breaker phase is a load with a rate: its 200 calls took 1 ms or 20 ms, and the last 50 started up to a second
// late. Three workers made them through two proxies that are there.
func stalled() *memory {
	m := breaker()
	for i := range m.samples["breaker"] {
		m.samples["breaker"][i].Late = 0.00005
		if i >= 150 {
			m.samples["breaker"][i].Late = float64(200-i) / 50
		}
	}
	l := m.load["breaker"]
	l.Scheduled = true
	l.Workers = []record.WorkerLoad{{Pod: client, QPS: 30}, {Pod: "squall-load-2", QPS: 33}}
	m.load["breaker"] = l
	return m
}

func TestResponses(t *testing.T) {
	for stmt, want := range map[string]Verdict{
		"p99 < 30ms":                                 Pass, // what the stall hides
		"p99(latency) < 30ms":                        Pass,
		"p99(response) > 900ms":                      Pass,
		"p99(response) < 30ms":                       Fail,
		"p99(response, code == 503) < 2ms":           Pass,
		"p99(latency, code == 503) < 2ms":            Pass,
		"percentile(99.5, response) > 900ms":         Pass,
		"percentile(50, response, code == 200) > 0s": Pass,
		"max(response) in [1s, 1.1s]":                Pass,
		"mean(response) - mean > 100ms":              Pass,
		"count(late > 10ms) == 50":                   Pass,
		"ratio(response > 500ms) in [10%, 15%]":      Pass,
		"load.workers == 2":                          Pass,
		"load.skew in [1.09, 1.11]":                  Pass,
		"delta(p99(response)) < 1s":                  Inconclusive, // the baseline has no schedule
	} {
		if got := judge(t, stalled(), stmt); got.Verdict != want {
			t.Errorf("%s: %s, want %s: %s", stmt, got.Verdict, want, got.Reason)
		}
	}
	for stmt, why := range map[string]string{
		"p99(response) < 1s":             "had no times at which its calls were meant to start",
		"ratio(late > 1s) < 1%":          "had no times at which its calls were meant to start",
		"load.skew < 2":                  "only one worker",
		"p99(response, code == 200) < 1": "no unit",
	} {
		if strings.Contains(why, "unit") {
			if _, err := Compile(stmt, []string{"httpbin"}); err == nil {
				t.Errorf("%s compiles", stmt)
			}
			continue
		}
		if got := judge(t, breaker(), stmt); got.Verdict != Inconclusive || !strings.Contains(got.Reason, why) {
			t.Errorf("%s: %s, %s", stmt, got.Verdict, got.Reason)
		}
	}
	if _, err := CompileHalt("p99(response) > 1s for 2s", nil); err == nil || !strings.Contains(err.Error(), "halt's times count from when a call started") {
		t.Errorf("a halt: %v", err)
	}
}

// Nothing is judged by a load that lost a worker which it could not do without.
func TestALoadThatIsNotWhole(t *testing.T) {
	m := stalled()
	l := m.load["breaker"]
	l.Lost = "worker squall-load-2 was lost: unexpected EOF"
	m.load["breaker"] = l
	for _, stmt := range []string{"count() == 1", "p50 > 1h", "load.count == 1", "overflow(httpbin) == 1", "access(httpbin).count == 1"} {
		if got := judge(t, m, stmt); got.Verdict != Inconclusive || !strings.Contains(got.Reason, l.Lost) {
			t.Errorf("%s: %s, %s", stmt, got.Verdict, got.Reason)
		}
	}
}
