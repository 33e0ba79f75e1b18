//go:build unix && !linux

package proc

import (
	"os"
	"syscall"
)

const canContain = false

// attributes gives a child its own process group.
func attributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// forbidden reports that containment is not to be had.
func forbidden(error) bool { return false }

// awaitExit leaves the waiting to exec.Cmd.Wait.
func awaitExit(int) {}

// killGroup does nothing: without awaitExit the process id may be another's already.
func killGroup(int) error { return nil }

// growPipe leaves the default.
func growPipe(*os.File) {}
