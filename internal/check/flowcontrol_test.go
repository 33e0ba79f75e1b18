package check

import (
	"slices"
	"strings"
	"testing"

	"squall/internal/flowcontrol"
	"squall/internal/record"
)

// rejecting is breaker beside an Elasticsearch of two nodes whose flow control refused connections.
func rejecting() *memory {
	m := breaker()
	of := func(name string, rejected, open int64) record.FlowNode {
		return record.FlowNode{ID: "id-" + name, Name: name, Started: 7, Counts: map[string]int64{
			"http.rejected_concurrent": rejected, "http.concurrent_req": open, "node.total_opened": 100 + rejected,
		}}
	}
	at := func(nodes ...record.FlowNode) []record.FlowControl {
		return []record.FlowControl{{Service: "search", Instances: []string{"search-0 (u, 0 restarts)"}, Nodes: nodes}}
	}
	m.flow = map[string][]record.FlowControl{
		"breaker/before": at(of("a", 10, 9), of("b", 20, 9)),
		"breaker/after":  at(of("a", 50, 3), of("b", 40, 2)),
	}
	return m
}

func TestFlowControl(t *testing.T) {
	for stmt, want := range map[string]Verdict{
		`flowcontrol(search).http.rejected_concurrent == 60`:                            Pass, // what was added
		`flowcontrol("search").http.rejected_concurrent == count(code == 503)`:          Pass,
		`flowcontrol(search, "a").http.rejected_concurrent == 40`:                       Pass,
		`flowcontrol(search, "id-b").http.rejected_concurrent == 40`:                    Fail,
		`flowcontrol(search).http.concurrent_req == 5`:                                  Pass, // what there is after
		`flowcontrol(search).node.total_opened - count(code == 503) in [0, 4]`:          Pass,
		`flowcontrol(search).http.rejected_concurrent / load.seconds > 29`:              Pass,
		`flowcontrol(search, "c").http.rejected_concurrent == 0`:                        Inconclusive,
		`flowcontrol(other).http.rejected_concurrent == 0`:                              Inconclusive,
		`flowcontrol(search).cpu.rejected_cpu == 0`:                                     Inconclusive, // the record lacks it
		`flowcontrol(search).http.rejected_concurrent > 0 && count(code == 200) == 140`: Pass,
	} {
		if got := judge(t, rejecting(), stmt); got.Verdict != want {
			t.Errorf("%s = %v: %s, want %v", stmt, got.Verdict, got.Reason, want)
		}
	}
}

// TestFlowControlThatIsNotKnown: what is not known, or began anew, is never 0.
func TestFlowControlThatIsNotKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(before, after *record.FlowControl)
		want  string
	}{
		"another pod":   {func(_, a *record.FlowControl) { a.Instances = []string{"search-1 (v, 0 restarts)"} }, "it started anew during the load: search-0 (u, 0 restarts) before"},
		"another JVM":   {func(_, a *record.FlowControl) { a.Nodes[0].Started = 8 }, "a node came, went or started anew"},
		"a node less":   {func(b, _ *record.FlowControl) { b.Nodes = b.Nodes[:1] }, "a node came, went or started anew"},
		"backwards":     {func(b, _ *record.FlowControl) { b.Nodes[0].Counts["http.rejected_concurrent"] = 51 }, "went backwards from 51 to 50"},
		"no answer":     {func(_, a *record.FlowControl) { a.Missing = "connection refused" }, "after the load of breaker: connection refused"},
		"not before":    {func(b, _ *record.FlowControl) { b.Missing = "403" }, "before the load of breaker: 403"},
		"no such count": {func(b, _ *record.FlowControl) { delete(b.Nodes[1].Counts, "http.rejected_concurrent") }, "node b did not tell http.rejected_concurrent before"},
	} {
		m := rejecting()
		tt.spoil(&m.flow["breaker/before"][0], &m.flow["breaker/after"][0])
		got := judge(t, m, `flowcontrol(search).http.rejected_concurrent == 0`)
		if got.Verdict != Inconclusive || !strings.Contains(got.Reason, tt.want) {
			t.Errorf("%s: %v: %s, want %q", name, got.Verdict, got.Reason, tt.want)
		}
	}
	if got := judge(t, breaker(), `flowcontrol(search).http.rejected_concurrent == 0`); got.Verdict != Inconclusive {
		t.Errorf("nobody asked: %v", got.Verdict)
	}
}

func TestFlowControlThatIsNoMeasure(t *testing.T) {
	for stmt, want := range map[string]string{
		`flowcontrol(search).http.rejected_concurent == 0`:    `flow control does not count "http.rejected_concurent" (did you mean http.rejected_concurrent?)`,
		`flowcontrol(search).http == 0`:                       `flow control does not count "http"`,
		`flowcontrol(search) == 0`:                            "has many counters",
		`flowcontrol().http.rejected_new == 0`:                "takes a service and may take a node",
		`flowcontrol(search, 1).http.rejected_new == 0`:       "the name or id of a node is a string in quotes",
		`flowcontrol(search).http.rejected_new >= 0`:          "always holds",
		`flowcontrol(search).http.rejected_concurrent < 10ms`: "a time",
	} {
		_, err := Compile(stmt, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", stmt, err, want)
		}
	}
	e := mustCompile(t, `count(code == 200) > 0 && flowcontrol(search).http.rejected_new == 0`)
	if got := e.FlowServices(); len(got) != 1 || got[0] != (FlowService{"search", 27}) {
		t.Errorf("asked: %+v", got)
	}
}

// TestFlowCountsAreTheClients holds the record to what the client of flow control reads.
func TestFlowCountsAreTheClients(t *testing.T) {
	want := append(flowcontrol.CounterNames(), "node.current_open", "node.total_opened")
	slices.Sort(want)
	if got := record.FlowCounts(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
