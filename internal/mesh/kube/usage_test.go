package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"squall/internal/record"
)

// measuredAt is a kubelet's answer with one pod whose containers were measured at a second.
func measuredAt(t *testing.T, second int) *summary {
	t.Helper()
	s := &summary{}
	err := json.Unmarshal(fmt.Appendf(nil, `{"pods": [
	 {"podRef": {"name": "a", "namespace": "t"}, "containers": [
	  {"name": "app", "cpu": {"time": "2026-11-26T08:00:%02dZ", "usageCoreNanoSeconds": 1500000000}, "memory": {"workingSetBytes": 10}},
	  {"name": "helper", "cpu": {"time": "2026-11-26T08:00:%02dZ", "usageCoreNanoSeconds": 500000000}, "memory": {"workingSetBytes": 5}},
	  {"name": "istio-proxy", "cpu": {"time": "2026-11-26T08:00:%02dZ", "usageCoreNanoSeconds": 250000000}, "memory": {"workingSetBytes": 7}},
	  {"name": "new", "cpu": {"time": "2026-11-26T08:00:00Z"}, "memory": {}}]},
	 {"podRef": {"name": "a", "namespace": "other"}, "containers": [
	  {"name": "app", "cpu": {"time": "2026-11-26T08:00:00Z", "usageCoreNanoSeconds": 9}, "memory": {"workingSetBytes": 9}}]}]}`, second, second, second), s)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUsageIsMeasuredAnew(t *testing.T) {
	of := map[key]bool{{"t", "a"}: true}
	m := measuredAt(t, 1)
	before := sinceOf(m, of)
	if len(before) != 3 {
		t.Errorf("%d containers were measured, want 3: %v", len(before), before)
	}
	out := map[string]map[string]record.Usage{"a": {}}
	if fresh(m, of, before, out) {
		t.Error("what was measured before is taken for new")
	}
	if late := m.stale(of, before); !slices.Equal(late, []string{"a/app", "a/helper", "a/istio-proxy"}) {
		t.Errorf("%v are told to be measured late, want the three of the pod", late)
	}
	if !fresh(measuredAt(t, 11), of, before, out) {
		t.Error("what was measured after is not taken")
	}
	if want := (record.Usage{CPU: 2, Memory: 15}); out["a"][record.App] != want {
		t.Errorf("the application uses %+v, want %+v", out["a"][record.App], want)
	}
	if want := (record.Usage{CPU: 0.25, Memory: 7}); out["a"][record.Sidecar] != want {
		t.Errorf("the proxy uses %+v, want %+v", out["a"][record.Sidecar], want)
	}
	if fresh(&summary{}, of, before, out) {
		t.Error("a kubelet that says nothing is taken for one that has measured")
	}
}
