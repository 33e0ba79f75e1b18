package check

import (
	"errors"
	"strings"
	"testing"
)

func TestSyntaxErrors(t *testing.T) {
	tests := []struct {
		stmt   string
		column int
		want   string // part of the message and the hint
	}{
		{"", 1, "empty statement"},
		{"   ", 1, "empty statement"},
		{"ratio(code == 503) <", 21, "mismatched input the end"},
		{"ratio(code == 503) = 1", 20, "equal is =="},
		{"rato(code == 503) < 1", 1, `unknown function "rato" (did you mean rate or ratio?)`},
		{"ratio(cod == 503) < 1", 7, `unknown name "cod" (did you mean code or pod?)`},
		{"count() > 1 && ratio(cod == 503) < 250ms", 22, `unknown name "cod"`},
		{"p50 < 250ms && ratio(cod == 503) < 1", 22, `unknown name "cod"`},
		{"p50 < 1h30m && p98 < 1s", 16, "write percentile(98)"},
		{"p99.9 < 1s", 4, "percentile(99.9)"},
		{"p50 < 250", 5, "a time against a number (write 250ms or 250s)"},
		{"250 > p50", 5, "write 250ms or 250s"},
		{"p50 in [1, 2]", 5, "write 1ms or 1s"},
		{"p50 + 1 < 2s", 5, "write 1ms or 1s"},
		{"p50 < 5%", 5, "a time against a share"},
		{"count() < 5%", 9, "ratio(…) is a share"},
		{"ratio(code == 503) < count()", 20, "ratio(…) is a share"},
		{"p50 < 10 seconds", 7, "write 10s"},
		{"p50 < 10 ms", 7, "write 10ms"},
		{"p50 < 10seconds", 7, `"10seconds" is not a number with a unit`},
		{"p50 < 1.2.3", 7, "is not a number with a unit"},
		{"ratio(code == 503) < 5 percent", 22, "write 5%"},
		{"ratio(code == 503) < 150%", 22, "a share of 1.5 cannot be"},
		{"ratio(code == 503) < 5", 22, "5% is 0.05"},
		{"ratio(code == 503) > -1", 22, "a share of -1 cannot be"},
		{"p50 > -1s", 7, "cannot be less than 0"},
		{"count() >= 0", 9, `"count() >= 0" always holds`},
		{"overflow(httpbin) >= 0", 19, "always holds"},
		{"ratio(code == 503) <= 1", 20, "always holds"},
		{"ratio(code == 503) <= 100%", 20, "always holds"},
		{"0 <= count()", 3, "always holds"},
		{"count() < 0", 9, "never holds"},
		{"ratio(code == 503) > 1", 20, "never holds"},
		{"ratio(code == 503) in [0, 1]", 20, "always holds"},
		{"ratio(code == 503) in [0.9, 0.1]", 24, "empty"},
		{"ratio(code == 503) in [0.9]", 23, "closed interval of two limits"},
		{"ratio(code == 503) in 0.9", 23, "closed interval of two limits"},
		{"0 in [ratio(code == 503), 1]", 1, "write ratio(…) in [0.1, 0.95]"},
		{"5 in [1, count()]", 1, "a measure stands before in"},
		{"ratio(code == 200) >= 1 @95%", 20, "no number of requests can show"},
		{"ratio(code == 503) == 0.5 @95%", 20, "no number of requests can show"},
		{"mean < 1s @95%", 1, "use a percentile"},
		{"count() > 1 && max < 1s @95%", 16, "use a percentile"},
		{"p50 < 1s @95", 10, "is not a confidence (end the statement in for example @95%)"},
		{"p50 < 1s @0%", 10, "more than 0% and less than 100%"},
		{"p50 < 1s @100%", 10, "more than 0% and less than 100%"},
		{"p50 < 1s @95% && p90 < 2s", 10, "is not a confidence"},
		{"p50 < 1s for 5s", 10, "only a halt"},
		{"true", 1, "always true"},
		{"count() > 1 || true", 16, "always true"},
		{"1 == 1", 3, "measures nothing"},
		{"count()", 1, "is a quantity, not a condition"},
		{"count", 1, "write count(…)"},
		{"load > 1", 1, "write for example load.count"},
		{"load.cuont > 1", 1, "did you mean count?"},
		{"code == 503", 1, "write for example count(code == …)"},
		{`"a" == "b"`, 1, "is not a number"},
		{"count(code == 503) > 1 ? true : false", 24, "a check has no ?:"},
		{"ratio() < 0.5", 1, "ratio takes one predicate"},
		{"count(code == 1, code == 2) > 0", 1, "takes one predicate"},
		{"count(code) > 0", 7, `"code" is a int, not a condition`},
		{"count(true) > 0", 7, "the same for every request"},
		{"count(code == 'x') > 0", 12, "no matching overload"},
		{"count(code in [500, 599]) > 0", 15, "write code >= 500 && code <= 599"},
		{"count(code == 5003) > 0", 15, "there is no status 5003"},
		{"count(code == 50) > 0", 15, "there is no status 50"},
		{"count(latency > 250) > 0", 17, "write 250ms or 250s"},
		{"count(latency > 5%) > 0", 17, "latency is not a share"},
		{"count(code == 200 && code < 5s) > 0", 29, "code is not a time"},
		{`count(error == "timout") > 0`, 16, "did you mean timeout?"},
		{`count(error in ["eof", "timout", "dns"]) > 0`, 24, "did you mean timeout?"},
		{`count(flag("U0")) > 0`, 12, "did you mean UC, UF, UH, UO, UR or UT?"},
		{`count(flag(route)) > 0`, 12, "flag takes a response flag in quotes"},
		{`count(route.matches("(")) > 0`, 21, "missing closing )"},
		{`count(path == "/") > 0`, 7, "path is known of access log entries, not of the client's requests"},
		{`access(httpbin, conn == 1).count > 0`, 17, "conn is known of the client's requests"},
		{"access(httpbin) > 0", 1, "write access(…).count"},
		{"access(httpbin).size > 0", 1, "write access(…).count"},
		{"access(httpbin).count() > 0", 1, "count is a field here"},
		{"copies().count > 0", 1, "copies takes a service"},
		{"access(htpbin).count > 0", 8, "did you mean httpbin?"},
		{`access("htpbin").count > 0`, 8, "did you mean httpbin?"},
		{"access(product-page).count > 0", 8, `needs quotes: "product-page"`},
		{"overflow() > 0", 1, "write overflow(httpbin)"},
		{"overflow(htpbin) > 0", 10, "did you mean httpbin?"},
		{"overflow(httpbin, v1, v2) > 0", 1, "overflow takes a host and may take a subset"},
		{"cluster(httpbin) > 0", 1, "cluster takes a host, a stat"},
		{"cluster(httpbin, upstream_rq) > 0", 18, "a stat's name is a string in quotes"},
		{"aborts(httpbin) > 0", 1, "write aborts()"},
		{`counter("") > 0`, 9, "is a string in quotes"},
		{`counter("a(") > 0`, 9, "missing closing )"},
		{`counter("a*") > 0`, 9, "matches every stat"},
		{`counter("(cluster.outbound|8000||httpbin)") > 0`, 9, "matches every stat"},
		{"counter() > 0", 1, "counter takes a stat's full name"},
		{"proxy(httpbin) > 0", 1, "write proxy(…).counter"},
		{`proxy(httpbin).cuonter("a") > 0`, 1, "did you mean counter?"},
		{`proxy(htpbin).counter("a") > 0`, 7, "did you mean httpbin?"},
		{`proxi(httpbin).counter("a") > 0`, 1, "write proxy(…).counter"},
		{"delta(count() + 1) > 0", 15, "is not a quantity"},
		{"delta(delta(p50)) > 0", 7, "delta of a delta"},
		{"delta(p50, p90) > 0", 1, "delta takes one measure"},
		{"percentile(100) > 1s", 12, "above 0 and below 100"},
		{"percentile(0) > 1s", 12, "above 0 and below 100"},
		{"percentile(code == 1) > 1s", 12, "above 0 and below 100"},
		{"abs(p50, p90) > 1s", 1, "abs takes one quantity"},
		{"count('abc) > 0", 7, "string without an end"},
		{"[1, 2] == [1, 2]", 1, "not a quantity"},
		{strings.Repeat("(", 5000), 1, "4096 are allowed"},
	}
	for _, tt := range tests {
		_, err := Compile(tt.stmt, services())
		var syn *SyntaxError
		if !errors.As(err, &syn) {
			t.Errorf("Compile(%s) = %v, want a SyntaxError", tt.stmt, err)
			continue
		}
		if syn.Column != tt.column || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Compile(%s) = %v\nwant column %d: …%s…", tt.stmt, err, tt.column, tt.want)
		}
	}
}

func TestCompiles(t *testing.T) {
	for _, stmt := range []string{
		"ratio(code == 200) >= 1",
		"ratio(code == 200) >= 100%",
		"p99 < 250ms", "p50 < 10us", "p50 < 10µs", "p50 < 1.5m", "p50 < 1m30s", "p50 < .5s + 1e-3s",
		"p999 < 1s && p9999 < 1s && percentile(99.95) < 1s && percentile(99.9%) < 1s",
		"count() % 2 == 0 || count() > 0",
		"overflow(httpbin) > 0 && overflow(httpbin) == count(code == 503 && flag(\"UO\")) && count(code == 503) == count(flag(\"UO\"))",
		`delays() > 0 && delays() == count(flag("DI")) && elsewhere("fault\\.delays_injected") == 0`,
		`elsewhere(httpbin, "upstream_rq_retry") == 0 && elsewhere("httpbin", "upstream_rq_retry", "v1") == 0`,
		`access(httpbin, principal == "").count == 0 && access(httpbin).count > 0`,
		`count(code == 503) > 0 // the third caller`,
		`count(route == r"a\") > 0`, `count(route == "250ms @95% for 5s") > 0`, `count(route == """a"b""") > 0`,
		"count(code in [500, 502, 503]) > 0",
		"count(conn % 2 == 0) > 0", "count(conn %2 == 0) > 0", "count(conn%2 == 0) > 0",
		"count(latency > 0) > 0",
		"count(code == 200)\n  == load.count",
		`overflow("api.example.com") > 0`,
		`access("product-page").count > 0`,
		"delta(ratio(code == 503)) < -0.5",
		"ratio(code == 503) < 5% + 10% @99.9%",
		"ratio(code == 503) in [5%, 10%]",
		"count(code >= 200 && code < 600) > 0",
	} {
		_, err := Compile(stmt, services())
		if strings.HasPrefix(stmt, "count() % 2") {
			if err == nil {
				t.Errorf("Compile(%s): modulus is no arithmetic of measures", stmt)
			}
			continue
		}
		if err != nil {
			t.Errorf("Compile(%s): %v", stmt, err)
		}
	}
}

func TestExpr(t *testing.T) {
	tests := []struct {
		stmt       string
		confidence float64
		baseline   bool
		minimum    int64
		limit      string
	}{
		{"count() > 1", 0, false, 1, "> 1"},
		{"p99 < 250ms", 0, false, 1, "< 250ms"},
		{"p99 < 250ms @95%", 0.95, false, 368, "< 250ms"},
		{"p50 < 250ms @95%", 0.95, false, 6, "< 250ms"},
		{"delta(p50) in [1.9s, 2.1s] @95%", 0.95, true, 7, "in [1.9s, 2.1s]"},
		{"overflow(httpbin) == count(code == 503)", 0, false, 1, "== count(code == 503)"},
		{"count() > 1 && p50 > 1s", 0, false, 1, ""},
	}
	for _, tt := range tests {
		e := mustCompile(t, tt.stmt)
		if e.Confidence() != tt.confidence || e.NeedsBaseline() != tt.baseline || e.MinRequests() != tt.minimum || e.limit != tt.limit {
			t.Errorf("%s: confidence %v, baseline %v, minimum %v, limit %q; want %+v",
				e, e.Confidence(), e.NeedsBaseline(), e.MinRequests(), e.limit, tt)
		}
	}
}

func TestBonferroni(t *testing.T) {
	for stmt, want := range map[string]float64{
		"p50 < 1s @90%":                       0.9,
		"p50 < 1s && p90 < 2s @90%":           0.95,
		"p50 < 1s && p50 > 1ms @90%":          0.9, // one estimate
		"delta(p50) < 1s @90%":                0.95,
		"p50 < 1s && count() > 0 @90%":        0.9,
		"delta(p50) < 1s && p90 < 2s @90%":    1 - 0.1/3,
		"ratio(code == 200) > 0 && p50 < 1s ": 0,
	} {
		e := mustCompile(t, stmt)
		if got := e.shareOf(e.measures[0]); got < want-1e-12 || got > want+1e-12 {
			t.Errorf("%s: %v for each, want %v", stmt, got, want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"ratio(code == 503) in [0.1, 0.95] @95%", "overflow(httpbin) == count(flag(\"UO\"))", "delta(p50) in [1.9s, 2.1s] @95%",
		`access(httpbin, version == "v2" && authority.contains("-shadow")).count > 0`, "!(p99(code==200) < 250ms || abs(-p50) > 1s)",
		`proxy("a").counter("b\\.c$") - 3 * load.qps / 2 != 5%`, "count(flags.exists(f, f == r'x')) > 0", "p50 < 10 ms // x", "'''", "@", "1%", "a.b(", "ratio(code >= 500) > 0.99 for 5s",
	} {
		f.Add(s)
	}
	m := breaker()
	f.Fuzz(func(t *testing.T, s string) {
		e, err := Compile(s, services())
		var syn *SyntaxError
		switch {
		case err == nil:
			out := e.Judge(Data{Records: m, Phase: "breaker", Baseline: "baseline", Namespace: "squall"})
			if out.Reason == "" || len(out.Measures) == 0 {
				t.Errorf("%q: judged without a reason or a measure: %+v", s, out)
			}
		case !errors.As(err, &syn):
			t.Errorf("%q: %v is not a SyntaxError", s, err)
		case syn.Column < 1 || syn.Column > len([]rune(s))+1:
			t.Errorf("%q: column %d is outside", s, syn.Column)
		}
		if _, err := CompileHalt(s, services()); err != nil && !errors.As(err, &syn) {
			t.Errorf("%q: %v is not a SyntaxError", s, err)
		}
	})
}

// Envoy counts requests above the limit of connections and queue apart from those above the limit of requests.
func TestOverflowCountsBothLimits(t *testing.T) {
	p := statPattern{host: "httpbin", stat: hostStats()["overflow"], anySubset: true}
	for name, want := range map[string]bool{
		"cluster.outbound|8000|v2|httpbin.t.svc.cluster.local.upstream_rq_pending_overflow": true,
		"cluster.outbound|8000||httpbin.t.svc.cluster.local.upstream_rq_active_overflow":    true,
		"cluster.outbound|8000||httpbin.t.svc.cluster.local.upstream_rq_retry_overflow":     false,
		"cluster.outbound|8000||other.t.svc.cluster.local.upstream_rq_active_overflow":      false,
		"cluster.inbound|8080||.upstream_rq_active_overflow":                                false,
	} {
		if got := p.match(name, "t"); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// The proofs of breakers further on, and at a gateway, read both counts too.
func TestProofsCountOverflowOfBothLimits(t *testing.T) {
	m := breaker()
	for _, name := range []string{"upstream_rq_pending_overflow", "upstream_rq_active_overflow"} {
		m.stats["breaker/"+server1+"/before"][cluster+name] = 1
		m.stats["breaker/"+server1+"/after"][cluster+name] = 4
	}
	for _, stmt := range []string{
		`elsewhere("httpbin", "upstream_rq_pending_overflow|upstream_rq_active_overflow") == 6`,
		`proxy("httpbin").counter("cluster\\.outbound\\|[0-9]+\\|[^|]*\\|httpbin\\..*\\.(?:upstream_rq_pending_overflow|upstream_rq_active_overflow)") == 6`,
	} {
		if got := judge(t, m, stmt); got.Verdict != Pass {
			t.Errorf("%s: %v: %s", stmt, got.Verdict, got.Reason)
		}
	}
}
