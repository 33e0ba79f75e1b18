package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"squall/internal/proc"
	"squall/internal/record"
)

// clockTicks is how many of the kernel's ticks are a second, which Linux fixes for /proc.
const clockTicks = 100

// Usage is what the pods' programs and proxies have used since they started. A part that a pod does not have is left out, as is a
// program that is Squall itself.
func (m *Mesh) Usage(_ context.Context, pods []string) (map[string]map[string]record.Usage, error) {
	tree, err := processes()
	if err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	out := map[string]map[string]record.Usage{}
	for _, name := range pods {
		m.mu.Lock()
		p := m.pods[name]
		m.mu.Unlock()
		if p == nil {
			return nil, fmt.Errorf("usage: there is no pod %s", name)
		}
		if out[name], err = tree.of(p); err != nil {
			return nil, fmt.Errorf("usage of %s: %w", name, err)
		}
	}
	return out, nil
}

// of is what a pod's parts use.
func (t processTree) of(p *pod) (map[string]record.Usage, error) {
	out := map[string]record.Usage{}
	for part, process := range map[string]*proc.Process{record.App: p.app.Load(), record.Sidecar: p.envoy.Load()} {
		if process == nil {
			continue
		}
		u, ok := t.sum(process.PID())
		if !ok {
			return nil, fmt.Errorf("its process %d has ended", process.PID())
		}
		u.PID = process.PID()
		out[part] = u
	}
	return out, nil
}

// processTree is the machine's processes by the one that started them.
type processTree struct {
	used     map[int]record.Usage
	children map[int][]int
}

// processes reads /proc. A process that ends meanwhile is left out.
func processes() (processTree, error) {
	t := processTree{used: map[int]record.Usage{}, children: map[int][]int{}}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return t, err
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return t, err
		}
		pid, parent, used, err := parseStat(text)
		if err != nil {
			return t, fmt.Errorf("%s: %w", path, err)
		}
		t.used[pid] = used
		t.children[parent] = append(t.children[parent], pid)
	}
	return t, nil
}

// parseStat reads a line of /proc/PID/stat (proc_pid_stat(5)). Time of children that have ended counts too.
func parseStat(text []byte) (pid, parent int, used record.Usage, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')') // the name between them may hold anything
	if open < 0 || end < open {
		return 0, 0, used, errors.New("it has no name")
	}
	fields := bytes.Fields(text[end+1:])
	if len(fields) < 22 {
		return 0, 0, used, fmt.Errorf("it has %d fields after the name", len(fields))
	}
	number := func(b []byte) int64 {
		n, e := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
		err = errors.Join(err, e)
		return n
	}
	pid, parent = int(number(text[:open])), int(number(fields[1]))
	for _, ticks := range fields[11:15] { // utime, stime, cutime, cstime
		used.CPU += float64(number(ticks)) / clockTicks
	}
	used.Memory = number(fields[21]) * int64(os.Getpagesize())
	return pid, parent, used, err
}

// sum is what a process and all that it started use; ok is false when it is gone.
func (t processTree) sum(pid int) (total record.Usage, ok bool) {
	total, ok = t.used[pid]
	for _, child := range t.children[pid] {
		u, _ := t.sum(child)
		total.CPU += u.CPU
		total.Memory += u.Memory
	}
	return total, ok
}
