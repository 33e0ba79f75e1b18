package check

import (
	"slices"
	"strings"
	"testing"
)

// TestFound: what is found is known of whole answers that were searched, and of no others.
func TestFound(t *testing.T) {
	m := breaker()
	for i := range m.samples["breaker"] {
		m.samples["breaker"][i].Found = "sorry=1 star=0"
		if m.samples["breaker"][i].Code == 200 {
			m.samples["breaker"][i].Found = "sorry=0 star=9"
		}
	}
	for stmt, want := range map[string]Verdict{
		`count(found("sorry")) == 60`:                                            Pass,
		`ratio(found("star")) == 0.7`:                                            Pass,
		`ratio(found("star")) in [0.6, 0.8] @95%`:                                Pass,
		`count(occurrences("star") == 9 && code == 200) == 140`:                  Pass,
		`count(occurrences("star") > 9) > 0`:                                     Fail,
		`count(!found("sorry")) == 140`:                                          Pass,
		`p50(found("star")) == 20ms`:                                             Pass,
		`count(found("sory")) == 0`:                                              Inconclusive, // absent, not 0
		`count(code == 503 && found("sorry") || code == 200 && found("x")) == 0`: Inconclusive,
	} {
		if got := judge(t, m, stmt); got.Verdict != want {
			t.Errorf("%s = %v: %s, want %v", stmt, got.Verdict, got.Reason, want)
		}
	}
	for name, spoil := range map[string]string{"not looked for": "", "too big": "?", "rubbish": "star=x"} {
		m.samples["breaker"][150].Found = spoil
		if got := judge(t, m, `ratio(found("sorry")) < 0.5`); got.Verdict != Inconclusive || !strings.Contains(got.Reason, "1 of 200 requests") {
			t.Errorf("%s: %v: %s", name, got.Verdict, got.Reason)
		}
		if got := judge(t, m, `count(code == 503 && found("sorry")) == 60`); got.Verdict != Pass {
			t.Errorf("%s, where it does not matter: %v: %s", name, got.Verdict, got.Reason)
		}
	}
}

func TestFinds(t *testing.T) {
	e, err := Compile(`count(found("a")) == 1 && delta(ratio(occurrences("b") > 2 && code == 200)) < 0.1 && count(found("a")) < 3`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Find{{Name: "a", Column: 13}, {Name: "b", Column: 51, Baseline: true}}
	if got := e.Finds(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for stmt, want := range map[string]string{
		`count(found()) == 1`:                       "unknown name",
		`count(found(code)) == 1`:                   "a name of the load's find in quotes",
		`count(found("")) == 1`:                     "a name of the load's find in quotes",
		`count(occurrences("a")) == 1`:              "is a int, not a condition",
		`access(httpbin, found("a")).count == 1`:    "found and occurrences are known of the client's requests, not of access log entries",
		`ratio(found("a")) >= 1 && found("b") == 1`: `found is known of one request`,
		`count(latency > 1s && foun("a")) == 1`:     `did you mean found?`,
	} {
		if _, err := Compile(stmt, []string{"httpbin"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", stmt, err, want)
		}
	}
	if _, err := CompileHalt(`ratio(found("a")) > 0.5 for 1s`, nil); err == nil {
		t.Error("a halt that looks into answers was compiled")
	}
}

// TestShareOfEntries: the share of a service's log entries is an estimate, as that of requests is.
func TestShareOfEntries(t *testing.T) {
	for stmt, want := range map[string]struct {
		verdict Verdict
		reason  string
	}{
		`access(httpbin, version == "v1").ratio in [0.7, 0.72]`:     {Pass, "= 71.43 % (100 of 140)"},
		`access(httpbin, version == "v1").ratio in [60%, 80%] @95%`: {Pass, "100 of 140, wilson at 95 %"},
		`access(httpbin, version == "v1").ratio > 70% @95%`:         {Inconclusive, "too few"},
		`access(httpbin, version == "v1").ratio < 50% @95%`:         {Fail, ""},
		`access(httpbin, code == 500).ratio < 1% @95%`:              {Inconclusive, "about 368 needed"},
		`access(flag("UO")).ratio == 0.3`:                           {Pass, "60 of 200"},
		`access(reviews, code == 200).ratio < 50%`:                  {Inconclusive, "no proxy belongs to reviews"},
		`delta(access(httpbin, version == "v1").ratio) < 0`:         {Pass, ""},
	} {
		if got := judge(t, breaker(), stmt); got.Verdict != want.verdict || !strings.Contains(got.Reason, want.reason) {
			t.Errorf("%s = %v: %s, want %v: …%s…", stmt, got.Verdict, got.Reason, want.verdict, want.reason)
		}
	}
	m := breaker()
	m.access["breaker/"+server1], m.access["breaker/"+server2] = m.access["breaker/"+server1][:0], m.access["breaker/"+server2][:0]
	got := judge(t, m, `access(httpbin, code == 500).ratio < 1%`)
	if got.Verdict != Inconclusive || !strings.Contains(got.Reason, "no entry") {
		t.Errorf("a share of no entries: %v: %s", got.Verdict, got.Reason)
	}
	for stmt, want := range map[string]string{
		`access(httpbin).ratio > 0.5`:                  "say which of them",
		`access(httpbin, code == 200).ratio > 50`:      "a share of 50 cannot be",
		`access(httpbin, code == 200).ratio >= 0`:      "always holds",
		`access(httpbin, code == 200).ratio >= 1 @95%`: "no number of requests can show",
		`access(httpbin, code == 200).rate > 1`:        "access(…).count or access(…).ratio",
	} {
		if _, err := Compile(stmt, []string{"httpbin"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", stmt, err, want)
		}
	}
}
