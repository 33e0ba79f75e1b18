package plan_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestChecksLeftToLuck: where the rules predict a share, a check of it that so few requests often leave undecided is reported, at its place.
func TestChecksLeftToLuck(t *testing.T) {
	for name, c := range map[string]struct {
		check    string
		requests int
		want     string // "" is nothing
	}{
		"few":               {`ratio(code == 418) in [24%, 36%] @99%`, 600, "ratio(code == 418) in [24%, 36%] @99% passes in 49 % of runs of 600 requests, when ratio(code == 418) = 0.3 as the rules predict (send about "},
		"enough":            {`ratio(code == 418) in [24%, 36%] @99%`, 4000, ""},
		"too few at all":    {`ratio(code == 418) in [24%, 36%] @99%`, 100, "100 requests cannot show "},
		"without intervals": {`ratio(code == 418) in [29%, 31%]`, 600, "passes in 43.7 %"},
		"not predicted":     {`ratio(latency > 1s) < 3% @95%`, 600, ""},
		"to fail":           {`ratio(code == 418) in [50%, 60%] @95%`, 4000, ""},
		"beyond reach":      {`ratio(code == 418) in [29.99%, 30.01%]`, 600, "(give wider limits)"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "luck.yaml")
			text := fmt.Sprintf(`apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: luck}
spec:
  hypothesis: Three in ten are aborted.
  fixtures: [httpbin]
  baseline:
    load: {url: "http://httpbin:8000/get", requests: 20}
    checks: ["ratio(code == 200) >= 1"]
  stages:
  - name: aborted
    apply: [{abort: {host: httpbin, percent: 30, httpStatus: 418}}]
    load: {url: "http://httpbin:8000/get", requests: %d}
    checks: ['%s']
`, c.requests, c.check)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := build(file, "../../fixtures")
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(p.Findings) > 0:
				t.Errorf("%v", p.Findings)
			case c.want != "" && (len(p.Findings) != 1 || !strings.Contains(p.Findings[0].String(), c.want) || !strings.HasPrefix(p.Findings[0].String(), file+":14:15: small-sample: ")):
				t.Errorf("%v, want %s", p.Findings, c.want)
			}
		})
	}
}
