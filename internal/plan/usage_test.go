package plan_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadsUsage holds what pods use to the phases whose checks ask for it, as kubelets have to be waited for.
func TestReadsUsage(t *testing.T) {
	for name, tt := range map[string]struct {
		baseline, first, second string // checks
		want                    string // of the phases and the recovery
	}{
		"nobody asks":    {"p50 < 1s", "p50 < 1s", "p50 < 1s", "false false false false"},
		"a stage":        {"p50 < 1s", "cpu(httpbin) < 1", "p50 < 1s", "false true false false"},
		"the baseline":   {"memory(httpbin) < 1GiB", "p50 < 1s", "p50 < 1s", "true false false true"},
		"against before": {"p50 < 1s", "p50 < 1s", "delta(cpu(httpbin)) < 1", "true false true true"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.NewReplacer("BASELINE", tt.baseline, "FIRST", tt.first, "SECOND", tt.second).Replace(`apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: usage}
spec:
  hypothesis: What is not asked for is not measured.
  fixtures: [httpbin]
  baseline:
    load: {url: "http://httpbin:8000/get", requests: 100}
    checks: ["BASELINE"]
  stages:
  - {name: first, checks: ["FIRST"]}
  - {name: second, checks: ["SECOND"]}
`)
			file := filepath.Join(t.TempDir(), "usage.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := buildFor(file, "../../fixtures", true)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, ph := range append(p.Phases, *p.Recovery) {
				got = append(got, map[bool]string{true: "true", false: "false"}[ph.ReadsUsage])
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("what pods use is measured in %s, want %s", g, tt.want)
			}
		})
	}
}
