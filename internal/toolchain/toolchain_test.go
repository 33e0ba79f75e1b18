package toolchain

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// project is a checkout with one small Go program, and Envoy pinned to 1.40.0.
func project(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, "go.mod", "module squall\n\ngo 1.26.0\n", 0o644)
	write(t, root, "tools/istio/go.mod", "module squall/tools/istio\n\ngo 1.26.0\n", 0o644)
	write(t, root, "tools/tiny/go.mod", "module example.org/tiny\n\ngo 1.26.0\n", 0o644)
	write(t, root, "tools/tiny/go.sum", "", 0o644)
	write(t, root, "tools/tiny/main.go", "package main\n\nfunc main() { println(\"tiny\") }\n", 0o644)
	write(t, root, "tools/envoy/requirements.txt", "# comment\nenvoy-server==1.40.0 \\\n    --hash=sha256:00\n", 0o644)
	return root
}

func tiny() recipe { return goRecipe("tiny", "tools/tiny", "example.org/tiny", "a second", "") }

func write(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

// updates collects what Progress is told.
type updates struct {
	mu  sync.Mutex
	all []Update
}

func (u *updates) add(x Update) { u.mu.Lock(); defer u.mu.Unlock(); u.all = append(u.all, x) }

func (u *updates) count(match func(Update) bool) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(slices.Collect(func(yield func(Update) bool) {
		for _, x := range u.all {
			if match(x) && !yield(x) {
				return
			}
		}
	}))
}

func newTestInstaller(t *testing.T, opts Options) (*installer, *updates) {
	t.Helper()
	u := &updates{}
	opts.Progress = u.add
	if opts.Root == "" {
		opts.Root = project(t)
	}
	if opts.CacheDir == "" {
		opts.CacheDir = t.TempDir()
	}
	in, err := newInstaller(opts)
	if err != nil {
		t.Fatal(err)
	}
	return in, u
}

// wantError checks that err is an *Error with these words in its cause and its advice.
func wantError(t *testing.T, err error, cause, fix string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Err.Error(), cause) || !strings.Contains(e.Fix, fix) {
		t.Errorf("got %v\nwant the cause %q and the advice %q", err, cause, fix)
	}
}

func TestBuildOnceAndAgainWhenThePinChanges(t *testing.T) {
	in, u := newTestInstaller(t, Options{})
	built := func() int { return u.count(func(x Update) bool { return x.Done && x.Err == nil }) }
	first, err := in.ensure(t.Context(), tiny())
	if err != nil || built() != 1 {
		t.Fatalf("%v, built %d times", err, built())
	}
	if first.version == "" {
		t.Error("no version")
	}
	again, err := in.ensure(t.Context(), tiny())
	if err != nil || again != first || built() != 1 {
		t.Fatalf("second call: %v %v, built %d times", again, err, built())
	}
	write(t, in.opts.Root, "tools/tiny/go.mod", "module example.org/tiny\n\ngo 1.26.0\n// changed\n", 0o644)
	changed, err := in.ensure(t.Context(), tiny())
	if err != nil || changed.path == first.path || built() != 2 {
		t.Fatalf("after a change of the pin: %v %v, built %d times", changed, err, built())
	}
	for name, spoil := range map[string]func() error{
		"truncated":      func() error { return os.Truncate(changed.path, 10) },
		"not executable": func() error { return os.Chmod(changed.path, 0o644) },
		"touched":        func() error { return os.Chtimes(changed.path, time.Time{}, time.Unix(1, 0)) },
		"removed":        func() error { return os.Remove(changed.path) },
		"without stamp":  func() error { return os.Remove(filepath.Join(filepath.Dir(changed.path), "stamp.json")) },
	} {
		before := built()
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.ensure(t.Context(), tiny()); err != nil || built() != before+1 {
			t.Errorf("a program that was %s: %v, built %d times, want it once again", name, err, built()-before)
		}
	}
}

func TestTwoRunsBuildOnce(t *testing.T) {
	root, cache := project(t), t.TempDir()
	var all []*updates
	var wg sync.WaitGroup
	for range 4 {
		in, u := newTestInstaller(t, Options{Root: root, CacheDir: cache})
		all = append(all, u)
		wg.Go(func() {
			if _, err := in.ensure(t.Context(), tiny()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	builds := 0
	for _, u := range all {
		builds += u.count(func(x Update) bool {
			return x.Done && strings.HasPrefix(x.Activity, "building tiny (first time only, a second)")
		})
	}
	if builds != 1 {
		t.Errorf("%d builds, want 1", builds)
	}
}

func TestWaitingForAnotherRunIsSaidAndCancelled(t *testing.T) {
	in, _ := newTestInstaller(t, Options{})
	e, err := in.entry(tiny())
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := in.lock(t.Context(), tiny(), e)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	in.opts.Progress = func(u Update) {
		if strings.Contains(u.Activity, "waiting for another run") {
			cancel(stop)
		}
	}
	if _, err := in.ensure(ctx, tiny()); !errors.Is(err, stop) {
		t.Errorf("got %v, want the cause of the cancellation", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestCancelledBuildLeavesNothing(t *testing.T) {
	in, _ := newTestInstaller(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	in.opts.Progress = func(Update) { cancel() }
	if _, err := in.ensure(ctx, tiny()); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	entries, err := filepath.Glob(filepath.Join(in.cache, "bin", "*"))
	if err != nil || len(entries) != 1 || !strings.HasSuffix(entries[0], ".lock") {
		t.Errorf("left in the cache: %v, %v; want the lock alone", entries, err)
	}
}

func TestGoBuildErrors(t *testing.T) {
	t.Run("no go", func(t *testing.T) {
		in, _ := newTestInstaller(t, Options{})
		t.Setenv("PATH", t.TempDir())
		_, err := in.ensure(t.Context(), tiny())
		wantError(t, err, "go, which builds it, is not in PATH", "install Go 1.26")
	})
	t.Run("too old", func(t *testing.T) {
		in, _ := newTestInstaller(t, Options{})
		write(t, in.opts.Root, "tools/tiny/go.mod", "module example.org/tiny\n\ngo 1.999\n", 0o644)
		t.Setenv("GOTOOLCHAIN", "local")
		_, err := in.ensure(t.Context(), tiny())
		wantError(t, err, "requires go >= 1.999", "install Go 1.26")
	})
	t.Run("does not compile", func(t *testing.T) {
		in, _ := newTestInstaller(t, Options{})
		write(t, in.opts.Root, "tools/tiny/main.go", "package main\n\nfunc main() { undefined() }\n", 0o644)
		_, err := in.ensure(t.Context(), tiny())
		wantError(t, err, "undefined: undefined", "see the error above")
	})
	t.Run("no pin", func(t *testing.T) {
		in, _ := newTestInstaller(t, Options{Root: t.TempDir()})
		_, err := in.ensure(t.Context(), tiny())
		wantError(t, err, "tools/tiny/go.mod", "complete checkout")
	})
	t.Run("no cache", func(t *testing.T) {
		in, _ := newTestInstaller(t, Options{CacheDir: write(t, t.TempDir(), "file", "", 0o644)})
		_, err := in.ensure(t.Context(), tiny())
		wantError(t, err, "not a directory", "see the error above")
	})
}

func TestEveryFailureIsReported(t *testing.T) {
	in, _ := newTestInstaller(t, Options{})
	t.Setenv("PATH", t.TempDir())
	_, err := in.all(t.Context(), []recipe{recipes()[0], tiny()})
	for _, want := range []string{"envoy is not available", "tiny is not available"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestGivenIstiodMustBeIstiod(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Ensure(t.Context(), Options{Root: project(t), CacheDir: t.TempDir(), Need: []Name{Istiod}, Istiod: self})
	wantError(t, err, "not istio.io/istio/pilot/cmd/pilot-discovery", "give another program")
}

func TestEnsureRefusesUnknownNames(t *testing.T) {
	if _, err := Ensure(t.Context(), Options{Root: project(t), CacheDir: t.TempDir(), Need: []Name{"nginx"}}); err == nil {
		t.Error("an unknown program is accepted")
	}
}

func TestFindRoot(t *testing.T) {
	root := project(t)
	deep := filepath.Join(root, "internal", "deep")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, root, "internal/go.mod", "module squall/internal\n", 0o644) // a nested module is not it
	for _, start := range []string{root, deep} {
		if got, err := FindRoot(start); err != nil || got != root {
			t.Errorf("FindRoot(%s) = %s, %v; want %s", start, got, err, root)
		}
	}
	if got, err := FindRoot(t.TempDir()); err == nil {
		t.Errorf("found %s above an empty folder", got)
	}
}

// The pins that the project ships are whole: each recipe has its files, and Envoy its version and one hash a machine.
func TestShippedPins(t *testing.T) {
	root, err := FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	in, _ := newTestInstaller(t, Options{Root: root})
	for _, r := range recipes() {
		if _, err := in.entry(r); err != nil {
			t.Error(err)
		}
	}
	if version, err := in.pinnedEnvoy(); err != nil || version != "1.40.0" {
		t.Errorf("Envoy is pinned to %q, %v", version, err)
	}
	library, err := os.ReadFile(filepath.Join(root, "tools/kubectl/go.mod"))
	release := strings.Replace(kubectlRecipe().flags[strings.Index(kubectlRecipe().flags, "=v1.")+1:], "v1.", "k8s.io/kubectl v0.", 1)
	if err != nil || !strings.Contains(string(library), release+"\n") {
		t.Errorf("kubectl is told that it is of %s, and go.mod pins another: %v", release, err)
	}
	text, err := os.ReadFile(filepath.Join(root, "tools/envoy/requirements.txt"))
	if err != nil || strings.Count(string(text), "--hash=sha256:") != 2 {
		t.Errorf("want two hashes in\n%s%v", text, err)
	}
}

// BenchmarkWarm is a program that is there, with pins as long as istiod's.
func BenchmarkWarm(b *testing.B) {
	root := b.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "tools/x"), 0o755); err != nil {
		b.Fatal(err)
	}
	for name, size := range map[string]int{"go.mod": 10 << 10, "go.sum": 48 << 10} {
		if err := os.WriteFile(filepath.Join(root, "tools/x", name), bytes.Repeat([]byte("x"), size), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	in := &installer{opts: Options{Root: root, Progress: func(u Update) { b.Error(u) }}, cache: b.TempDir()}
	r := goRecipe("x", "tools/x", "x", "", "")
	e, err := in.entry(r)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(e.dir), 0o755); err != nil {
		b.Fatal(err)
	}
	program := func(dir string) (string, error) { return "v1", os.WriteFile(filepath.Join(dir, "x"), nil, 0o755) }
	if _, err := e.fill(program); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := in.ensure(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
