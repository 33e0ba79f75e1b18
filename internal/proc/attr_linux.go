package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const pipeBytes = 1 << 20 // the most that Linux gives without privilege

// isolations are the ways to start spec, the best one first.
func isolations(spec Spec) []isolation {
	files := len(spec.Binds) > 0
	if !spec.Contain && !files {
		return []isolation{{}}
	}
	out := []isolation{{user: true, pid: true, files: files}}
	if os.Getuid() == 0 {
		out = append(out, isolation{pid: true, files: files})
	}
	if !files {
		out = append(out, isolation{})
	}
	return out
}

// attributes are what ties a child to this process.
func attributes(i isolation) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if i.pid {
		a.Cloneflags |= unix.CLONE_NEWPID
	}
	if i.files {
		a.Unshareflags |= unix.CLONE_NEWNS // Go then makes all mounts private, so that the child's stay its own
	}
	if i.user {
		uid, gid := os.Getuid(), os.Getgid()
		inside := syscall.SysProcIDMap{ContainerID: uid, HostID: uid, Size: 1}
		group := syscall.SysProcIDMap{ContainerID: gid, HostID: gid, Size: 1}
		if i.files {
			inside.ContainerID, group.ContainerID = 0, 0 // who mounts; see wrap
		}
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings, a.GidMappings = []syscall.SysProcIDMap{inside}, []syscall.SysProcIDMap{group}
	}
	return a
}

// forbidden reports whether a start failed because the machine does not give namespaces to a user.
func forbidden(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) ||
		errors.Is(err, unix.EUSERS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

// heeds reports whether a process has a handler for the signal or ignores it on purpose, so that it is for the process to
// say what the signal does. A process that cannot be looked at heeds it.
func heeds(pid int, sig syscall.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(status)) {
		name, mask, _ := strings.Cut(line, ":")
		if name != "SigCgt" && name != "SigIgn" {
			continue
		}
		if bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64); err != nil || bits&(1<<(sig-1)) != 0 {
			return true
		}
	}
	return false
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
