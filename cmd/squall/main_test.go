package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"squall/internal/proc"
	"squall/internal/record"
)

var update = flag.Bool("update", false, "write the golden files")

// roleEnv makes this test's program something else.
const roleEnv = "SQUALL_TEST_ROLE"

// TestMain is also the program that tests start: squall itself, squall where no file may become large, or a run that changes
// objects and is killed.
func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "full":
		signal.Ignore(unix.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: fullAt, Max: fullAt}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
	case "changes":
		if err := makeChanges(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
	}
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// atRoot makes the project's folder the working folder, where squall is used.
func atRoot(t *testing.T) {
	t.Helper()
	t.Chdir(filepath.Join("..", ".."))
	for _, name := range []string{"GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "FORCE_COLOR"} {
		t.Setenv(name, "")
	}
}

// squall runs a command line in this process.
func squall(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = execute(args, &out, &err)
	return code, out.String(), err.String()
}

// want checks an exit code, and texts that both streams together have to hold.
func want(t *testing.T, code int, texts []string, gotCode int, stdout, stderr string) {
	t.Helper()
	if gotCode != code {
		t.Errorf("exit code %d, want %d", gotCode, code)
	}
	all := stdout + stderr
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("no %q in the output", text)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", stdout, stderr)
	}
}

// golden compares with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./cmd/squall -update writes it)", err)
	}
	if string(b) != got {
		t.Errorf("%s is not what the program says (go test ./cmd/squall -update writes it); got:\n%s", path, got)
	}
}

// savedRun copies the saved run of the circuit scenario, which passes, below a folder of runs, as r1.
func savedRun(t *testing.T, reports string) string {
	t.Helper()
	const id = "r1"
	dir := filepath.Join(reports, id)
	if err := os.CopyFS(dir, os.DirFS("internal/check/testdata/circuit")); err != nil {
		t.Fatal(err)
	}
	editManifest(t, dir, func(m *record.Manifest) { m.RunID = id })
	return dir
}

func editManifest(t *testing.T, dir string, edit func(*record.Manifest)) {
	t.Helper()
	rec, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := rec.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	edit(&m)
	if err := rec.WriteJSON(record.ManifestFile, m); err != nil {
		t.Fatal(err)
	}
}

func replaceIn(t *testing.T, path, old, by string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s has no %q", path, old)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), old, by)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	return path
}

func fromJSON[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return v
}

// gone reports whether the process has ended; one that was not reaped yet has.
func gone(pid int) bool {
	_, err := proc.Identify(pid)
	return errors.Is(err, os.ErrProcessDone)
}

// fullAt is the size that no file may exceed in the role "full".
const fullAt = 300 << 10
