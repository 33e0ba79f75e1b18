package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/load"
	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/proc"
	"squall/internal/record"
	"squall/internal/run"
	"squall/internal/scenario"
	"squall/internal/toolchain"
	"squall/internal/traffic/collect"
)

// modeEnv makes this test program an application of the mesh: the image test/app.
const modeEnv = "SQUALL_RUN_TEST"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeEnv); mode != "" {
		fmt.Fprintln(os.Stderr, serve(mode))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serve resets each connection, or never listens.
func serve(mode string) error {
	if mode == "idle" {
		fmt.Fprintln(os.Stderr, "still loading the model")
		select {}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")))
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_, _ = c.Read(make([]byte, 1)) // the rest stays unread, so that the close is a reset
		_ = c.Close()
	}
}

// hooks act at points of a run.
type hooks struct {
	phase func(name string)
	load  func(phase string, s load.Snapshot) // once a phase, when calls have been answered
	say   func(text string)

	mu   sync.Mutex
	seen map[string]bool
}

func (h *hooks) Phase(name string) {
	if h.phase != nil {
		h.phase(name)
	}
}

func (h *hooks) Say(format string, args ...any) {
	if h.say != nil {
		h.say(fmt.Sprintf(format, args...))
	}
}

func (h *hooks) Load(phase string, _ time.Duration, _ int64, s load.Snapshot) {
	h.mu.Lock()
	first := s.Count > 0 && !h.seen[phase]
	if first {
		if h.seen == nil {
			h.seen = map[string]bool{}
		}
		h.seen[phase] = true
	}
	h.mu.Unlock()
	if first && h.load != nil {
		h.load(phase, s)
	}
}

// whole is one run of a scenario on a real mesh.
type whole struct {
	t        *testing.T
	ctx      context.Context
	end      context.CancelCauseFunc
	config   engine.Config
	compiled *engine.Compiled
	hooks    hooks

	records *collect.Options // of runOn

	theirs mesh.Ref // an object that somebody else changes, so that it is left as it is

	out *engine.Outcome
	man record.Manifest
}

// runOn runs and judges the scenario on what env makes of a local mesh.
func (w *whole) runOn(scenario string, env func(*local.Mesh) mesh.Env) {
	w.t.Helper()
	rec, err := record.Create(w.config.Reports, w.compiled.RunID)
	if err != nil {
		w.t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "squall-")
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := local.New(local.Options{Tools: w.config.Tools, Dir: dir, Log: rec.LogPath, Images: w.config.Images})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := run.Run(w.ctx, run.Options{
		Plan: w.compiled.Plan, Env: env(m), Record: rec, Progress: &w.hooks, MeshDir: dir, Records: w.records,
		Manifest: record.Manifest{RunID: w.compiled.RunID, Scenario: scenario, Env: "local", Versions: engine.Versions()},
	}); err != nil {
		w.t.Fatal(err)
	}
	if w.out, err = engine.Judge(rec); err != nil {
		w.t.Fatal(err)
	}
	if w.man, err = rec.Manifest(); err != nil {
		w.t.Fatal(err)
	}
}

// prepare compiles a scenario of testdata.
func prepare(t *testing.T, file string) *whole {
	t.Helper()
	return prepareWith(t, file, scenario.Options{})
}

func prepareWith(t *testing.T, file string, options scenario.Options) *whole {
	t.Helper()
	root, err := toolchain.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	tools, err := toolchain.Ensure(t.Context(), toolchain.Options{Root: root, Progress: toolchain.Lines(os.Stderr)})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &whole{t: t, config: engine.Config{
		Fixtures: filepath.Join(root, "fixtures"), Reports: t.TempDir(), Env: "local", Tools: tools,
		Images: map[string]string{"test/app": self},
	}}
	w.ctx, w.end = context.WithCancelCause(t.Context())
	t.Cleanup(func() { w.end(nil) })
	s, err := scenario.Load(filepath.Join("testdata", file), options)
	if err != nil {
		t.Fatal(err)
	}
	if w.compiled, err = w.config.Compile(s); err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs it, and verifies what holds for every run: all is taken back, nothing runs on, and its judgement is saved.
func (w *whole) run() {
	w.t.Helper()
	w.runDisturbed()
	if len(w.man.Rollback.Errors) > 0 || w.man.Rollback.Objects != "ok" {
		w.t.Errorf("the rollback: %+v", w.man.Rollback)
	}
}

// runDisturbed is run for a rollback that others interfere with.
func (w *whole) runDisturbed() {
	w.t.Helper()
	out, err := w.config.Run(w.ctx, w.compiled, &w.hooks)
	if err != nil {
		w.t.Fatal(err)
	}
	w.out = out
	if w.man, err = out.Record.Manifest(); err != nil {
		w.t.Fatal(err)
	}
	if w.man.End == nil || !w.man.Rollback.Tried {
		w.t.Errorf("the end is %v, the rollback %+v", w.man.End, w.man.Rollback)
	}
	journal, err := run.OpenJournal(out.Record.Path(record.JournalFile))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range journal.Open() {
		if e.Ref != w.theirs {
			w.t.Errorf("not undone: %+v", e)
		}
	}
	if err := journal.Close(); err != nil {
		w.t.Error(err)
	}
	pids, err := proc.Within(w.owner().MeshDir)
	if err != nil || len(pids) > 0 {
		w.t.Errorf("still running: %v, %v", pids, err)
	}
	w.reports()
}

// reports verifies that the reports say what was judged, and that judging again says the same to the byte.
func (w *whole) reports() {
	w.t.Helper()
	saved, err := os.ReadFile(w.out.Record.Path(record.ResultFile))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range []string{record.JUnitFile, record.ReportFile} {
		text, err := os.ReadFile(w.out.Record.Path(name))
		if err != nil || !bytes.Contains(text, []byte(w.compiled.RunID)) {
			w.t.Errorf("%s does not name the run: %v", name, err)
		}
	}
	rec, err := record.Open(w.out.Record.Dir())
	if err != nil {
		w.t.Fatal(err)
	}
	again, err := engine.Judge(rec)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := rec.WriteJSON("again.json", again.Result); err != nil {
		w.t.Fatal(err)
	}
	judged, err := os.ReadFile(rec.Path("again.json"))
	if err != nil || !bytes.Equal(judged, saved) {
		w.t.Errorf("judged again, %v:\n%s\nsaved:\n%s", err, judged, saved)
	}
}

// expect compares the verdict and the exit code, and looks for texts in the reason.
func (w *whole) expect(v check.Verdict, code int, reason ...string) {
	w.t.Helper()
	r := w.out.Result
	if r.Verdict != v || r.ExitCode != code {
		w.t.Errorf("%s with exit code %d, want %s and %d: %s", r.Verdict, r.ExitCode, v, code, r.Reason)
	}
	for _, text := range reason {
		if !strings.Contains(r.Reason, text) {
			w.t.Errorf("the reason does not say %q: %s", text, r.Reason)
		}
	}
}

func (w *whole) load(phase string) record.Load {
	w.t.Helper()
	l, err := w.out.Record.Load(phase)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// owner says where the mesh's processes work.
func (w *whole) owner() run.Owner {
	w.t.Helper()
	rec, err := record.Open(w.path())
	if err != nil {
		w.t.Fatal(err)
	}
	var o run.Owner
	if err := rec.ReadJSON(run.OwnerFile, &o); err != nil || o.MeshDir == "" {
		w.t.Fatalf("owner %+v: %v", o, err)
	}
	return o
}

// kill kills the one process of the mesh whose command line holds all of the words.
func (w *whole) kill(words ...string) {
	pids, err := proc.Within(w.owner().MeshDir)
	var found []int
	for _, pid := range pids {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may have ended
		cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		text := cwd + " " + string(line)
		if !containsAll(text, words) {
			continue
		}
		found = append(found, pid)
	}
	if err != nil || len(found) != 1 {
		w.t.Errorf("processes of %v: %v, %v", words, found, err)
		return
	}
	if err := syscall.Kill(found[0], syscall.SIGKILL); err != nil {
		w.t.Error(err)
	}
}

func containsAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// objects is a client of the run's own API.
func (w *whole) objects() *mesh.Objects {
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(w.owner().MeshDir, "kubeconfig"))
	var o *mesh.Objects
	if err == nil {
		o, err = mesh.NewObjects(cfg)
	}
	if err != nil {
		w.t.Error(err)
		panic(errors.New("no client of the mesh"))
	}
	return o
}

// path is a file of the run.
func (w *whole) path(elem ...string) string {
	return filepath.Join(append([]string{w.config.Reports, w.compiled.RunID}, elem...)...)
}
