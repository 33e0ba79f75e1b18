package proc

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func TestIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a (b) c") // the name in /proc/PID/stat is the program's, which a folder cannot upset
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "cat")
	cmd.Dir = dir
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if alive, err := id.Alive(); !alive || err != nil {
		t.Errorf("a running process: alive %v, %v", alive, err)
	}
	if pids, err := Within(filepath.Dir(dir)); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("within %s: %v, %v; want %d", filepath.Dir(dir), pids, err, cmd.Process.Pid)
	}
	other := Identity{PID: id.PID, Started: id.Started + "0"}
	if alive, err := other.Alive(); alive || err != nil {
		t.Errorf("a process that had the id before: alive %v, %v", alive, err)
	}
	if err := other.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal to the process that had the id before: %v", err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil { // it was not killed
		t.Error(err)
	}
	if alive, err := id.Alive(); alive || err != nil {
		t.Errorf("after its end: alive %v, %v", alive, err)
	}
	if err := id.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal after its end: %v", err)
	}
	self, err := Self()
	if err != nil || self.PID != os.Getpid() || self == id {
		t.Errorf("self: %+v, %v", self, err)
	}
}
