package report

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"squall/internal/check"
	"squall/internal/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name, or writes it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; run go test -update and look at the difference\n--- got\n%s", file, got)
	}
}

func ptr(v float64) *float64 { return &v }

// sample is a run of the circuit scenario as check and record hand it over.
func sample() Data {
	d := Data{
		Result: check.Result{
			APIVersion: "squall/v1alpha1", Kind: "Result", RunID: "20261124-064512-circuit-1a2b", Scenario: "circuit",
			File:       "scenarios/circuit.yaml",
			Hypothesis: "One connection is enough for one caller; a third concurrent call is shed as 503 at once.",
			Env:        "local", Seed: 1, Start: time.Date(2026, 11, 24, 6, 45, 12, 0, time.UTC), Seconds: 1.21,
			Versions: map[string]string{"squall": "0.1.0", "go": "go1.26.0", "istiod": "1.31.0", "envoy": "1.40.0", "fortio": "1.75.3", "kernel": "6.1.0"},
			Verdict:  check.Pass,
			Reason:   "3 checks held, fault proven (overflow 136 = 503s 136), rollback verified",
		},
		Spec: check.Spec{Scenario: "circuit", Phases: []check.PhaseSpec{
			{Name: "baseline", Checks: []check.Stmt{{Expr: "ratio(code == 200) >= 1", At: "scenarios/circuit.yaml:9:15"}}},
			{Name: "breaker", Checks: []check.Stmt{{Expr: "ratio(code == 503) in [0.1, 0.95] @95%", At: "scenarios/circuit.yaml:16:9"}}},
		}},
		Dir: "reports/20261124-064512-circuit-1a2b",
	}
	end := d.Result.Start.Add(1210 * time.Millisecond)
	d.Manifest = record.Manifest{
		RunID: d.Result.RunID, Scenario: "circuit", Env: "local", Seed: 1, Start: d.Result.Start, End: &end, Ended: "completed",
		Rollback: record.Rollback{Tried: true, Objects: "ok", Proxies: "ok", Baseline: "ok", Seconds: 0.043},
	}
	samplePhases(&d)
	sampleEvents(&d)
	sampleLoads(&d)
	return d
}

func samplePhases(d *Data) {
	all200 := func(phase string) check.Outcome {
		return check.Outcome{Kind: check.KindCheck, Phase: phase, Name: "ratio(code == 200) >= 1", Expr: "ratio(code == 200) >= 1",
			Verdict: check.Pass, Reason: "ratio(code == 200) is 1: 50 of 50", Limit: ">= 1",
			Measures: []check.Measure{{Expr: "ratio(code == 200)", Value: ptr(1), Lo: ptr(1), Hi: ptr(1), N: 50, Source: "client records"}}}
	}
	d.Result.Phases = []check.PhaseResult{
		{Name: "baseline", Verdict: check.Pass, Reason: "1 check held", Outcomes: []check.Outcome{all200("baseline")}},
		{Name: "breaker", Verdict: check.Pass, Reason: "3 checks held, fault proven (overflow 136 = 503s 136)", Outcomes: breakerOutcomes()},
		{Name: "recovery", Verdict: check.Pass, Reason: "1 check held", Outcomes: []check.Outcome{all200("recovery")}},
	}
	d.Result.Rollback = check.PhaseResult{Name: "rollback", Verdict: check.Pass, Reason: "objects equal, 2/2 proxies acknowledged, the baseline holds again",
		Outcomes: []check.Outcome{{Kind: check.KindRollback, Name: "objects", Verdict: check.Pass, Reason: "2 objects equal what was there before"}}}
}

func breakerOutcomes() []check.Outcome {
	return []check.Outcome{
		{Kind: check.KindCheck, Phase: "breaker", Name: "ratio(code == 503) in [0.1, 0.95] @95%", Expr: "ratio(code == 503) in [0.1, 0.95] @95%",
			Verdict: check.Pass, Reason: "the whole interval [0.398, 0.51] is in [0.1, 0.95]", Limit: "in [0.1, 0.95]",
			Measures: []check.Measure{{Expr: "ratio(code == 503)", Value: ptr(136.0 / 300), Lo: ptr(0.3979), Hi: ptr(0.5099), Confidence: 0.95, Method: "wilson", N: 300, Source: "client records"}}},
		{Kind: check.KindCheck, Phase: "breaker", Name: "p99(code == 503) < 5ms", Expr: "p99(code == 503) < 5ms @95%",
			Verdict: check.Pass, Reason: "p99(code == 503) is at most 2.9 ms", Limit: "< 5ms",
			Measures: []check.Measure{{Expr: "p99(code == 503)", Value: ptr(0.00211), Lo: ptr(0.0014), Hi: ptr(0.0029), Confidence: 0.95, Method: "order-statistics", N: 136, Unit: "s", Source: "client records"}}},
		{Kind: check.KindCheck, Phase: "breaker", Name: "overflow(httpbin) == count(code == 503)", Expr: "overflow(httpbin) == count(code == 503)",
			Verdict: check.Pass, Reason: "136 equals 136",
			Measures: []check.Measure{
				{Expr: "overflow(httpbin)", Value: ptr(136), N: 1, Unit: "requests", Source: "stats of squall-load"},
				{Expr: "count(code == 503)", Value: ptr(136), N: 300, Unit: "requests", Source: "client records"}}},
		{Kind: check.KindProof, Phase: "breaker", Name: "circuitBreaker httpbin", Text: "each 503 of the client is an overflow of its own proxy, flagged UO",
			Expr:    `overflow(httpbin) > 0 && overflow(httpbin) == count(code == 503 && flag("UO"))`,
			Verdict: check.Pass, Reason: "overflow 136 = 503s flagged UO 136",
			Measures: []check.Measure{
				{Expr: "overflow(httpbin)", Value: ptr(136), N: 1, Unit: "requests", Source: "stats of squall-load"},
				{Expr: `count(code == 503 && flag("UO"))`, Value: ptr(136), N: 300, Unit: "requests", Source: "access log of squall-load"}}},
	}
}

func sampleEvents(d *Data) {
	d.Events = []record.Event{
		{At: 0, Took: 0.341, Kind: "mesh", Text: "istiod, gateway and 2 sidecars are ready"},
		{At: 0.35, Took: 0.081, Phase: "baseline", Kind: "load", Text: "50 requests"},
		{At: 0.44, Took: 0.003, Phase: "breaker", Kind: "apply", Text: "DestinationRule squall/httpbin changed", Data: map[string]any{"objects": 1}},
		{At: 0.443, Took: 0.007, Phase: "breaker", Kind: "live", Text: "live on 2/2 proxies after 7 ms"},
		{At: 0.451, Took: 0.412, Phase: "breaker", Kind: "load", Text: "300 requests"},
		{At: 0.9, Took: 0.043, Kind: "rollback", Text: "DestinationRule squall/httpbin deleted, 2/2 proxies acknowledged"},
		{At: 0.95, Took: 0.09, Phase: "recovery", Kind: "load", Text: "50 requests"},
	}
	d.Objects = []record.Object{
		{Phase: "breaker", Action: "changed", Kind: "DestinationRule", Name: "squall/httpbin",
			Before: "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: httpbin\n  namespace: squall\nspec:\n  host: httpbin\n  trafficPolicy:\n    tls:\n      mode: ISTIO_MUTUAL\n",
			After:  "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: httpbin\n  namespace: squall\nspec:\n  host: httpbin\n  subsets:\n  - name: squall-1a2b-s1\n  trafficPolicy:\n    connectionPool:\n      http:\n        http1MaxPendingRequests: 1\n        maxRequestsPerConnection: 1\n      tcp:\n        maxConnections: 1\n    tls:\n      mode: ISTIO_MUTUAL\n"},
		{Phase: "breaker", Action: "restored", Kind: "DestinationRule", Name: "squall/httpbin", Before: "kind: DestinationRule\n", After: "kind: DestinationRule\n"},
	}
	d.Proxies = []record.Proxy{
		{Pod: "squall-load", Namespace: "squall", IP: "127.10.0.2", Labels: map[string]string{"app": "squall-load"}, Client: true},
		{Pod: "httpbin-v1-0", Namespace: "squall", IP: "127.10.0.3", Labels: map[string]string{"app": "httpbin", "version": "v1"}, Services: []string{"httpbin"}},
	}
}

// sampleLoads aggregates made samples with the aggregator that reports use.
func sampleLoads(d *Data) {
	rnd := rand.New(rand.NewPCG(1, 2))
	load := func(name string, conns int, n int, start, seconds float64, shed bool) {
		l := &record.Load{URL: "http://httpbin:8000/get", Protocol: "http/1.1", Connections: conns, Asked: int64(n), Start: start, Seconds: seconds,
			Count: int64(n), WarmUp: int64(conns), QPS: float64(n) / seconds, Seed: 1, Complete: "ok"}
		if shed {
			for i := range 3 {
				l.Workers = append(l.Workers, record.WorkerLoad{Pod: fmt.Sprintf("squall-load-%d", i), Count: int64(n / 3), QPS: (240 + float64(2*i)), Start: start + 0.0001*float64(i),
					Seconds: seconds, P50: 0.0021, P99: 0.0121 + 0.001*float64(i), Clock: 0.00002})
			}
		}
		a := newAggregator(name, l)
		for i := range n {
			s := record.Sample{Request: record.Request{Start: start + seconds*float64(i)/float64(n), Latency: 0.0012 + 0.003*rnd.ExpFloat64(), Code: 200}, Joined: true, Answered: "v1"}
			if shed && i*136/n != (i+1)*136/n {
				s.Code, s.Latency, s.Flags, s.Answered = 503, 0.0003+0.0002*rnd.ExpFloat64(), []string{"UO"}, ""
			}
			a.add(s)
		}
		d.Phases = append(d.Phases, a.result())
	}
	load("baseline", 1, 50, 0.35, 0.081, false)
	load("breaker", 3, 300, 0.451, 0.412, true)
	load("recovery", 1, 50, 0.95, 0.09, false)
}

// failed is a run in which nothing went well, with text in it that tries to break out.
func failed() Data {
	d := sample()
	const evil = "\"><script>alert(1)</script>\x1b[31m\u202e&amp;'`|"
	d.Result.Scenario, d.Result.Hypothesis = "circuit"+evil, "</p><img src=http://evil.example/x onerror=alert(1)>\n::error::no\n##[error]no"
	d.Result.Verdict, d.Result.Reason, d.Result.ExitCode = check.Fail, "ratio(code == 503) is 0, not in [0.1, 0.95]"+evil, 1
	d.Phases[1].Load.Workers[1].Lost = "unexpected EOF" + evil
	b := &d.Result.Phases[1]
	b.Name, b.Verdict, b.Reason = "breaker"+evil, check.Fail, "1 of 3 checks failed, 1 is inconclusive"
	b.Outcomes[0].Verdict, b.Outcomes[0].Reason = check.Fail, "ratio(code == 503) is 0, not in [0.1, 0.95]\nPASS circuit: all is well"+evil
	b.Outcomes[0].Measures[0] = check.Measure{Expr: "ratio(code == 503)", Value: ptr(0), Lo: ptr(0), Hi: ptr(0.0126), Confidence: 0.95, Method: "clopper-pearson", N: 300, Source: evil}
	b.Outcomes[1].Verdict, b.Outcomes[1].Need, b.Outcomes[1].Reason = check.Inconclusive, 299, "no sample matches code == 503"
	b.Outcomes[1].Measures[0] = check.Measure{Expr: "p99(code == 503)", N: 0, Unit: "s", Source: "client records", Missing: "no sample matches"}
	b.Outcomes[3].Verdict, b.Outcomes[3].Reason = check.Error, "stats of squall-load: connection refused ]]> \x00\ufffe"
	d.Result.Rollback.Verdict, d.Result.Rollback.Reason = check.Halted, "1 object differs"
	d.Result.Rollback.Outcomes = nil
	d.Manifest.Rollback = record.Rollback{Tried: true, Objects: "DestinationRule squall/httpbin differs", Errors: []string{"update httpbin: conflict" + evil}}
	d.Manifest.Error, d.Manifest.Ended = "istiod is gone"+evil, "error"
	d.Phases[1].Name, d.Phases[1].Load.URL = b.Name, "http://httpbin:8000/"+evil
	d.Phases[1].Rows = append(d.Phases[1].Rows, Row{Code: 0, Error: evil, Flags: evil, Version: evil, Count: 1}, Row{Flags: "?", Code: 503, Count: 1})
	d.Phases[1].Load.Errors = map[string]string{
		"reset":   "read tcp 127.10.0.2:40312->127.10.0.3:8000: read: connection reset by peer " + evil,
		"refused": "dial tcp 127.10.0.3:8000: connect: connection refused",
	}
	d.Phases[1].Answers = append(d.Phases[1].Answers, Answer{Error: "refused", Count: 12})
	d.Phases[2].Load = nil
	for i := range d.Events {
		if d.Events[i].Phase == "breaker" {
			d.Events[i].Phase = b.Name
		}
	}
	d.Events = append(d.Events, record.Event{At: 1.1, Phase: b.Name, Kind: "error", Text: evil, Data: map[string]any{evil: evil}})
	d.Objects[0].Name, d.Objects[0].After = evil, d.Objects[0].After+evil
	d.Proxies[0].Labels[evil] = evil
	d.Missing = []string{"requests of phase recovery cannot be read: " + evil}
	d.Dir = "reports/it's " + evil
	return d
}
