package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
)

// Group is the children of one mesh. Make it with NewGroup, end it with StopAll.
type Group struct {
	onExit func(Exit)
	forks  chan func()
	stop   chan struct{} // closed by the first StopAll

	mu       sync.Mutex
	stopping bool
	starts   sync.WaitGroup // starts that began before stopping
	children []*Process     // in the order of their start, less those that ended as asked
}

// NewGroup returns a group without children. onExit, when not nil, is called once for each child when it has ended, from a
// goroutine of that child and before its Done is closed: it must neither block nor stop a process. The group holds one
// operating system thread until StopAll.
func NewGroup(onExit func(Exit)) *Group {
	g := &Group{onExit: onExit, forks: make(chan func()), stop: make(chan struct{})}
	go g.forker()
	return g
}

// forker owns the thread that is the parent of all children. It returns with the thread locked, which ends the thread:
// a child that is still there then gets its parent-death signal.
func (g *Group) forker() {
	runtime.LockOSThread()
	for {
		select {
		case fork := <-g.forks:
			fork()
		case <-g.stop:
			return
		}
	}
}

// Start starts a program. ctx bounds the start alone: the child lives until it ends by itself or by Stop, Kill or StopAll.
func (g *Group) Start(ctx context.Context, spec Spec) (*Process, error) {
	g.mu.Lock()
	if g.stopping {
		g.mu.Unlock()
		return nil, fmt.Errorf("start %s: the process group is stopped", spec.Name)
	}
	g.starts.Add(1)
	g.mu.Unlock()
	defer g.starts.Done()

	err := fmt.Errorf("start %s: this machine cannot show a program other files: %w", spec.Name, errors.ErrUnsupported)
	for _, i := range isolations(spec) {
		var p *Process
		if p, err = g.start(ctx, spec, i); err == nil || !forbidden(err) {
			return p, err
		}
	}
	return nil, err
}

// isolation is what a child has of its own.
type isolation struct {
	user, pid bool // namespaces
	files     bool // a mount namespace with Spec.Binds
}

// shareFileLimit lets children have this process's limit of open files. Go raises its own to the most allowed, but gives
// children the one it was started with, unless the program has set one itself: often 1024, too few for a proxy under load.
func shareFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("read the limit of open files", err)
	}
	return os.NewSyscallError("set the limit of open files", syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}

// start starts spec on the group's thread.
func (g *Group) start(ctx context.Context, spec Spec, has isolation) (*Process, error) {
	if err := shareFileLimit(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	cmd := exec.Command(spec.Path, spec.Args...) //nolint:noctx // a child ends by Stop and Kill, in order, and not with ctx
	cmd.Env, cmd.Dir, cmd.SysProcAttr = spec.Env, spec.Dir, attributes(has)
	if has.files {
		if err := wrap(cmd, spec.Binds); err != nil {
			return nil, fmt.Errorf("start %s: %w", spec.Name, err)
		}
	}
	out, err := openOutput(cmd, spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{spec: spec, cmd: cmd, contained: has.pid, group: g, done: make(chan struct{})}
	if err := g.fork(ctx, cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.Name, err), out.abandon())
	}
	g.mu.Lock()
	g.children = append(g.children, p)
	g.mu.Unlock()
	closed := out.closeChildEnds()
	out.start()
	go p.watch(out)
	if closed != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.Name, closed), p.Kill(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// fork runs cmd.Start on the group's thread.
func (g *Group) fork(ctx context.Context, cmd *exec.Cmd) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	result := make(chan error, 1)
	select {
	case g.forks <- func() { result <- cmd.Start() }:
		return <-result
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// forget drops a process that ended and was accounted for.
func (g *Group) forget(p *Process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.children = slices.DeleteFunc(g.children, func(c *Process) bool { return c == p })
}

// StopAll stops the children one after another in the reverse order of their start, and joins the errors, among them the exit
// errors of children that failed without having been asked to end. When ctx is done the rest is killed instead of asked.
// No child is alive after it returns nil or exit errors only. It may be called again; Start fails from then on.
func (g *Group) StopAll(ctx context.Context) error {
	g.mu.Lock()
	first := !g.stopping
	g.stopping = true
	g.mu.Unlock()
	g.starts.Wait()
	if first {
		defer close(g.stop)
	}
	g.mu.Lock()
	children := slices.Clone(g.children)
	g.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(children) {
		errs = append(errs, p.Stop(ctx))
		if _, ended := p.Exit(); ended {
			g.forget(p)
		}
	}
	return errors.Join(errs...)
}

// Run runs a program to its end in a group of its own. When ctx is done, it and, where spec says Contain, all that it has started are ended,
// and the error has the context's cause.
func Run(ctx context.Context, spec Spec) error {
	group := NewGroup(nil)
	p, err := group.Start(ctx, spec)
	if err == nil {
		select {
		case <-p.Done():
		case <-ctx.Done():
			err = fmt.Errorf("%s: %w", spec.Name, context.Cause(ctx))
		}
	}
	return errors.Join(err, group.StopAll(ctx))
}
