package check

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"squall/internal/record"
)

func services() []string { return []string{"httpbin", "reviews", "product-page"} }

func mustCompile(t testing.TB, stmt string) *Expr {
	t.Helper()
	e, err := Compile(stmt, services())
	if err != nil {
		t.Fatalf("Compile(%s): %v", stmt, err)
	}
	return e
}

func judge(t testing.TB, m *memory, stmt string) Outcome {
	t.Helper()
	return mustCompile(t, stmt).Judge(Data{Records: m, Phase: "breaker", Baseline: "baseline", Namespace: "squall"})
}

func TestJudge(t *testing.T) {
	tests := []struct {
		stmt   string
		want   Verdict
		reason string // part of it
	}{
		// Each measure, with one record that satisfies it and one limit that the same record must fail.
		{"count(code == 503) == 60", Pass, "count(code == 503) = 60: == 60 holds"},
		{"count(code == 503) == 61", Fail, "does not hold"},
		{"count() == 200", Pass, ""},
		{"count() < 200", Fail, ""},
		{"ratio(code == 503) in [0.25, 35%]", Pass, "ratio(code == 503) = 30 % (60 of 200)"},
		{"ratio(code == 503) < 30%", Fail, ""},
		{"ratio(code == 503) <= 0.3", Pass, ""},
		{"ratio(code == 503) in [0.2, 0.4] @95%", Pass, "wilson at 95 %"},
		{"ratio(code == 503) in [0.5, 0.6] @95%", Fail, ""},
		{"ratio(code == 503) < 0.33 @95%", Inconclusive, "too few requests to tell"},
		{"ratio(code == 500) < 1% @95%", Inconclusive, "about 368 needed"},
		{"ratio(code == 500) < 2% @95%", Pass, "clopper-pearson"},
		{"rate(code == 503) == 30", Pass, ""},
		{"rate() < 100", Fail, "rate() = 100 1/s"},
		{"p50 == 20ms", Pass, "p50 = 20 ms (n = 200)"},
		{"p50 < 20ms", Fail, ""},
		{"p99(code == 503) <= 1ms", Pass, ""},
		{"p99(code == 200) <= 1ms", Fail, ""},
		{"percentile(30, true || code == 1) == 1ms", Pass, ""},
		{"p50 in [10ms, 30ms] @95%", Pass, "order-statistics"},
		{"p50 < 10ms @95%", Fail, ""},
		{"p99 < 30ms @95%", Inconclusive, "about 368 needed"},
		{"p99 < 10ms @95%", Fail, "20 ms, unknown"},
		{"p95(code == 404) < 1s", Inconclusive, "none of 200 requests matches"},
		{"mean == 14.3ms", Pass, ""},
		{"mean(code == 503) > 1ms", Fail, ""},
		{"min == 1ms && max == 20ms", Pass, "min = 1 ms"},
		{"max(code == 503) > 1ms", Fail, ""},
		{"load.count == 200 && load.qps == 100 && load.askedQps == 100 && load.seconds == 2s && load.connections == 3", Pass, ""},
		{"load.count != 200", Fail, ""},
		{"delta(p50) == 10ms", Pass, ""},
		{"delta(p50) in [9ms, 11ms] @95%", Pass, "order-statistics, difference at 95 %"},
		{"delta(p50) > 11ms @95%", Fail, ""},
		{"delta(ratio(code == 503)) == 0.3", Pass, ""},
		{"delta(count()) == 100", Pass, ""},
		{"delta(overflow(httpbin)) == 60", Pass, ""},
		{"overflow(httpbin) == count(code == 503)", Pass, "overflow(httpbin) = 60, count(code == 503) = 60"},
		{"overflow(httpbin) < 60", Fail, ""},
		{`overflow("httpbin.squall") == 60 && overflow("httpbin.squall.svc.cluster.local") == 60`, Pass, ""},
		{`cluster(httpbin, "upstream_rq_total") == 151`, Pass, ""}, // 140 without a subset, 11 of v1, none of the marker
		{`cluster(httpbin, "upstream_rq_total", v1) == 11`, Pass, ""},
		{`cluster(httpbin, "upstream_rq_total", "v2") == 0`, Inconclusive, "no stat cluster.outbound|*|v2|httpbin.upstream_rq_total, neither before nor after"},
		{`cluster(httpbin, "upstream_rq_503") == 60`, Pass, ""}, // only after: it began at 0
		{`counter("cluster.outbound|8000||httpbin.squall.svc.cluster.local.upstream_rq_pending_overflow") == 60`, Pass, ""},
		{`counter("cluster.outbound|8000||httpbin.squall.svc.cluster.local;.upstream_rq_pending_overflow") == 60`, Pass, ""},
		{`counter("^cluster\\.outbound.*upstream_rq_total$") == 151`, Pass, ""},
		{`counter("upstream_rq_pending_overflow") == 0`, Inconclusive, "there is cluster.outbound|8000||httpbin"},
		{`gauge("upstream_cx_active$") == 1`, Pass, ""},
		{`gauge("upstream_cx_active$") == -3 + 6`, Fail, ""},
		{"delays() == 3", Pass, ""},
		{"aborts() == 0", Inconclusive, "no stat matching"},
		{"retries(httpbin) == 0", Inconclusive, "no stat"},
		{"timeouts(httpbin) == 0 && perTryTimeouts(httpbin) == 0 && ejections(httpbin) == 0", Inconclusive, "outlier_detection"},
		{`proxy(httpbin).counter("inbound.*upstream_rq_total$") == 140`, Pass, ""},
		{`proxy("httpbin-v2").counter("inbound.*upstream_rq_total$") == 70`, Pass, ""},
		{`proxy("httpbin-v3").counter("inbound.*upstream_rq_total$") == 70`, Inconclusive, "no proxy belongs to httpbin-v3"},
		{`elsewhere("inbound.*upstream_rq_total$") == 140`, Pass, ""},
		{`elsewhere("fault\\.delays_injected$") == 0`, Pass, ""},
		{`elsewhere("fault\\.delays_injekted$") == 0`, Inconclusive, "no stat"},
		{"access(httpbin).count == 140", Pass, ""},
		{`access(httpbin, version == "v2").count == 40`, Pass, ""},
		{`access(httpbin, path == "/get" && method == "GET" && duration > 10ms && principal.endsWith("squall-load")).count == 140`, Pass, ""},
		{`access(httpbin, authority.contains("-shadow")).count > 0`, Fail, "= 0"},
		{"access(reviews).count == 0", Inconclusive, "no proxy belongs to reviews"},
		{`access(flag("UO")).count == 60 && access().count == 200`, Pass, ""},
		{`access(code == 200).count == 200`, Fail, ""},
		{`count(flag("UO") && code == 503) == 60 && count(flag("UO")) == count(code == 503)`, Pass, ""},
		{`count(flags.exists(f, f.startsWith("U"))) == 60`, Pass, ""},
		{`ratio(version == "v2") == 0.2`, Pass, ""},
		{`count(pod == "httpbin-v2" && route == "default" && attempts == 1 && conn < 2 && start < 2s && error == "") == 40`, Pass, ""},
		{`count(latency > 10ms) == 140`, Pass, ""},

		// Logic and arithmetic.
		{"!(count() == 200)", Fail, ""},
		{"count() == 200 || aborts() == 0", Pass, ""},
		{"count() == 1 && aborts() == 0", Fail, "count() = 200"},
		{"count() == 200 && aborts() == 0", Inconclusive, "aborts()"},
		{"count() == 1 || aborts() == 0", Inconclusive, ""},
		{"!(aborts() == 0)", Inconclusive, ""},
		{"(count(code == 503) + count(code == 200)) * 2 == 400", Pass, "(count(code == 503) + count(code == 200)) * 2 == 400 holds"},
		{"count() / aborts() == 3", Inconclusive, ""},
		{"count() / count(code == 404) == 3", Inconclusive, "division by zero"},
		{"abs(delta(p50)) == 10ms", Pass, ""},
		{"abs(delta(min)) == 9ms", Pass, ""},
		{"delta(min) == -9ms", Pass, ""},
		{"60 == count(code == 503)", Pass, ""},
		{"count(code == 503) in [60, load.count]", Pass, ""},
		{"ratio(code == 503) - ratio(code == 200) < 0 @95%", Pass, ""},
		{"ratio(code == 503) / ratio(code == 200) in [0.2, 0.7] @90%", Pass, ""},
	}
	for _, tt := range tests {
		t.Run(tt.stmt, func(t *testing.T) {
			got := judge(t, breaker(), tt.stmt)
			if got.Verdict != tt.want || !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("%s = %v: %s\nwant %v: …%s…", tt.stmt, got.Verdict, got.Reason, tt.want, tt.reason)
			}
			if got.Verdict == Inconclusive && got.Reason == "" {
				t.Error("no reason")
			}
		})
	}
}

// A load past all proxies has none of its own: all there are, are others. A stat that none of them has is still absent.
func TestElsewhereOfADirectLoad(t *testing.T) {
	m := breaker()
	m.proxies = m.proxies[1:]
	for i := range m.proxies {
		m.proxies[i].Client = false
	}
	for stmt, want := range map[string]Verdict{
		`elsewhere("inbound.*upstream_rq_total$") == 140`: Pass, `elsewhere("fault\\.delays_injected$") == 0`: Inconclusive, "overflow(httpbin) == 60": Inconclusive,
	} {
		l := m.load["breaker"]
		l.Direct = true
		m.load["breaker"] = l
		if got := judge(t, m, stmt); got.Verdict != want {
			t.Errorf("%s = %v: %s, want %v", stmt, got.Verdict, got.Reason, want)
		}
		l.Direct = false
		m.load["breaker"] = l
		if got := judge(t, m, stmt); got.Verdict != Inconclusive {
			t.Errorf("%s without a client that is said to be none = %v: %s", stmt, got.Verdict, got.Reason)
		}
	}
}

// TestAbsentIsInconclusive takes away or breaks what a passing statement rests on.
func TestAbsentIsInconclusive(t *testing.T) {
	statements := map[string]string{
		"samples": "count(code == 503) == 60",
		"flags":   `count(flag("UO")) == 60`,
		"version": `count(version == "v2") == 40`,
		"stats":   "overflow(httpbin) == 60",
		"others":  `elsewhere("inbound.*upstream_rq_total$") == 140`,
		"records": "access(httpbin).count == 140",
		"load":    "load.count == 200",
		"delta":   "delta(p50) == 10ms",
	}
	tests := []struct {
		name   string
		broken string // the statements that become INCONCLUSIVE
		reason string
		edit   func(*memory)
	}{
		{"no load", "samples flags version stats others records load delta", "did not run to its end", func(m *memory) { delete(m.load, "breaker") }},
		{"no request", "samples flags version stats others records load delta", "no request of breaker was finished", func(m *memory) {
			m.load["breaker"] = record.Load{Complete: "ok"}
		}},
		{"no requests file", "samples flags version delta", "incomplete", func(m *memory) { delete(m.samples, "breaker") }},
		{"fewer records than requests", "samples flags version delta", "records of 199 requests, and 200 were made", func(m *memory) {
			m.samples["breaker"] = m.samples["breaker"][1:]
		}},
		{"cut records", "samples flags version delta", "after 200 of 200 requests: line cut off", func(m *memory) {
			m.cutAt["breaker"] = errors.New("line cut off")
		}},
		{"incomplete access log", "flags records", "httpbin-v1 logged 3 of 100", func(m *memory) {
			l := m.load["breaker"]
			l.Complete = "httpbin-v1 logged 3 of 100"
			m.load["breaker"] = l
		}},
		{"access log not compared", "flags records", "not compared", func(m *memory) {
			l := m.load["breaker"]
			l.Complete = ""
			m.load["breaker"] = l
		}},
		{"unjoined", "flags version", "not known of 1 of 200 requests", func(m *memory) {
			s := &m.samples["breaker"][150]
			s.Joined, s.Flags, s.Pod, s.Answered, s.Upstream = false, nil, "", "", ""
		}},
		{"no access log of one pod", "records", "httpbin-v2", func(m *memory) { delete(m.access, "breaker/"+server2) }},
		{"no stats before", "stats", "no stats of squall-load-1 from before", func(m *memory) { delete(m.stats, "breaker/"+client+"/before") }},
		{"no stats after", "stats", "no stats of squall-load-1 from after", func(m *memory) { delete(m.stats, "breaker/"+client+"/after") }},
		{"empty stats", "stats", "empty", func(m *memory) { m.stats["breaker/"+client+"/before"] = record.Stats{} }},
		{"stat absent", "stats", "neither before nor after", func(m *memory) {
			for _, when := range []string{"before", "after"} {
				delete(m.stats["breaker/"+client+"/"+when], cluster+"upstream_rq_pending_overflow")
			}
		}},
		{"stat gone", "stats", "was 7 before and is gone after", func(m *memory) {
			delete(m.stats["breaker/"+client+"/after"], cluster+"upstream_rq_pending_overflow")
		}},
		{"counter backwards", "stats", "went backwards from 7 to 2", func(m *memory) {
			m.stats["breaker/"+client+"/after"][cluster+"upstream_rq_pending_overflow"] = 2
		}},
		{"no proxies", "stats others records", "proxies.json", func(m *memory) { m.proxies = nil }},
		{"no client", "stats others", "none of the proxies is the load generator's", func(m *memory) { m.proxies[0].Client = false }},
		{"no stats of another proxy", "others", "httpbin-v2", func(m *memory) { delete(m.stats, "breaker/"+server2+"/after") }},
		{"no baseline", "delta", "in the baseline", func(m *memory) { delete(m.load, "baseline") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for what, stmt := range statements {
				if got := judge(t, breaker(), stmt); got.Verdict != Pass {
					t.Fatalf("%s before the change: %v: %s", stmt, got.Verdict, got.Reason)
				}
				m := breaker()
				tt.edit(m)
				got := judge(t, m, stmt)
				if !strings.Contains(tt.broken, what) {
					if got.Verdict != Pass {
						t.Errorf("%s = %v: %s, want PASS as it does not rest on this", stmt, got.Verdict, got.Reason)
					}
					continue
				}
				if got.Verdict != Inconclusive || !strings.Contains(got.Reason, tt.reason) {
					t.Errorf("%s = %v: %s, want INCONCLUSIVE: …%s…", stmt, got.Verdict, got.Reason, tt.reason)
				}
				if got.Measures[0].Missing == "" || got.Measures[0].Value != nil {
					t.Errorf("%s: measure %+v must be missing and without a value", stmt, got.Measures[0])
				}
			}
		})
	}
}

// TestUnjoinedMatters: an unjoined request counts as unknown only where the access log decides.
func TestUnjoinedMatters(t *testing.T) {
	m := breaker()
	s := &m.samples["breaker"][150] // a 200
	s.Joined, s.Flags, s.Pod, s.Answered, s.Upstream = false, nil, "", "", ""
	for stmt, want := range map[string]Verdict{
		`count(code == 503 && flag("UO")) == 60`: Pass,
		`count(flag("UO") && code == 503) == 60`: Pass,
		`count(flag("UO")) == 60`:                Inconclusive,
		`count(code == 200 && flag("UO")) == 0`:  Inconclusive,
	} {
		if got := judge(t, m, stmt); got.Verdict != want {
			t.Errorf("%s = %v: %s, want %v", stmt, got.Verdict, got.Reason, want)
		}
	}
}

// TestNoAnswer: a refused connection has no code, and no comparison takes it for a good or a bad answer unasked.
func TestNoAnswer(t *testing.T) {
	m := breaker()
	s := &m.samples["breaker"][150] // a 200
	s.Code, s.Error = 0, "refused"
	for stmt, want := range map[string]Verdict{
		"count(code == 200) == 139":                        Pass,
		"count(code != 200) == 61":                         Pass,
		"count(code in [200, 503, 504]) == 199":            Pass,
		"count(code == 0) == 0":                            Pass,
		"ratio(code < 500) > 0.5":                          Inconclusive,
		"ratio(code >= 500) < 0.5":                         Inconclusive,
		`ratio(code >= 500 && error == "") < 0.5`:          Pass,
		`count(code >= 500 || error != "") == 61`:          Pass,
		`count(error == "refused") == 1`:                   Pass,
		`count(code % 100 == 0) > 0`:                       Inconclusive,
		`count(latency > 10ms && code < 300) == 139`:       Inconclusive,
		`p50(code == 200) == 20ms && p50(code == 0) == 1s`: Inconclusive,
	} {
		got := judge(t, m, stmt)
		if got.Verdict != want {
			t.Errorf("%s = %v: %s, want %v", stmt, got.Verdict, got.Reason, want)
		}
		if want == Inconclusive && strings.HasPrefix(stmt, "ratio(") && !strings.Contains(got.Reason, "1 of 200 requests: they got no answer") {
			t.Errorf("%s: %s", stmt, got.Reason)
		}
	}
}

func TestDeltaInBaseline(t *testing.T) {
	got := mustCompile(t, "delta(p50) < 1s").Judge(Data{Records: breaker(), Phase: "baseline", Baseline: "baseline"})
	if got.Verdict != Inconclusive || !strings.Contains(got.Reason, "no baseline") {
		t.Errorf("%v: %s", got.Verdict, got.Reason)
	}
}

func TestOutcome(t *testing.T) {
	got := judge(t, breaker(), " ratio(code == 503)  in [0.1, 95%] @95% ")
	m := got.Measures[0]
	if got.Limit != "in [0.1, 95%]" || got.Name != "ratio(code == 503)  in [0.1, 95%] @95%" || m.Expr != "ratio(code == 503)" {
		t.Errorf("limit %q, name %q, measure %q", got.Limit, got.Name, m.Expr)
	}
	if *m.Value != 0.3 || m.N != 200 || m.Confidence != 0.95 || m.Method != "wilson" || m.Source != "client records" {
		t.Errorf("%+v", m)
	}
	if *m.Lo > 0.3 || *m.Hi < 0.3 || *m.Lo < 0.2 || *m.Hi > 0.4 {
		t.Errorf("interval [%v, %v]", *m.Lo, *m.Hi)
	}
}

// TestManyClasses: more kinds of requests than are remembered give the same counts.
func TestManyClasses(t *testing.T) {
	m := breaker()
	m.samples["breaker"] = nil
	const n = 2*maxClasses + 10
	for i := range n {
		m.samples["breaker"] = append(m.samples["breaker"], record.Sample{
			Request: record.Request{Code: 200 + i%2, Latency: 0.001}, Route: "route-" + strconv.Itoa(i), Joined: true, Flags: []string{"UO", "DI"},
		})
	}
	m.loaded("breaker")
	stmt := `count(code == 201) == ` + strconv.Itoa(n/2) + ` && count(route.startsWith("route-")) == load.count && count(flag("DI")) == load.count`
	if got := judge(t, m, stmt); got.Verdict != Pass {
		t.Errorf("%v: %s", got.Verdict, got.Reason)
	}
}
