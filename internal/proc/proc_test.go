package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// roll is the FIFO on which helpers report; it is at its end when all of them are dead.
type roll struct {
	path  string
	r, w  *os.File
	lines *bufio.Reader
}

func newRoll(t *testing.T) *roll {
	t.Helper()
	path := filepath.Join(t.TempDir(), "roll")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &roll{path: path, r: r, w: w, lines: bufio.NewReader(r)}
}

// await returns when all the names have reported.
func (r *roll) await(t *testing.T, names ...string) {
	t.Helper()
	for range names {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("waiting for %v: %v", names, err)
		}
		if !slices.Contains(names, strings.TrimSpace(line)) {
			t.Fatalf("unexpected report %q, want one of %v", line, names)
		}
	}
}

// awaitDead returns when no helper is left that holds the FIFO.
func (r *roll) awaitDead(t *testing.T) {
	t.Helper()
	if err := r.w.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r.lines); err != nil || len(rest) > 0 {
		t.Fatalf("a helper is still alive: %q, %v", rest, err)
	}
}

func newGroup(t *testing.T, onExit func(Exit)) *Group {
	g := NewGroup(onExit)
	t.Cleanup(func() {
		var exit *ExitError
		if err := g.StopAll(context.Background()); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
	})
	return g
}

func start(t *testing.T, g *Group, spec Spec) *Process {
	t.Helper()
	p, err := g.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func awaitDone(t *testing.T, p *Process) Exit {
	t.Helper()
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case <-p.Done():
	case <-timer.C:
		t.Fatalf("%s did not end", p.Name())
	}
	exit, ok := p.Exit()
	if !ok {
		t.Fatalf("%s is done without an exit", p.Name())
	}
	return exit
}

// Whatever Squall started dies with it when it is killed: children, and grandchildren of a contained child.
func TestChildrenDieWithKilledParent(t *testing.T) {
	r := newRoll(t)
	cmd := exec.Command("/proc/self/exe", r.path)
	cmd.Env = []string{helperEnv + "=parent"}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.await(t, "parent", "polite", "stubborn", "forker", "stubborn")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the killed parent ended well")
	}
	r.awaitDead(t)
}

// The parent-death signal must not come when the goroutine, or the thread, that asked for the start ends.
func TestChildrenOutliveTheStartersThread(t *testing.T) {
	r, g := newRoll(t), newGroup(t, nil)
	const n = 8
	children := make([]*Process, n)
	var wg sync.WaitGroup
	for i := range children {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			children[i], _ = g.Start(t.Context(), helperSpec("polite", r.path))
		}()
	}
	wg.Wait()
	r.await(t, slices.Repeat([]string{"polite"}, n)...)
	for _, p := range children {
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if code := awaitDone(t, p).State.ExitCode(); code != 7 {
			t.Errorf("exit code %d, want 7 (ended by SIGTERM): %v", code, p.Err())
		}
	}
	r.awaitDead(t)
}

func TestStopEscalates(t *testing.T) {
	r, g := newRoll(t), newGroup(t, nil)
	spec := helperSpec("stubborn", r.path)
	spec.Grace = 20 * time.Millisecond
	p := start(t, g, spec)
	r.await(t, "stubborn")
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	exit := awaitDone(t, p)
	if ws := exit.State.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v, want SIGKILL", exit.State)
	}
	if !exit.Asked {
		t.Error("a stopped process is not marked as asked")
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end: %v, want os.ErrProcessDone", err)
	}
}

func TestStopKillsAtOnceWhenContextIsDone(t *testing.T) {
	r, g := newRoll(t), newGroup(t, nil)
	spec := helperSpec("stubborn", r.path)
	spec.Grace = time.Hour
	p := start(t, g, spec)
	r.await(t, "stubborn")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	awaitDone(t, p)
	r.awaitDead(t)
}

// What a contained child started ends with it, even in a session of its own.
func TestContainedGrandchildEndsWithChild(t *testing.T) {
	r, g := newRoll(t), newGroup(t, nil)
	spec := helperSpec("forker", r.path)
	spec.Contain = true
	p := start(t, g, spec)
	if !p.Contained() {
		t.Fatal("this machine gives a user no PID namespace, which the containment test needs")
	}
	r.await(t, "forker", "stubborn")
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.awaitDead(t)
}

func TestOnExitSaysWhoDiedAndHow(t *testing.T) {
	exits := make(chan Exit, 1)
	r, g := newRoll(t), newGroup(t, func(e Exit) { exits <- e })
	spec := helperSpec("stubborn", r.path)
	spec.Name = "envoy of httpbin-0"
	p := start(t, g, spec)
	r.await(t, "stubborn")
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit := awaitDone(t, p)
	if got := <-exits; got.PID != p.PID() || got.Asked || got.Err == nil || got.Time.IsZero() {
		t.Errorf("OnExit got %+v", got)
	}
	const want = "envoy of httpbin-0 died: signal: killed"
	if got := exit.Err.Error(); got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	var exitErr *exec.ExitError
	if err := g.StopAll(t.Context()); !errors.As(err, &exitErr) {
		t.Errorf("StopAll after an unasked death: %v, want its exit error", err)
	}
}

func TestExitErrorHasTheEndOfTheLog(t *testing.T) {
	g := newGroup(t, nil)
	spec := helperSpec("fail")
	spec.LogFile = filepath.Join(t.TempDir(), "fail.log")
	p := start(t, g, spec)
	awaitDone(t, p)
	var exit *ExitError
	if !errors.As(p.Err(), &exit) || exit.Status != "exit status 3" {
		t.Fatalf("error %v, want exit status 3", p.Err())
	}
	if msg := p.Err().Error(); !strings.HasSuffix(msg, "line 18\nline 19") || strings.Contains(msg, "line 9\n") {
		t.Errorf("error does not hold the last lines only:\n%s", msg)
	}
	if got, err := p.LogTail(2); err != nil || got != "line 18\nline 19" {
		t.Errorf("LogTail(2) = %q, %v", got, err)
	}
}

func TestStdoutIsReadToTheEnd(t *testing.T) {
	g := newGroup(t, nil)
	for _, tc := range []struct {
		name    string
		read    func(io.Reader) error
		wantErr string
	}{
		{"a reader that reads all", func(r io.Reader) error {
			b, err := io.ReadAll(r)
			if got := string(b); err == nil && got != "a\nb\n" {
				return errors.New("read " + got)
			}
			return err
		}, ""},
		{"a reader that gives up", func(io.Reader) error { return errors.New("line 1 is no JSON") }, "line 1 is no JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := helperSpec("print", "a", "b")
			spec.Stdout = tc.read
			p := start(t, g, spec)
			err := awaitDone(t, p).Err
			if (err == nil) != (tc.wantErr == "") || (err != nil && !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
		})
	}
}

func TestStopAllInReverseOrderWithoutLeaks(t *testing.T) {
	fds, goroutines := countFDs(t), runtime.NumGoroutine()
	var mu sync.Mutex
	var order []string
	r := newRoll(t)
	g := NewGroup(func(e Exit) { mu.Lock(); order = append(order, e.Name); mu.Unlock() })
	dir := t.TempDir()
	for _, name := range []string{"istiod", "envoy", "httpbin"} {
		spec := helperSpec("polite", r.path)
		spec.Name, spec.LogFile = name, filepath.Join(dir, name+".log")
		start(t, g, spec)
	}
	r.await(t, "polite", "polite", "polite")
	if err := g.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"httpbin", "envoy", "istiod"}; !slices.Equal(order, want) {
		t.Errorf("ended in the order %v, want %v", order, want)
	}
	if _, err := g.Start(t.Context(), helperSpec("print")); err == nil {
		t.Error("a stopped group starts a process")
	}
	r.awaitDead(t)
	r.r.Close()
	awaitEqual(t, "open files", fds, func() int { return countFDs(t) })
	awaitEqual(t, "goroutines", goroutines, runtime.NumGoroutine)
}

// A child gets the limit that this process may use, not the lower one that the shell set for both.
func TestChildrenShareTheFileLimit(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "ulimit -Sn 100 && ulimit -Hn 300 && exec "+os.Args[0])
	cmd.Env = []string{helperEnv + "=lowlimit"}
	out, err := cmd.CombinedOutput()
	var child, own int
	if n, scanErr := fmt.Sscan(string(out), &child, &own); err != nil || n != 2 || child != own || child <= 100 {
		t.Errorf("the limits of child and parent are %q, %v, %v; want the same, more than 100", out, err, scanErr)
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// awaitEqual polls, since goroutines end a little after what they announce.
func awaitEqual(t *testing.T, what string, want int, count func() int) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for range 2000 {
		if count() <= want {
			return
		}
		<-ticker.C
	}
	t.Errorf("%d %s, want at most %d as before", count(), what, want)
}

func TestStartErrors(t *testing.T) {
	g := newGroup(t, nil)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		spec Spec
		want error
	}{
		{"no such program", t.Context(), Spec{Name: "envoy", Path: "/nonexistent/envoy"}, os.ErrNotExist},
		{"no such program, contained", t.Context(), Spec{Name: "envoy", Path: "/nonexistent/envoy", Contain: true}, os.ErrNotExist},
		{"no such folder", t.Context(), Spec{Name: "envoy", Path: "/proc/self/exe", Dir: "/nonexistent"}, os.ErrNotExist},
		{"log in no folder", t.Context(), Spec{Name: "envoy", Path: "/proc/self/exe", LogFile: "/nonexistent/log"}, os.ErrNotExist},
		{"cancelled", cancelled, helperSpec("print"), context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := g.Start(tc.ctx, tc.spec)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), "start "+tc.spec.Name) {
				t.Errorf("Start = %v, %v; want %v that names the process", p, err, tc.want)
			}
		})
	}
}

func TestLastLines(t *testing.T) {
	for _, tc := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 3, ""}, {"\n\n", 3, ""}, {"a", 1, "a"}, {"a\n", 1, "a"}, {"a\nb\n", 1, "b"},
		{"a\nb\n", 2, "a\nb"}, {"a\nb\n", 9, "a\nb"}, {"a\n\nb\n\n", 2, "\nb"}, {"a\nb", 0, ""},
	} {
		if got := lastLines([]byte(tc.in), tc.n); got != tc.want {
			t.Errorf("lastLines(%q, %d) = %q, want %q", tc.in, tc.n, got, tc.want)
		}
	}
}
