package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// privateMemory is the memory in MB that the mesh has for itself: that of istiod, the proxies and the applications, and of this
// process with the API in it. File pages are left out: all processes of a program share them, and whether the kernel calls
// them private depends on who else runs it.
func privateMemory() (float64, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	self := strconv.Itoa(os.Getpid())
	total := 0.0
	for _, s := range stats {
		b, err := os.ReadFile(s)
		if err != nil {
			continue // it ended meanwhile
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if pid := filepath.Base(filepath.Dir(s)); pid != self && (len(fields) < 2 || fields[1] != self) {
			continue
		}
		mb, err := private(filepath.Join(filepath.Dir(s), "smaps_rollup"))
		if err != nil {
			return 0, err
		}
		total += mb
	}
	if total == 0 {
		return 0, fmt.Errorf("no child process found")
	}
	return total, nil
}

func private(path string) (float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	kb := 0.0
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Anonymous:" {
			n, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return 0, err
			}
			kb += n
		}
	}
	return kb / 1024, nil
}
