package local_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// children are the processes whose parent is pid and whose command line or working directory has the text, by process id.
func children(t testing.TB, pid int, text string) map[int]string {
	t.Helper()
	out := map[int]string{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) || fields[0] == "Z" {
			continue
		}
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			continue
		}
		cwd, _ := os.Readlink(dir + "/cwd") // of a process that ended meanwhile it is empty
		what := strings.ReplaceAll(string(line), "\x00", " ") + "in " + cwd
		if strings.Contains(what, text) {
			n, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				t.Fatal(err)
			}
			out[n] = what
		}
	}
	return out
}

// child is the only process of its kind.
func child(t testing.TB, text string) int {
	t.Helper()
	all := children(t, os.Getpid(), text)
	if len(all) != 1 {
		t.Fatalf("processes with %q: %v", text, all)
	}
	for pid := range all {
		return pid
	}
	return 0
}

func alive(pid int) error {
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		return fmt.Errorf("process %d is alive", pid)
	}
	return nil
}
