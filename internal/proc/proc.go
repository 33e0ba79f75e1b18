// Package proc starts the real programs of a mesh as child processes, and sees to it that none of them outlives Squall.
//
// What is guaranteed, on Linux:
//
//   - A child dies with Squall however Squall ends, SIGKILL included: every child has the parent-death signal SIGKILL. The
//     kernel sends it when the thread that made the child ends, not the process (go.dev/issue/27505), so a Group starts
//     its children from one thread that it keeps until all of them are gone.
//   - A child leads a process group of its own, so Ctrl-C in the shell reaches Squall only, which then stops its
//     children in order. When a child ends, whatever is left of its process group is killed.
//   - An ended child is reaped at once.
//   - A child may open as many files as this process may.
//
// A grandchild is safe in an orderly stop only, since the parent-death signal is not inherited. A program that may fork is
// started with Spec.Contain, in a PID namespace of its own, where the kernel kills everything as soon as the first process
// ends. That takes unprivileged user namespaces, or root; where the machine forbids them the child starts without, and
// Process.Contained says so.
//
// Elsewhere than on Linux there is neither parent-death signal nor containment: only an orderly stop takes the children down.
package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	defaultGrace = 5 * time.Second // between SIGTERM and SIGKILL
	killWait     = 5 * time.Second // after SIGKILL, for the kernel to end the process
	drainWait    = 2 * time.Second // after the end of a process, for its reader to see the end of the pipe
	tailLines    = 10              // of the log, in an error
)

// Spec is a program to start.
type Spec struct {
	Name string   // what errors call it, such as "envoy of httpbin-0"
	Path string   // the program; a name without a slash is looked up in PATH
	Args []string // without the program's own name
	Env  []string // the whole environment, KEY=VALUE; nil is Squall's own
	Dir  string   // where it runs; empty is Squall's own working directory

	// LogFile gets the child's standard error, and its standard output when Stdout is nil. It is appended to, and made with
	// mode 0600 when it is not there; its folder must exist. Empty discards the output.
	LogFile string

	// Stdout reads the child's standard output until the end of the file, in a goroutine of its own. What it leaves unread
	// is discarded, so that the child never blocks on a reader that gave up. Its error becomes part of the exit error.
	Stdout func(io.Reader) error

	// Grace is the time between SIGTERM and SIGKILL in Stop; 0 is 5 s.
	Grace time.Duration

	// Contain puts the program and all that it starts in a PID namespace of its own where the machine allows it: use it for
	// a program that may fork. Inside, the program is process 1 of its namespace, for which the kernel drops a SIGTERM that
	// it has no handler for: Stop then sends SIGKILL at once, which ends it as SIGTERM would elsewhere.
	Contain bool

	// Binds are files that the program sees in place of others of the machine. They imply Contain, and Start fails
	// where the machine does not allow it: ask CanBind first. The shell, mount and, for another user than root, unshare
	// come first in the program's process; what they have to say is in LogFile.
	Binds []Bind
}

// Exit says how a process ended.
type Exit struct {
	Name  string
	PID   int
	Time  time.Time // when it was reaped
	Asked bool      // Stop or Kill came first
	State *os.ProcessState
	Err   error // nil for exit status 0 with a reader that succeeded; else an *ExitError
}

// ExitError is how a process ended when it did not end well.
type ExitError struct {
	Name    string
	Status  string // "exit status 1", "signal: killed"
	LogFile string
	Tail    string // the last lines of the log
	Err     error  // the *exec.ExitError, joined with the error of Spec.Stdout
}

// Error names the process, its status, and the end of its log.
func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s died: %s", e.Name, e.Status)
	switch {
	case e.LogFile == "":
		return s
	case e.Tail == "":
		return s + "; its log " + e.LogFile + " is empty"
	}
	return s + "; the end of " + e.LogFile + ":\n" + e.Tail
}

// Unwrap returns the *exec.ExitError, joined with the error of Spec.Stdout.
func (e *ExitError) Unwrap() error { return e.Err }

// Process is a child that was started. Its methods may be called from any goroutine, also after its end.
type Process struct {
	spec      Spec
	cmd       *exec.Cmd
	contained bool
	group     *Group
	done      chan struct{}

	mu    sync.Mutex
	asked bool
	gone  bool // about to be reaped: its process id may be another's soon
	exit  Exit // valid after done is closed
}

// Name returns Spec.Name.
func (p *Process) Name() string { return p.spec.Name }

// PID returns the process id as Squall sees it.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Contained reports whether the process has a PID namespace of its own, so that what it forks cannot outlive it.
func (p *Process) Contained() bool { return p.contained }

// Done is closed when the process has ended, was reaped, its output was read to the end, and the group's OnExit returned.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns nil while the process runs and after it ended with status 0; else an *ExitError, also for a process that
// ended because of Stop or Kill.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.exit.Err
	default:
		return nil
	}
}

// Exit returns how the process ended; ok is false while it has not.
func (p *Process) Exit() (exit Exit, ok bool) {
	select {
	case <-p.done:
		return p.exit, true
	default:
		return Exit{}, false
	}
}

// LogTail returns the last n lines of the log file, at most 64 KiB of them. It is empty without a log file.
func (p *Process) LogTail(n int) (string, error) {
	if p.spec.LogFile == "" {
		return "", nil
	}
	return tail(p.spec.LogFile, n)
}

// Signal sends sig to the process alone, not to its group. A process that has ended gives os.ErrProcessDone.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %v to %s (process %d): %w", sig, p.spec.Name, p.PID(), err)
	}
	return nil
}

// Kill ends the process and its group with SIGKILL and waits for the end. A process that has already ended is no error.
func (p *Process) Kill(ctx context.Context) error {
	if err := p.ask(syscall.SIGKILL); err != nil {
		return err
	}
	return p.awaitKilled(ctx)
}

// Stop sends SIGTERM to the process and its group, SIGKILL when Grace is over or ctx is done, and waits for the end. How
// the process then ended is in Exit, and is no error of Stop. A process that failed before it was asked to end gives its
// exit error. An error that is not an *ExitError means that the process may still be there.
func (p *Process) Stop(ctx context.Context) error {
	if exit, ok := p.Exit(); ok {
		p.group.forget(p)
		if exit.Asked {
			return nil
		}
		return exit.Err
	}
	if err := p.ask(syscall.SIGTERM); err != nil {
		return err
	}
	grace := p.spec.Grace
	if grace <= 0 {
		grace = defaultGrace
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.unasked()
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := p.ask(syscall.SIGKILL); err != nil {
		return err
	}
	return errors.Join(p.awaitKilled(context.WithoutCancel(ctx)), p.unasked())
}

// ask marks the end as wanted and signals the whole process group, unless the process is gone.
func (p *Process) ask(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil
	}
	p.asked = true
	if sig == syscall.SIGTERM && p.contained && !heeds(p.PID(), sig) {
		sig = syscall.SIGKILL
	}
	if err := syscall.Kill(-p.PID(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to the process group of %s (process %d): %w", sig, p.spec.Name, p.PID(), err)
	}
	if sig == syscall.SIGTERM && isStopped(p.PID()) {
		_ = syscall.Kill(-p.PID(), syscall.SIGCONT) // one that is paused would not hear of it before
	}
	return nil
}

// awaitKilled waits for the end of a process that got SIGKILL.
func (p *Process) awaitKilled(ctx context.Context) error {
	timer := time.NewTimer(killWait)
	defer timer.Stop()
	select {
	case <-p.done:
		p.group.forget(p)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s (process %d) got SIGKILL and its end was not awaited: %w", p.spec.Name, p.PID(), context.Cause(ctx))
	case <-timer.C:
		return fmt.Errorf("%s (process %d) is still there %v after SIGKILL", p.spec.Name, p.PID(), killWait)
	}
}

// unasked returns the exit error of a process that ended by itself just before it was asked to.
func (p *Process) unasked() error {
	exit, ok := p.Exit()
	if !ok || exit.Asked {
		return nil
	}
	p.group.forget(p)
	return exit.Err
}

// watch reaps the process, ends its group, and publishes how it ended.
func (p *Process) watch(out *output) {
	awaitExit(p.PID())
	p.mu.Lock()
	p.gone = true
	killed := killGroup(p.PID())
	asked := p.asked
	p.mu.Unlock()
	err := p.cmd.Wait()
	exit := Exit{Name: p.spec.Name, PID: p.PID(), Time: time.Now(), Asked: asked, State: p.cmd.ProcessState}
	if err = errors.Join(err, out.finish(), killed); err != nil {
		exit.Err = p.exitError(err)
	}
	p.exit = exit
	if p.group.onExit != nil {
		p.group.onExit(exit)
	}
	close(p.done)
}

// exitError adds the end of the log to err.
func (p *Process) exitError(err error) error {
	e := &ExitError{Name: p.spec.Name, Status: err.Error(), LogFile: p.spec.LogFile, Err: err}
	text, terr := p.LogTail(tailLines)
	if terr != nil {
		text = "(cannot be read: " + terr.Error() + ")"
	}
	e.Tail = text
	return e
}
