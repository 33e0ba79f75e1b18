// Package scripts_test checks the Makefile against what it says about itself.
package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every target is phony, says what it does, is one line that calls something else, and is listed by make help.
func TestMakefile(t *testing.T) {
	text, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile(`(?m)^([a-z-]+):([^=#\n]*)(?:## (.+))?\n((?:\t.*\n)*)`).FindAllStringSubmatch(string(text), -1)
	var names []string
	for _, m := range targets {
		names = append(names, m[1])
		if m[3] == "" {
			t.Errorf("%s does not say what it does", m[1])
		}
		if n := strings.Count(m[4], "\n"); n != 1 {
			t.Errorf("%s has %d lines, want 1: put the rest in a script", m[1], n)
		}
	}
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindStringSubmatch(string(text))
	if phony == nil || !slices.Equal(names, strings.Fields(phony[1])) {
		t.Errorf("targets %v, phony %v", names, phony)
	}
	listed := regexp.MustCompile(`(?m)^  make ([a-z-]+) +(.+)$`).FindAllStringSubmatch(run(t, "help"), -1)
	if len(listed) != len(targets) {
		t.Fatalf("make help lists %d targets, the Makefile has %d", len(listed), len(targets))
	}
	for i, m := range targets {
		if listed[i][1] != m[1] || listed[i][2] != m[3] {
			t.Errorf("make help says %q, the Makefile %s: %s", listed[i][0], m[1], m[3])
		}
	}
}

func TestMakeAloneIsHelp(t *testing.T) {
	if got, want := run(t), run(t, "help"); got != want {
		t.Errorf("make says\n%s\nwant make help\n%s", got, want)
	}
}

func TestScenarioWithoutNameSaysSo(t *testing.T) {
	out, err := command("scenario", "-n").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "make scenario NAME=circuit") {
		t.Errorf("make scenario says %q, %v", out, err)
	}
}

func TestScenarioPassesItsArguments(t *testing.T) {
	const want = "bin/squall run circuit --env kind --set a=b\n"
	if out := run(t, "-n", "scenario", "NAME=circuit", "ENV=kind", "ARGS=--set a=b"); !strings.HasSuffix(out, want) {
		t.Errorf("make scenario runs %q, want %q at the end", out, want)
	}
}

func TestScenarioServesItsPage(t *testing.T) {
	for set, want := range map[string]string{"UI=": "--env local \n", "UI=1": "--env local --ui \n", "UI=0.0.0.0:8088": "--env local --ui=0.0.0.0:8088 \n"} {
		if out := run(t, "-n", "scenario", "NAME=circuit", set); !strings.HasSuffix(out, want) {
			t.Errorf("make scenario %s runs %q, want %q at the end", set, out, want)
		}
	}
}

func TestBenchMeasuresWhatWasBuilt(t *testing.T) {
	out := run(t, "-n", "bench", "ARGS=-runs 3")
	built := strings.Index(out, "go build -trimpath -o bin/squall ./cmd/squall\n")
	const want = "go run ./internal/bench -squall bin/squall -json reports/bench.json -runs 3\n"
	if built < 0 || !strings.HasSuffix(out[built:], want) {
		t.Errorf("make bench runs\n%swant it to build bin/squall, and %q at the end", out, want)
	}
}

// Scripts are run by people and by CI: they must be executable, and stop at the first error.
func TestScriptsStopAtErrors(t *testing.T) {
	for _, path := range []string{"check", "../.ci/run"} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o111 != 0o111 || !strings.Contains(string(text), "\nset -euo pipefail\n") {
			t.Errorf("%s: mode %v, or no set -euo pipefail", path, info.Mode())
		}
		if out, err := exec.Command("bash", "-n", filepath.Clean(path)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
}

// command is make in the project's folder, in an environment that sets the same variables for other ends, as some do.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command("make", append([]string{"--no-print-directory", "-C", ".."}, args...)...)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=", "NAME=host", "ENV=/etc/shrc", "UI=1", "ARGS=x")
	return cmd
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("make %v: %v\n%s", args, err, out)
	}
	return string(out)
}
