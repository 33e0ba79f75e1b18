package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"squall/internal/check"
	"squall/internal/record"
	"squall/internal/run"
)

func TestWorst(t *testing.T) {
	tests := []struct {
		codes []int
		want  int
	}{
		{nil, 0},
		{[]int{0, 0}, 0},
		{[]int{0, 4}, 4},
		{[]int{4, 1}, 1},
		{[]int{1, 4, 0}, 1},
		{[]int{1, 5}, 5},
		{[]int{5, 3, 1}, 3},
		{[]int{3, 130}, 130},
		{[]int{143, 3}, 143},
		{[]int{143, 130}, 130},
		{[]int{6, 130}, 6},
		{[]int{0, 1, 3, 4, 5, 6, 129, 130, 143}, 6},
		{[]int{129, 3}, 129},
		{[]int{0, 77}, 77}, // what is not known is no pass
		{[]int{6, -1}, -1},
	}
	for _, tt := range tests {
		if got := worst(tt.codes...); got != tt.want {
			t.Errorf("worst of %v: %d, want %d", tt.codes, got, tt.want)
		}
	}
}

// What a signal ended shows nothing, whichever it was: each that a run is judged by is one of the command line's.
func TestCodesOfSignals(t *testing.T) {
	for _, name := range []string{"SIGHUP", "SIGINT", "SIGTERM"} {
		code, ok := check.SignalCode(name)
		if !ok || !bySignal(code) || worst(code) != code || worst(code, exitEnvironment) != code {
			t.Errorf("%s: %d", name, code)
		}
	}
	for _, code := range []int{exitPass, exitFail, exitUsage, exitEnvironment, exitInconclusive, exitHalted, exitRollback} {
		if bySignal(code) {
			t.Errorf("%d", code)
		}
	}
}

// TestErrorCodes gives the exit code of what a command returns.
func TestErrorCodes(t *testing.T) {
	interrupted := func(name string) context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(&run.SignalError{Name: name})
		return ctx
	}
	plain := errors.New("x")
	tests := []struct {
		name    string
		ctx     context.Context
		started bool
		err     error
		want    int
	}{
		{"cobra's own", t.Context(), false, plain, 2},
		{"not foreseen", t.Context(), true, plain, 3},
		{"of the author", t.Context(), true, invalid(plain), 2},
		{"of the machine", t.Context(), true, fmt.Errorf("wrapped: %w", environment(plain)), 3},
		{"of a run", t.Context(), true, ended(5), 5},
		{"a build that SIGINT ended", interrupted("SIGINT"), true, environment(plain), 130},
		{"a build that SIGTERM ended", interrupted("SIGTERM"), true, environment(plain), 143},
		{"a build that a closed terminal ended", interrupted("SIGHUP"), true, environment(plain), 129},
		{"a failed rollback after a signal", interrupted("SIGINT"), true, ended(6), 6},
		{"a mistake, then a signal", interrupted("SIGINT"), true, invalid(plain), 2},
	}
	for _, tt := range tests {
		if got := (&app{started: tt.started}).code(tt.ctx, tt.err); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if err := ended(0); err != nil {
		t.Errorf("a pass is the error %v", err)
	}
}

// TestJudgedExitCodes judges a saved run as it is and with one thing changed: each verdict has its exit code and its last line.
func TestJudgedExitCodes(t *testing.T) {
	atRoot(t)
	tests := []struct {
		name string
		edit func(t *testing.T, dir string)
		code int
		last string
	}{
		{"pass", func(*testing.T, string) {}, 0, "PASS circuit: "},
		{"fail", func(t *testing.T, dir string) { replaceIn(t, dir+"/spec.json", "[0.1, 0.95]", "[0.7, 0.95]") }, 1, "FAIL circuit: "},
		{"error", func(t *testing.T, dir string) {
			editManifest(t, dir, func(m *record.Manifest) { m.Ended, m.Error = "error", "istiod died" })
		}, 3, "ERROR circuit: istiod died"},
		{"killed", func(t *testing.T, dir string) {
			editManifest(t, dir, func(m *record.Manifest) { m.End, m.Ended, m.Rollback = nil, "", record.Rollback{} })
		}, 3, "ERROR circuit: the run was killed"},
		{"inconclusive", func(t *testing.T, dir string) { replaceIn(t, dir+"/spec.json", "[0.1, 0.95]", "[0.35, 0.95]") }, 4, "INCONCLUSIVE circuit: "},
		{"halted", func(t *testing.T, dir string) {
			editManifest(t, dir, func(m *record.Manifest) { m.Ended, m.Error = "halted", "too many 500" })
		}, 5, "HALTED circuit: "},
		{"rollback", func(t *testing.T, dir string) {
			editManifest(t, dir, func(m *record.Manifest) { m.Rollback.Objects = "DestinationRule httpbin is still there" })
		}, 6, "FAIL circuit: rollback: DestinationRule httpbin is still there"},
		{"SIGINT", func(t *testing.T, dir string) {
			editManifest(t, dir, func(m *record.Manifest) { m.Ended, m.Signal = "interrupted", "SIGINT" })
		}, 130, "INCONCLUSIVE circuit: interrupted by SIGINT"},
		{"SIGTERM", func(t *testing.T, dir string) {
			editManifest(t, dir, func(m *record.Manifest) { m.Ended, m.Signal = "interrupted", "SIGTERM" })
		}, 143, "INCONCLUSIVE circuit: interrupted by SIGTERM"},
		{"broken record", func(t *testing.T, dir string) { write(t, dir+"/spec.json", "{") }, 3, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reports := t.TempDir()
			tt.edit(t, savedRun(t, reports))
			code, out, errs := squall(t, "judge", "r1", "--reports", reports)
			want(t, tt.code, nil, code, out, errs)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, tt.last) {
				t.Errorf("the last line is %q, want %q…", last, tt.last)
			}
			byPath, _, _ := squall(t, "judge", filepath.Join(reports, "r1"), "-o", "json")
			if byPath != tt.code {
				t.Errorf("by its folder, as JSON: exit code %d, want %d", byPath, tt.code)
			}
		})
	}
}

// TestUsage gives command lines that are wrong: each is refused with the reason, and nothing is started.
func TestUsage(t *testing.T) {
	atRoot(t)
	reports := filepath.Join(t.TempDir(), "reports")
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	tests := []struct {
		args string
		text string
	}{
		{"rnu circuit", "Did you mean this?"},
		{"run", "name scenarios, files or folders, or choose with --all or --label"},
		{"run circuit --all", "name scenarios, files or folders, or choose with --all or --label"},
		{"run circut", `did you mean "circuit"?`},
		{"run circut", "there is: abort, "},
		{"run nothing-like-it", "there is: abort, "},
		{"run no/such.yaml", "no such file"},
		{"run internal", "no scenario in internal"},
		{"run --label suite=nope", "none of the"},
		{"run --label suite", "write NAME=VALUE"},
		{"run circuit --env moon", "there is local"},
		{"run circuit --output xml", "there is text and json"},
		{"run circuit --timeout -1s", "--timeout -1s is negative"},
		{"run circuit --timeout 3 parsecs", "invalid argument"},
		{"run circuit --set nope=1", "nope"},
		{"run circuit --image =", "write NAME=VALUE"},
		{"run circuit --nope", "unknown flag: --nope"},
		{"plan", "accepts 1 arg(s), received 0"},
		{"plan circut", "did you mean"},
		{"describe circut", "did you mean"},
		{"schema nope", "invalid argument"},
		{"judge nope", "is not a run's folder"},
		{"judge .", "is not a run's folder"},
		{"report nope", "is not a run's folder"},
		{"rollback nope", "is not a run's folder"},
		{"list --scenarios no/such/folder", "no such file"},
		{"up nope", "squall: no fixture is called nope"},
		{"up httpbin --mtls MAYBE", "there is PERMISSIVE and STRICT and DISABLE"},
		{"up httpbin --name UPPER", "cannot name a mesh"},
		{"up httpbin --name ../x", "cannot name a mesh"},
		{"down nope", "no mesh nope: none is up"},
		{"down ../x", "cannot name a mesh"},
		{"down a --all", "name meshes, or give --all"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			code, out, errs := squall(t, append(strings.Fields(tt.args), "--reports", reports)...)
			want(t, 2, []string{tt.text}, code, out, errs)
			if out != "" {
				t.Errorf("stdout is for results, and has %q", out)
			}
			if _, err := os.Stat(reports); err == nil {
				t.Error("a folder for runs was made")
			}
		})
	}
}

// TestStdoutFull writes results to a full disk.
func TestStdoutFull(t *testing.T) {
	atRoot(t)
	reports := t.TempDir()
	savedRun(t, reports)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range []string{"list", "version", "plan circuit", "describe circuit", "validate circuit -o json", "judge r1", "schema", "rollback", "doctor"} {
		var errs strings.Builder
		code := execute(append(strings.Fields(args), "--reports", reports), full, &errs)
		want(t, 3, []string{"no space left on device"}, code, args, errs.String())
	}
}

// TestUndecided keeps a run whose record is not whole from passing.
func TestUndecided(t *testing.T) {
	broken := finished{name: "x", code: exitEnvironment, err: os.ErrClosed}
	if name, text := broken.verdict(); name != "ERROR" || text != os.ErrClosed.Error() {
		t.Errorf("%s: %s", name, text)
	}
	all := []finished{{name: "a"}, broken, {name: "b", code: exitFail}, {name: "c", code: exitEnvironment, notRun: "later"}}
	if got := worstOf(all); got.name != "x" {
		t.Errorf("the worst of the runs is %s, want x", got.name)
	}
}

// TestReportAgain writes the report of a saved run anew; its exit code is about the files.
func TestReportAgain(t *testing.T) {
	atRoot(t)
	reports := t.TempDir()
	dir := savedRun(t, reports)
	editManifest(t, dir, func(m *record.Manifest) { m.Start = m.Start.Add(-time.Hour); m.Ended, m.Error = "error", "istiod died" })
	code, out, errs := squall(t, "report", "r1", "--reports", reports)
	want(t, 0, []string{filepath.Join(dir, "report.html")}, code, out, errs)
	for _, name := range []string{"report.html", "junit.xml", "result.json"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(b), "istiod died") {
			t.Errorf("%s does not say what happened: %v", name, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "junit.xml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "junit.xml"), 0o755); err != nil {
		t.Fatal(err)
	}
	code, out, errs = squall(t, "report", "r1", "--reports", reports)
	want(t, 3, []string{"junit.xml was not written"}, code, out, errs)
}
