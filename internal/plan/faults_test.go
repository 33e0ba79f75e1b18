package plan_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFaultsOfPods plans what the rules do not tell and what the local mesh could not run.
func TestFaultsOfPods(t *testing.T) {
	for name, c := range map[string]struct {
		step, problem string
		predicted     bool
	}{
		"crash":              {"kill: {workload: httpbin}", "", true},
		"scaled":             {"scale: {workload: httpbin, replicas: 2}", "", true},
		"stopped":            {"stop: {workload: httpbin}", "", false},
		"cut off":            {"partition: {workload: httpbin}", "", false},
		"another version":    {"rollout: {workload: httpbin, env: {A: b}}", "", false},
		"a version without":  {"rollout: {workload: httpbin, image: 'registry.invalid/none:1'}", "no program stands for the image registry.invalid/none:1", false},
		"a stuck one":        {"rollout: {workload: httpbin, image: 'registry.invalid/none:1', expect: stuck}", "", false},
		"stuck, with a typo": {"rollout: {workload: httpbin, image: 'a:1', expect: stucked}", `did you mean "stuck"?`, false},
		"no number":          {"kill: {workload: httpbin, pods: some}", "some is neither a number of pods nor all (write 1 or more, or all)", false},
		"none":               {"kill: {workload: httpbin, pods: 0}", "0 is neither a number of pods nor all", false},
		"from nobody":        {"partition: {to: httpbin}", "apply[0].partition.from: is missing beside to", false},
		"nothing":            {"rollout: {workload: httpbin}", "changes nothing (write image or env)", false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "fault.yaml")
			text := `apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: fault}
spec:
  hypothesis: It is planned.
  fixtures: [httpbin]
  baseline:
    load: {url: "http://httpbin:8000/get", requests: 20}
    checks: ["ratio(code == 200) >= 1"]
  stages:
  - name: one
    apply: [{` + c.step + `}]
    checks: ["count(code == 200) > 0"]
  - name: two
    checks: ["count(code == 200) > 0"]
`
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := build(file, "../../fixtures")
			if c.problem != "" {
				if err == nil || !strings.Contains(err.Error(), c.problem) || !strings.HasPrefix(err.Error(), file+":12:") {
					t.Errorf("%v, want %s", err, c.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, ph := range p.Spec.Phases[1:3] { // a fault lasts until the rollback
				if got := len(ph.Predictions) > 0; got != c.predicted {
					t.Errorf("%s: predicted %v, want %v: %v", ph.Name, got, c.predicted, ph.Unpredicted)
				}
			}
			if len(p.Spec.Phases[1].Proofs) == 0 || len(p.Phases[1].Actions) != 1 || len(p.Phases[2].Actions) != 0 {
				t.Errorf("%+v", p.Phases[1])
			}
		})
	}
}
