package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// awaitStopped returns when the child was stopped by a signal, or has ended, which is false.
func awaitStopped(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && isStopped(pid)
		}
	}
}

// isStopped reads the state from /proc/PID/stat (proc_pid_stat(5)): T is stopped.
func isStopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name may hold anything
	return len(fields) > 0 && string(fields[0]) == "T"
}
