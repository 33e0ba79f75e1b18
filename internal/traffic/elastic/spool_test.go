package elastic

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const spoolEnv = "SQUALL_TEST_SPOOL" // the folder of the process that may write little

// TestSpoolDisk writes more than the disk takes, which the limit of a process on its files stands for: it ends in the middle of a write as a
// full disk does. What is refused leaves nothing behind, what fits is taken after it, and the next process finds exactly that.
func TestSpoolDisk(t *testing.T) {
	if dir := os.Getenv(spoolEnv); dir != "" {
		s, err := openSpool(dir, 1<<30)
		must(t, err)
		must(t, s.put([]byte("small\n"), 1))
		if err := s.put([]byte(strings.Repeat("x", 1<<20)), 7); !errors.Is(err, syscall.EFBIG) {
			t.Fatalf("%v", err)
		}
		must(t, s.put([]byte("small again\n"), 2))
		if s.records() != 3 || s.bytes != 18 {
			t.Errorf("%d records, %d bytes", s.records(), s.bytes)
		}
		must(t, s.close())
		return
	}
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -f 128 && exec "$0" -test.short -test.run='^TestSpoolDisk$'`, os.Args[0])
	child.Env = append(os.Environ(), spoolEnv+"="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s, err := openSpool(dir, 1<<30)
	must(t, err)
	defer func() { must(t, s.close()) }()
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	if s.records() != 3 || len(left) != 3 { // and the lock
		t.Errorf("%d records in %v", s.records(), left)
	}
}
