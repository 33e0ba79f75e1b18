package elasticsearch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"squall/internal/proc"
	"squall/internal/toolchain"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A real node starts, is healthy, ends by Stop, and has its process gone.
func TestServer(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a real Elasticsearch takes half a minute to start")
	}
	root, err := toolchain.FindRoot(".")
	must(t, err)
	home, err := Fetch(t.Context(), root, toolchain.Lines(os.Stderr))
	must(t, err)
	dir, err := os.MkdirTemp("", "squall-es-") //nolint:usetesting // nobody has to pass through
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	group := proc.NewGroup(nil)
	t.Cleanup(func() {
		must(t, errors.Join(group.StopAll(context.WithoutCancel(t.Context())), os.RemoveAll(dir)))
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, err := Start(ctx, group, Options{Home: home, Dir: dir})
	must(t, err)
	if got, err := filepath.Glob(filepath.Join(dir, "tmp", "final-flags*")); err != nil || len(got) == 0 {
		t.Errorf("the launcher's files are not below the node's folder: %v, %v", got, err)
	}
	must(t, s.Healthy(ctx))
	if status, err := os.ReadFile(filepath.Join("/proc", "self", "status")); err == nil && strings.Contains(string(status), "Uid:\t0") {
		info, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.PID), "status"))
		must(t, err)
		if !strings.Contains(string(info), "Uid:\t65534") {
			t.Errorf("it runs as root:\n%s", info)
		}
	}
	must(t, s.Stop(ctx))
	if err := s.Healthy(ctx); err == nil {
		t.Error("it answers after its end")
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := readPin(dir); err == nil || !strings.Contains(err.Error(), "complete checkout") {
		t.Error(err)
	}
	must(t, os.MkdirAll(filepath.Join(dir, "tools/elasticsearch"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, pinFile), []byte("a:b\nsha256:00\n"), 0o644))
	if _, err := readPin(dir); err == nil || !strings.Contains(err.Error(), "restore the file") {
		t.Error(err)
	}
	file := filepath.Join(dir, "x.zip")
	must(t, os.WriteFile(file, []byte("something else"), 0o644))
	if err := unpack(file, pin{"a:b:1:zip", strings.Repeat("0", 64)}, filepath.Join(dir, "home")); err == nil || !strings.Contains(err.Error(), "not what") {
		t.Error(err)
	}
	for release, want := range map[string]int{`JAVA_VERSION="25.0.1"`: 25, `JAVA_VERSION="1.8.0"`: 1, "": 0} {
		must(t, os.WriteFile(filepath.Join(dir, "release"), []byte(release), 0o644))
		if got := javaVersion(dir); got != want {
			t.Errorf("%s is Java %d", release, got)
		}
	}
}
