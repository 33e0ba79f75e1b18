//go:build unix && !linux

package proc

import (
	"os"
	"syscall"
)

// isolations are none: there are no namespaces, and no way to show a program other files.
func isolations(spec Spec) []isolation {
	if len(spec.Binds) > 0 {
		return nil
	}
	return []isolation{{}}
}

// attributes gives a child its own process group.
func attributes(isolation) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// forbidden reports that containment is not to be had.
func forbidden(error) bool { return false }

// heeds is true: nothing is contained here.
func heeds(int, syscall.Signal) bool { return true }

// awaitExit leaves the waiting to exec.Cmd.Wait.
func awaitExit(int) {}

// killGroup does nothing: without awaitExit the process id may be another's already.
func killGroup(int) error { return nil }

// growPipe leaves the default.
func growPipe(*os.File) {}
