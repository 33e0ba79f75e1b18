package plan_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/load/fortiorest"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/scenario"
)

// byFortio plans a scenario for a cluster with the stock load generator.
func byFortio(file, fixtures string) (*plan.Plan, error) {
	s, err := scenario.Load(file, scenario.Options{})
	if err != nil {
		return nil, err
	}
	return plan.Build(s, plan.Options{
		FixturesDir: fixtures, Marker: "squall-test", LoadImage: local.LoadImage, Cluster: true, Generator: plan.Fortio,
	})
}

func TestStockGenerator(t *testing.T) {
	p, err := byFortio("../../scenarios/circuit.yaml", "../../fixtures")
	if err != nil {
		t.Fatal(err)
	}
	var client *unstructured.Unstructured
	for _, o := range p.Fixtures {
		if o.GetKind() == "Deployment" && o.GetName() == plan.ClientName {
			client = o
		}
	}
	containers, _, err := unstructured.NestedSlice(client.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("%v %v", containers, err)
	}
	c := containers[0].(map[string]any)
	args := c["args"].([]any)
	if c["image"] != fortiorest.Image || len(args) != len(fortiorest.Args()) || args[0] != "server" {
		t.Errorf("%v", c)
	}
	text := p.Document().String()
	for _, l := range fortiorest.Losses() {
		if !strings.Contains(text, "  "+l.What+": "+l.Instead+"\n") {
			t.Errorf("the plan does not say %q:\n%s", l.What, text)
		}
	}
	if !strings.Contains(text, "loads are made by fortio") {
		t.Errorf("the plan does not say what makes the loads:\n%s", text)
	}
	own, err := buildFor("../../scenarios/circuit.yaml", "../../fixtures", true)
	if err != nil {
		t.Fatal(err)
	}
	if text := own.Document().String(); strings.Contains(text, "fortio") {
		t.Errorf("the plan by Squall's own generator speaks of another:\n%s", text)
	}
}

func TestStockGeneratorRefuses(t *testing.T) {
	for _, c := range []struct{ client, load, check, want string }{
		{"", `requests: 50, find: {a: b}`, `ratio(code == 200) >= 1`, "12:51: spec.stages[0].load.find: Fortio does not keep what answers say"},
		{"", `requests: 50, workers: 2, connections: 2`, `ratio(code == 200) >= 1`, "workers: servers of Fortio do not start at the same instant, and this load is for 2"},
		{"", `requests: 50, sidecar: false`, `ratio(code == 200) >= 1`, "12:60: spec.stages[0].load.sidecar: Fortio tells of no single call"},
		{"", `requests: 50, versionHeader: x-v`, `ratio(code == 200) >= 1`, "spec.stages[0].load.versionHeader: Fortio does not keep headers of answers"},
		{"", `requests: 50, protocol: h2`, `ratio(code == 200) >= 1`, "spec.stages[0].load.protocol: Fortio's REST API drives http/1.1 alone here, not h2"},
		{"", `requests: 50, method: HEAD`, `ratio(code == 200) >= 1`, "spec.stages[0].load.method: Fortio waits"},
		{"", `duration: 5s`, `ratio(code == 200) >= 1`, "spec.stages[0].load.duration: Fortio makes calls that it does not count"},
		{"", `duration: 5s, qps: 100, noCatchUp: true`, `ratio(code == 200) >= 1`, "spec.stages[0].load.noCatchUp: Fortio does not say"},
		{"", `requests: 50, signIn: {url: "http://app:8000/login"}`, `ratio(code == 200) >= 1`, "spec.stages[0].load.signIn: Fortio does not keep the cookies"},
		{"", `requests: 50, headers: {x-squall-load: mine}`, `ratio(code == 200) >= 1`, "spec.stages[0].load.headers: x-squall-load marks"},
		{"", `requests: 50, qps: 100`, `p99(response) < 1s`, "13:15: response and late need the times at which calls were meant to start, which Fortio does not tell"},
		{"client: {sidecar: false}", `requests: 50`, `ratio(code == 200) >= 1`, "6:21: spec.client.sidecar: Fortio tells of no single call"},
	} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		text := `apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: x}
spec:
  fixtures: [app]
  ` + c.client + `
  hypothesis: It holds.
  baseline:
    skip: no need
  stages:
  - name: one
    load: {url: "http://app:8000/", ` + c.load + `}
    checks: ['` + c.check + `']
`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := byFortio(file, "testdata/fixtures")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), fortiorest.Hint) {
			t.Errorf("%s %s:\n%v\ndoes not say %s", c.client, c.load, err, c.want)
		}
		if _, err := buildFor(file, "testdata/fixtures", true); err != nil && strings.Contains(err.Error(), "Fortio") {
			t.Errorf("%s: refused for Squall's own generator too: %v", c.load, err)
		}
	}
}
