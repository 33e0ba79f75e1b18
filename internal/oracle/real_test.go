package oracle_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/load"
	"squall/internal/scenario"
	"squall/internal/toolchain"
)

// quiet takes the progress of a run.
type quiet struct{}

func (quiet) Phase(string)                                     {}
func (quiet) Say(string, ...any)                               {}
func (quiet) Load(string, time.Duration, int64, load.Snapshot) {}

// scenarios are run on the real mesh with what is predicted of each of their phases. SQUALL_ORACLE names others, or * for all.
func scenarios(t *testing.T, root string) []string {
	t.Helper()
	wanted := os.Getenv("SQUALL_ORACLE")
	if wanted == "" {
		wanted = "weights,breaker-tutorial,bookinfo-reviews-timeout,bookinfo-jason-sign-in,mtls-strict,mirror-half"
	}
	all, err := scenario.List(filepath.Join(root, "scenarios"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range all {
		if wanted == "*" || slices.Contains(strings.Split(wanted, ","), s.Name) {
			out = append(out, s.File)
		}
	}
	return out
}

// TestAgainstTheMesh is whether a real mesh does what is predicted of it.
func TestAgainstTheMesh(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a mesh for each scenario")
	}
	root, err := toolchain.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	tools, err := toolchain.Ensure(t.Context(), toolchain.Options{Root: root, Progress: toolchain.Lines(os.Stderr)})
	if err != nil {
		t.Fatal(err)
	}
	config := engine.Config{Fixtures: filepath.Join(root, "fixtures"), Reports: t.TempDir(), Env: "local", Tools: tools}
	held := 0
	for _, path := range scenarios(t, root) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) { held += against(t, config, path) })
	}
	if held == 0 {
		t.Error("nothing was predicted")
	}
}

// against runs one scenario and returns how many predictions held.
func against(t *testing.T, config engine.Config, path string) (held int) {
	t.Helper()
	s, err := scenario.Load(path, scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := config.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	out, err := config.Run(t.Context(), k, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ph := range out.Result.Phases {
		for _, o := range ph.Outcomes {
			switch {
			case o.Kind != check.KindPrediction:
			case o.Verdict == check.Pass:
				held++
				t.Logf("%s: %s %s", ph.Name, o.Name, o.Reason)
			default:
				t.Errorf("%s: %s: %s %s", ph.Name, o.Name, o.Verdict, o.Reason)
			}
		}
	}
	return held
}
