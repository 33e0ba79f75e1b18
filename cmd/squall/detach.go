package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// readyFD is where a detached mesh writes: the first descriptor after the standard ones.
const readyFD = 3

// detach starts this program again, as the owner of the mesh in a session of its own, and returns when the mesh is ready. When
// it does not get there, what it said is the error.
func (a *app) detach(ctx context.Context, f *upFlags, fixtures []string) error {
	log, err := detachedLog(f)
	if err != nil {
		return environment(err)
	}
	ready, err := startDetached(f.arguments(a, fixtures), log)
	if err == nil {
		err = ready.await(ctx)
	}
	said, readErr := os.ReadFile(log.Name())
	err = errors.Join(err, readErr, log.Close())
	if err != nil {
		return environment(errors.Join(err, errors.New(strings.TrimSpace(string(said)))))
	}
	st, err := readMesh(f.name)
	if err != nil {
		return environment(err)
	}
	return a.printMesh(st, f.output, fmt.Sprintf("end it with 'squall down %s'", st.ID))
}

// detachedLog opens the file for what the detached process says. What is left of a dead mesh of that name is removed first.
func detachedLog(f *upFlags) (*os.File, error) {
	st, err := newMeshState(f.name, f.namespace)
	if err != nil {
		return nil, err
	}
	if err := freeMeshID(f.name); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(st.Logs, 0o700); err != nil {
		return nil, fmt.Errorf("folder of mesh %s: %w", f.name, err)
	}
	return os.OpenFile(filepath.Join(st.Logs, "squall.log"), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
}

// detached is a process that was started and is not ready yet.
type detached struct {
	cmd   *exec.Cmd
	ready *os.File
}

func startDetached(args []string, log *os.File) (*detached, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...) //nolint:noctx // it outlives this process
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the mesh's own process: %w", err), r.Close(), w.Close())
	}
	return &detached{cmd, r}, w.Close()
}

// await returns when the mesh is ready, and ends the process when ctx ends before.
func (d *detached) await(ctx context.Context) error {
	word := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(d.ready) // an error is not "ready"
		word <- string(b)
	}()
	select {
	case s := <-word:
		if s == "ready\n" {
			return errors.Join(d.ready.Close(), d.cmd.Process.Release())
		}
	case <-ctx.Done():
		if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-word
	}
	err := d.cmd.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	return errors.Join(fmt.Errorf("the mesh did not come up: %w", err), d.ready.Close())
}

// arguments are those that start the same mesh in the foreground.
func (f *upFlags) arguments(a *app, fixtures []string) []string {
	out := []string{
		"up", "--name", f.name, "--namespace", f.namespace, "--mtls", string(f.mtls), "--envoy", f.envoy, "--istiod", f.istiod,
		"--fixtures", a.fixtures, "--ready-fd", fmt.Sprint(readyFD),
	}
	for name, program := range f.images {
		out = append(out, "--image", name+"="+program)
	}
	return append(append(out, "--"), fixtures...)
}
