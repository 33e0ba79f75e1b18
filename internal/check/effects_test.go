package check

import (
	"strings"
	"testing"

	"squall/internal/record"
)

// crashed is breaker in which httpbin-v1 was killed during the load and httpbin-v3 came for it.
func crashed() *memory {
	m := breaker()
	m.proxies[1].Ended = "its pod ended while the load ran"
	m.proxies = append(m.proxies, record.Proxy{
		Pod: "httpbin-v3", IP: "127.0.0.4", Labels: map[string]string{"version": "v1"}, Services: []string{"httpbin"}, Joined: true,
	})
	m.stats["breaker/httpbin-v3/after"] = record.Stats{"http.inbound_1.downstream_rq_total": 9}
	m.effects = map[string][]record.Effect{"breaker": {
		{Step: "kill httpbin-v1", Name: record.Replaced, Workload: "httpbin-v1", Pods: []string{server1}},
		{Step: "kill other", Name: record.Replaced, Workload: "other"},
		{Step: "stop other", Name: record.Stopped, Workload: "other", Missing: "the API is gone"},
	}}
	return m
}

func TestEffects(t *testing.T) {
	for stmt, want := range map[string]Verdict{
		`replaced("httpbin-v1") == 1`: Pass,
		`replaced("httpbin-v1") > 1`:  Fail,
		`replaced(other) == 0`:        Pass,
		`stopped(other) == 0`:         Inconclusive, // it is not known
		`replaced("nobody") == 0`:     Inconclusive, // no step was to
		`cordoned(other) == 0`:        Inconclusive,
	} {
		if got := judge(t, crashed(), stmt); got.Verdict != want {
			t.Errorf("%s = %v: %s, want %v", stmt, got.Verdict, got.Reason, want)
		}
	}
	if got := judge(t, breaker(), `stuck(other) == 0`); got.Verdict != Inconclusive {
		t.Errorf("without any effects: %v: %s", got.Verdict, got.Reason)
	}
}

// What a proxy that ended counted and logged is not known; one that joined began at 0; one that stood still counted nothing.
func TestProxiesOfAPart(t *testing.T) {
	for stmt, want := range map[string]string{
		`access(httpbin).count > 0`:                                             "the access log of httpbin-v1 is incomplete: its pod ended while the load ran",
		`proxy(httpbin).counter("http.inbound_1.downstream_rq_total") > 0`:      "what httpbin-v1 counted is not known: its pod ended",
		`elsewhere("http\\.inbound_1\\.downstream_rq_total") > 1`:               "what httpbin-v1 counted is not known: its pod ended",
		`proxy("httpbin-v3").counter("http.inbound_1.downstream_rq_total") > 9`: "= 9",
	} {
		got := judge(t, crashed(), stmt)
		if got.Verdict == Pass || !strings.Contains(got.Reason, want) {
			t.Errorf("%s is %v: %s, want …%s…", stmt, got.Verdict, got.Reason, want)
		}
	}
	if got := judge(t, crashed(), `proxy("httpbin-v3").counter("http.inbound_1.downstream_rq_total") == 9`); got.Verdict != Pass {
		t.Errorf("one that joined: %v: %s", got.Verdict, got.Reason)
	}
	if got := judge(t, crashed(), `count(code == 503) == 60`); got.Verdict != Pass {
		t.Errorf("of the caller all is known: %v: %s", got.Verdict, got.Reason)
	}
	still := breaker()
	still.proxies[1].Held = "its proxy stands still by partition httpbin-v1"
	for pod := range still.stats {
		if strings.Contains(pod, server1) {
			delete(still.stats, pod)
		}
	}
	if got := judge(t, still, `elsewhere("http\\.inbound_.*downstream_rq_total") > 1`); got.Verdict == Inconclusive && strings.Contains(got.Reason, server1) {
		t.Errorf("one that stood still: %v: %s", got.Verdict, got.Reason)
	}
	if got := judge(t, still, `proxy("httpbin-v1").counter("http.inbound_1.downstream_rq_total") == 0`); got.Verdict != Inconclusive ||
		!strings.Contains(got.Reason, "stands still") {
		t.Errorf("one that stood still, alone: %v: %s", got.Verdict, got.Reason)
	}
}
