package proc

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	canContain = true
	pipeBytes  = 1 << 20 // the most that Linux gives without privilege
)

// attributes are what ties a child to this process.
func attributes(contain bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if contain {
		uid, gid := os.Getuid(), os.Getgid()
		a.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWPID
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	}
	return a
}

// forbidden reports whether a start failed because the machine does not give namespaces to a user.
func forbidden(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) ||
		errors.Is(err, unix.EUSERS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

// awaitExit returns when the child has ended, and leaves it to be reaped, so that its process id still is its own.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// killGroup kills what is left of the process group of a child that has ended.
func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return os.NewSyscallError("kill the rest of its process group", err)
	}
	return nil
}

// growPipe gives a burst of output room, so that the writer need not wait for the reader. A refusal leaves the default.
func growPipe(f *os.File) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes) })
	}
}
