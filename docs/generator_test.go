package docs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"squall/internal/load/fortiorest"
	"squall/internal/plan"
	"squall/internal/scenario"
)

func lossTable(*testing.T, string, string) string {
	var b strings.Builder
	b.WriteString("| what Squall's own has | with Fortio's image |\n|---|---|\n")
	for _, l := range fortiorest.Losses() {
		fmt.Fprintf(&b, "| %s | %s |\n", l.What, l.Instead)
	}
	return b.String()
}

// unsupportedLoads are what the stock load generator has to refuse, each for one field of a load.
func unsupportedLoads() []struct{ field, load string } {
	return []struct{ field, load string }{
		{"find", `find: {name: text}, requests: 10`},
		{"signIn", `signIn: {url: "http://httpbin:8000/post"}, requests: 10`},
		{"workers", `workers: 2, connections: 2, requests: 10`},
		{"sidecar", `sidecar: false, requests: 10`},
		{"protocol", `protocol: h2, requests: 10`},
		{"protocol", `protocol: grpc, requests: 10`},
		{"versionHeader", `versionHeader: x-version, requests: 10`},
		{"method", `method: HEAD, requests: 10`},
		{"noCatchUp", `noCatchUp: true, qps: 10, duration: 5s`},
		{"duration", `duration: 5s`},
	}
}

// unsupportedTable plans a scenario with each of the loads.
func unsupportedTable(t *testing.T, _, _ string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| load | why |\n|---|---|\n")
	for _, l := range unsupportedLoads() {
		text := `{apiVersion: squall/v1alpha1, kind: Scenario, metadata: {name: x}, spec: {hypothesis: It holds., fixtures: [httpbin], baseline: {skip: "none"},
			stages: [{name: one, load: {url: "http://httpbin:8000/get", ` + l.load + `}, checks: ["ratio(code == 200) >= 1"]}]}}`
		s, err := scenario.Parse("x.yaml", []byte(text), scenario.Options{})
		if err != nil {
			t.Errorf("%s: %v", l.load, err)
			continue
		}
		_, err = plan.Build(s, plan.Options{FixturesDir: "../fixtures", Marker: "squall-0a1b2c", Cluster: true, Generator: plan.Fortio})
		var problems scenario.Problems
		errors.As(err, &problems)
		if len(problems) != 1 || problems[0].Path != "spec.stages[0].load."+l.field {
			t.Errorf("%s: %v", l.load, err)
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.TrimSuffix(l.load, ", requests: 10"), problems[0].What)
	}
	return b.String()
}
