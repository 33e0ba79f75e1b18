package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Identity names one process for longer than its process id does, which the kernel gives to another one later on.
type Identity struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // when, in words of the operating system's own; only good for comparing
}

// Self is the identity of this process.
func Self() (Identity, error) { return Identify(os.Getpid()) }

// Identify is the identity of the process that has the id now. One that is not there is os.ErrProcessDone.
func Identify(pid int) (Identity, error) {
	started, err := startOf(pid)
	if err != nil {
		return Identity{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return Identity{PID: pid, Started: started}, nil
}

// Alive reports whether the very process is still there. One that has ended and was not reaped yet is not.
func (i Identity) Alive() (bool, error) {
	now, err := Identify(i.PID)
	if errors.Is(err, os.ErrProcessDone) {
		return false, nil
	}
	return err == nil && now == i, err
}

// Signal sends sig to the very process, never to another one that has its id by now. When it has ended the error is
// os.ErrProcessDone.
func (i Identity) Signal(sig syscall.Signal) error {
	p, err := os.FindProcess(i.PID) // holds on to the process that has the id now, where the kernel can
	if err != nil {
		return fmt.Errorf("process %d: %w", i.PID, err)
	}
	alive, err := i.Alive()
	if err == nil && !alive {
		err = fmt.Errorf("process %d: %w", i.PID, os.ErrProcessDone)
	}
	if err == nil {
		err = p.Signal(sig)
	}
	return errors.Join(err, p.Release())
}
