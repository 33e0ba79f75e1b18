package run_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"squall/internal/check"
	"squall/internal/scenario"
)

// TestGate goes through both ways of a canary: on, with the switch under load, and back.
func TestGate(t *testing.T) {
	for name, c := range map[string]struct {
		set     map[string]string
		verdict check.Verdict
		code    int
		reason  string
		runs    bool // the stage after the gate
	}{
		"promotes":                {nil, check.Pass, 0, "rollback verified", true},
		"rolls back":              {map[string]string{"path": "/status/500"}, check.Fail, 1, "few: ", false},
		"rolls back, as expected": {map[string]string{"path": "/status/500", "expect": "rollback"}, check.Pass, 0, "rollback verified", false},
		"promotes, unexpectedly":  {map[string]string{"expect": "rollback"}, check.Fail, 1, "the gate promoted", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := prepareWith(t, "canary.yaml", scenario.Options{Set: c.set})
			w.run()
			w.expect(c.verdict, c.code, c.reason)
			_, err := os.Stat(filepath.Join(w.out.Record.Dir(), "phases", "all", "load.json"))
			if (err == nil) != c.runs || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the stage after the gate: %v", err)
			}
			for _, p := range w.out.Result.Phases {
				if p.Name == "all" && (p.NotRun == "") != c.runs {
					t.Errorf("the stage after the gate says %q", p.NotRun)
				}
			}
			junit, err := os.ReadFile(w.path("junit.xml"))
			if err != nil || strings.Contains(string(junit), "<skipped message=\"the gate of few ended the run\">") == c.runs {
				t.Errorf("junit.xml: %v\n%s", err, junit)
			}
		})
	}
}
