package check

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"squall/internal/record"
	"squall/internal/traffic/store"
)

// group is n records of calls of httpbin by the client, each of so long a duration.
func group(reporter, version string, code int, flags string, n int, each time.Duration) record.TrafficGroup {
	var s store.Summary
	failed := code == 0 || code >= 500
	for range n {
		s.AddDuration(each, failed, 1, 1)
	}
	g := record.TrafficGroup{
		Reporter: reporter, SourceNamespace: "squall", Source: "squall-load", Namespace: "squall", Service: "httpbin", Method: "GET", Interface: "/status/{code}",
		Version: version, Code: code, Flags: flags, Records: int64(n), Sum: s.Sum.Seconds(), Min: s.Min.Seconds(), Max: s.Max.Seconds(), Buckets: s.AppendHistogram(nil),
	}
	if failed {
		g.Failed = int64(n)
	}
	if version != "" {
		g.Workload = "httpbin-" + version
	}
	return g
}

// recordedBreaker is breaker with the interface traffic that its stage has.
func recordedBreaker() *memory {
	m := breaker()
	for i := range m.proxies {
		p := &m.proxies[i]
		p.Namespace, p.Workload = "squall", strings.TrimSuffix(p.Pod, "-1")
		for j := range m.access["breaker/"+p.Pod] {
			e := &m.access["breaker/"+p.Pod][j]
			e.Method = "GET"
			if p.Client && e.Flags != "UO" {
				e.Upstream, e.Details, e.Attempts = "127.0.0.2:8080", "via_upstream", 1
			}
		}
	}
	m.traffic = map[string]record.Traffic{"breaker": {Store: "SQLite", Complete: "ok", Received: 340, Waited: 12, Refused: "503", Groups: []record.TrafficGroup{
		group("source", "", 503, "UO", 60, time.Millisecond), group("source", "v1", 200, "", 100, 20*time.Millisecond), group("source", "v2", 200, "", 40, 20*time.Millisecond),
		group("destination", "v1", 200, "", 100, 19*time.Millisecond), group("destination", "v2", 200, "", 40, 19*time.Millisecond),
	}}}
	return m
}

func TestRecorded(t *testing.T) {
	for stmt, want := range map[string]struct {
		verdict Verdict
		reason  string
	}{
		`records(httpbin).count == 140`:                                                             {Pass, ""},
		`records(httpbin).count == 139`:                                                             {Fail, "= 140"},
		`records().count == 140`:                                                                    {Pass, ""},
		`records(service == "httpbin" && version == "v2").count == 40`:                              {Pass, ""},
		`records(httpbin, reporter == "source").count == load.count`:                                {Pass, ""},
		`records(httpbin, reporter == "source" && flag("UO") && code == 503 && failed).count == 60`: {Pass, ""},
		`records(httpbin, interface == "/status/{code}" && method == "GET").ratio >= 1`:             {Pass, ""},
		`records(httpbin, version == "v1").ratio in [60%, 80%] @95%`:                                {Pass, "wilson"},
		`records(httpbin, version == "v1").ratio > 70% @95%`:                                        {Inconclusive, "too few"},
		`records(failed).count == 0`:                                                                {Pass, ""},
		`records(httpbin).versions == 2`:                                                            {Pass, ""},
		`records().waited == 12`:                                                                    {Pass, ""},
		`records().waited == 0`:                                                                     {Fail, "= 12"},
		`records(httpbin).versions == 3`:                                                            {Fail, "= 2"},
		`records(httpbin).mean in [18.9ms, 19.1ms] && records(httpbin).p99 in [18ms, 20ms]`:         {Pass, ""},
		`records(httpbin).p50 == 19ms`:                                                              {Pass, ""},
		`records(httpbin).max < 19ms`:                                                               {Fail, "= 19 ms"},
		`records(httpbin).rate > 1`:                                                                 {Pass, "/s"},
		`records(httpbin, code == 404).mean > 0s`:                                                   {Inconclusive, "none of 140 records matches"},
		`records(httpbin, source == "squall-load" && workload == "httpbin-v1" && serviceNamespace == "squall").count == 100`: {Pass, ""},
		`origins().count == 1 && origins(httpbin, reporter == "source" && flag("UO")).count == 1`:                            {Pass, ""},
		`origins(httpbin, reporter == "destination").count == 1`:                                                             {Fail, "= 0"},
	} {
		got := judge(t, recordedBreaker(), stmt)
		if got.Verdict != want.verdict || !strings.Contains(got.Reason, want.reason) {
			t.Errorf("%s: %v, %s", stmt, got.Verdict, got.Reason)
		}
	}
	if got := judge(t, breaker(), `records(httpbin).count == 0`); got.Verdict != Inconclusive || !strings.Contains(got.Reason, "collected no records") {
		t.Errorf("without records: %v, %s", got.Verdict, got.Reason)
	}
}

// What is missing is never a smaller number.
func TestRecordedIncomplete(t *testing.T) {
	for want, spoil := range map[string]func(*memory, *record.Traffic){
		"they are incomplete: 3 records came": func(_ *memory, r *record.Traffic) { r.Complete = "3 records came of httpbin-v1" },
		"the store dropped some: 7 (spool full)": func(_ *memory, r *record.Traffic) {
			r.Dropped = map[string]uint64{"spool full": 7}
		},
		"those of httpbin-v1 may be incomplete": func(m *memory, _ *record.Traffic) { m.proxies[1].Ended = "its pod ended" },
		"are those of other too": func(m *memory, _ *record.Traffic) {
			m.proxies[1].Services, m.proxies[1].Labels = []string{"httpbin", "other"}, map[string]string{"app": "other"}
		},
		"are damaged": func(_ *memory, r *record.Traffic) { r.Groups[3].Buckets = []byte{1} },
	} {
		m := recordedBreaker()
		r := m.traffic["breaker"]
		spoil(m, &r)
		m.traffic["breaker"] = r
		if got := judge(t, m, `records(httpbin).count == 140`); got.Verdict != Inconclusive || !strings.Contains(got.Reason, want) {
			t.Errorf("%s: %v, %s", want, got.Verdict, got.Reason)
		}
	}
}

// What a pod that ended had recorded is not known, whichever way the records are asked for.
func TestRecordedOfPodsThatEnded(t *testing.T) {
	for stmt, ended := range map[string]map[string]Verdict{
		`records(failed).count == 0`:                                 {server1: Inconclusive, client: Inconclusive},
		`records().count == 140`:                                     {server1: Inconclusive, client: Inconclusive},
		`records(service == "httpbin" && failed).count == 0`:         {server1: Inconclusive},
		`records(httpbin, failed).count == 0`:                        {server1: Inconclusive, client: Pass},
		`records(httpbin, reporter == "source" && failed).count > 0`: {client: Inconclusive, server1: Inconclusive},
		`origins(httpbin, reporter == "source").count == 1`:          {client: Inconclusive, server1: Inconclusive},
		`origins().count == 1`:                                       {client: Inconclusive, server1: Inconclusive},
		`records().waited == 12`:                                     {server1: Pass}, // what it lost did not wait
	} {
		for pod, want := range ended {
			m := recordedBreaker()
			for i := range m.proxies {
				if m.proxies[i].Pod == pod {
					m.proxies[i].Ended = "its pod ended"
				}
			}
			got := judge(t, m, stmt)
			if got.Verdict != want || want == Inconclusive && !strings.Contains(got.Reason, "those of "+pod+" may be incomplete") {
				t.Errorf("%s without %s: %v, %s", stmt, pod, got.Verdict, got.Reason)
			}
		}
	}
}

func TestRecordedMistakes(t *testing.T) {
	for stmt, want := range map[string]string{
		`records(httpbin, path == "/get").count > 0`:       "path is known of access log entries, not of interface-traffic records",
		`records(httpbin).sum > 0`:                         "records has no",
		`records(htpbin).count > 0`:                        "did you mean httpbin?",
		`records(httpbin, reporter == "client").count > 0`: "the reporter is the caller's proxy",
		`records(httpbin, code == 200, failed).count > 0`:  "join conditions with &&",
		`records(httpbin).ratio > 0.5`:                     "say which of them",
		`origins(httpbin).ratio > 0.5`:                     "write origins(…).count",
		`access(httpbin, interface == "/get").count > 0`:   "interface is known of interface-traffic records",
		`access(httpbin).p99 > 1s`:                         "records(…) has p99",
		`copies().count > 0`:                               "copies takes a service",
		`records(httpbin).p50 > 5`:                         "a time against a number",
	} {
		if _, err := Compile(stmt, []string{"httpbin"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", stmt, err, want)
		}
	}
}

func TestReconcile(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(*memory, *record.Traffic)
		verdict Verdict
		reason  string
	}{
		"the same":                {func(*memory, *record.Traffic) {}, Pass, "client 200 = its proxy 200, at the callees' proxies 140, and 60 that got no further, SQLite has the 340 records of 3 proxies"},
		"what waited":             {func(*memory, *record.Traffic) {}, Pass, "; 12 records waited on disk until the store took them: 503"},
		"lost by the store":       {func(_ *memory, r *record.Traffic) { r.Groups[4].Records-- }, Fail, "squall/httpbin-v2: its proxies logged 40, the store has 39"},
		"doubled by the store":    {func(_ *memory, r *record.Traffic) { r.Groups[0].Records++ }, Fail, "squall/squall-load: its proxies logged 200, the store has 201"},
		"of nobody":               {func(_ *memory, r *record.Traffic) { r.Groups[3].Workload = "other" }, Fail, "squall/other: the store has 100, and it has no proxy that is known"},
		"dropped":                 {func(_ *memory, r *record.Traffic) { r.Dropped = map[string]uint64{"spool full": 7} }, Inconclusive, "dropped by the store: 7 (spool full)"},
		"late":                    {func(_ *memory, r *record.Traffic) { r.Complete = "not within 20s" }, Inconclusive, "incomplete: not within 20s"},
		"the client counted more": {func(m *memory, _ *record.Traffic) { l := m.load["breaker"]; l.Count = 210; m.load["breaker"] = l }, Fail, "the client got 210 answers, and its proxy recorded 200 requests"},
		"the client counted less": {func(m *memory, _ *record.Traffic) { l := m.load["breaker"]; l.Count = 190; m.load["breaker"] = l }, Fail, "the client made 190 calls, and its proxy recorded 200 requests"},
		"cut off": {func(m *memory, _ *record.Traffic) {
			l := m.load["breaker"]
			l.Count, l.Cut = 190, 10
			m.load["breaker"] = l
		}, Pass, "10 cut off"},
		"not at the callee": {func(m *memory, r *record.Traffic) {
			r.Groups = r.Groups[:4]
			m.access["breaker/"+server2] = nil
			m.proxies = m.proxies[:2]
			m.proxies[0].Services = nil
		}, Fail, "had 140 requests answered by other proxies, and these recorded 100 of it"},
		"a pod that ended": {func(m *memory, r *record.Traffic) {
			m.proxies[2].Ended = "its pod ended"
			r.Groups[4].Records -= 5
		}, Pass, "without httpbin-v2, which ended"},
	} {
		m := recordedBreaker()
		r := m.traffic["breaker"]
		c.spoil(m, &r)
		m.traffic["breaker"] = r
		got := newPhase(m, "breaker", "squall").reconcile()
		if len(got) != 1 || got[0].Verdict != c.verdict || !strings.Contains(got[0].Reason, c.reason) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := newPhase(breaker(), "breaker", "squall").reconcile(); got != nil {
		t.Errorf("without records: %+v", got)
	}
}

// edge is one call of a chain: n records at both proxies, of which so many failed.
func edge(source, service, version string, n, failed int, flags string) []record.TrafficGroup {
	var out []record.TrafficGroup
	for _, reporter := range []string{"source", "destination"} {
		for _, part := range []struct{ n, code int }{{n - failed, 200}, {failed, 500}} {
			g := record.TrafficGroup{
				Reporter: reporter, SourceNamespace: "shop", Source: source, Namespace: "shop", Service: service, Workload: service + "-" + version, Version: version,
				Method: "GET", Interface: "/" + service + "/{id}", Code: part.code, Records: int64(part.n),
			}
			if part.code == 500 {
				g.Failed = g.Records
				if flags != "" {
					g.Flags, g.Workload, g.Version = flags, "", ""
				}
			}
			if g.Records > 0 && (flags == "" || part.code == 200 || reporter == "source") {
				out = append(out, g)
			}
		}
	}
	return out
}

func TestOrigins(t *testing.T) {
	for name, c := range map[string]struct {
		edges [][]record.TrafficGroup
		want  []string
	}{
		"nothing failed": {[][]record.TrafficGroup{edge("load", "front", "v1", 10, 0, "")}, nil},
		"the last of a chain": {
			[][]record.TrafficGroup{edge("load", "front", "v1", 10, 4, ""), edge("front-v1", "middle", "v1", 10, 4, ""), edge("middle-v1", "back", "v2", 10, 4, "")},
			[]string{"GET /back/{id} of back v2, called by middle-v1: 4 of 10 failed (500)"},
		},
		"one in the middle": {
			[][]record.TrafficGroup{edge("load", "front", "v1", 10, 4, ""), edge("front-v1", "middle", "v1", 10, 4, ""), edge("middle-v1", "back", "v2", 10, 0, "")},
			[]string{"GET /middle/{id} of middle v1, called by front-v1: 4 of 10 failed (500)"},
		},
		"an edge": {
			[][]record.TrafficGroup{edge("load", "front", "v1", 10, 4, ""), edge("front-v1", "back", "v1", 10, 4, "FI")},
			[]string{"GET /back/{id} of back, at the proxies of front-v1: 4 of 4 failed (500 FI)"},
		},
		"two callers": {
			[][]record.TrafficGroup{edge("a-v1", "back", "v1", 10, 4, ""), edge("b-v1", "back", "v1", 20, 3, "")},
			[]string{"GET /back/{id} of back v1, called by a-v1, b-v1: 7 of 30 failed (500)"},
		},
		"a failure that a caller bears": {
			[][]record.TrafficGroup{edge("load", "front", "v1", 10, 0, ""), edge("front-v1", "back", "v1", 10, 4, "")},
			[]string{"GET /back/{id} of back v1, called by front-v1: 4 of 10 failed (500)"},
		},
	} {
		var all []record.TrafficGroup
		for _, e := range c.edges {
			all = append(all, e...)
		}
		var got []string
		for _, o := range origins(all) {
			got = append(got, o.String())
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s:\n%q\nwant\n%q", name, got, c.want)
		}
	}
}
