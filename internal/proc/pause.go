package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Pause stops the process and its group with SIGSTOP: they keep their files and connections, and do nothing until Resume. It returns when
// the process is stopped. One that has ended is os.ErrProcessDone.
func (p *Process) Pause() error {
	if err := p.signalGroup(syscall.SIGSTOP); err != nil {
		return err
	}
	if !awaitStopped(p.PID()) {
		return fmt.Errorf("stop %s (process %d): %w", p.spec.Name, p.PID(), os.ErrProcessDone)
	}
	return nil
}

// Resume lets a process that was paused go on. One that was not, or has ended, is no error.
func (p *Process) Resume() error {
	err := p.signalGroup(syscall.SIGCONT)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Paused reports whether the process is stopped.
func (p *Process) Paused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.gone && isStopped(p.PID())
}

// signalGroup signals the process group, unless the process is gone.
func (p *Process) signalGroup(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return fmt.Errorf("send %v to %s (process %d): %w", sig, p.spec.Name, p.PID(), os.ErrProcessDone)
	}
	if err := syscall.Kill(-p.PID(), sig); err != nil {
		return fmt.Errorf("send %v to the process group of %s (process %d): %w", sig, p.spec.Name, p.PID(), err)
	}
	return nil
}
