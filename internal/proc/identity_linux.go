package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// startField is the place of starttime behind the name in /proc/PID/stat, where the state is number 0.
const startField = 19

// startOf is the boot and the clock tick in which a process started.
func startOf(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return "", os.ErrProcessDone
	}
	if err != nil {
		return "", err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name may hold anything
	if len(fields) <= startField {
		return "", fmt.Errorf("/proc/%d/stat has only %d fields", pid, len(fields))
	}
	if fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return "", os.ErrProcessDone
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s+%s", bytes.TrimSpace(boot), fields[startField]), nil
}

// Within lists the processes whose working folder is dir or below it, also when it was removed since. dir has to be free of
// symbolic links. Processes of other users are not seen.
func Within(dir string) ([]int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, link := range all {
		at, err := os.Readlink(link)
		at = strings.TrimSuffix(at, " (deleted)")
		if err != nil || at != dir && !strings.HasPrefix(at, dir+"/") {
			continue // it has ended, or is another user's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out, nil
}
