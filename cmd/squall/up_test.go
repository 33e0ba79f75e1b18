package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"squall/internal/proc"
)

// awaitGone waits for the end of processes.
func awaitGone(t *testing.T, pids []int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range pids {
		for !gone(pid) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("process %d is still there", pid)
			}
		}
	}
}

// get calls a service through the caller's proxy.
func get(t *testing.T, st meshState, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+st.Caller+":8000"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = st.Services[0]
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestUpDetached leaves a mesh in the background, uses it, and ends it.
func TestUpDetached(t *testing.T) {
	atRoot(t)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv(roleEnv, "squall") // for the process that owns the mesh
	code, out, errs := squall(t, "up", "httpbin", "--detach", "--name", "demo", "--mtls", "STRICT")
	want(t, 0, []string{"mesh demo is up; end it with 'squall down demo'", "export KUBECONFIG=", "curl -H 'Host: httpbin:8000' http://127."}, code, out, errs)
	st, err := readMesh("demo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { squall(t, "down", "--all") })
	if alive, err := st.Owner.Alive(); !alive || err != nil || !st.Ready {
		t.Fatalf("%+v: alive %v, %v", st, alive, err)
	}
	if sid, err := unix.Getsid(st.Owner.PID); err != nil || sid != st.Owner.PID {
		t.Errorf("its session is %d, %v; want one of its own, which no terminal ends", sid, err)
	}
	if got := get(t, st, "/status/418"); got != 418 {
		t.Errorf("a call through the sidecar: %d", got)
	}
	pids, err := proc.Within(st.Dir)
	if err != nil || len(pids) < 4 {
		t.Fatalf("processes of the mesh: %v, %v", pids, err)
	}
	code, out, errs = squall(t, "up", "--detach", "--name", "demo")
	want(t, 3, []string{"mesh demo is up already"}, code, out, errs)
	code, out, errs = squall(t, "down", "nope")
	want(t, 2, []string{"no mesh nope: there is demo"}, code, out, errs)
	code, out, errs = squall(t, "down")
	want(t, 0, []string{"mesh demo is down"}, code, out, errs)
	awaitGone(t, append(pids, st.Owner.PID))
	for _, path := range []string{st.Dir, st.home(), st.file()} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	code, out, errs = squall(t, "down", "--all", "-o", "json")
	want(t, 0, []string{"[]\n"}, code, out, errs)
}

// TestUpForeground keeps a mesh until a signal comes, which is its good end.
func TestUpForeground(t *testing.T) {
	atRoot(t)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	c := start(t, "squall", "up", "httpbin", "--name", "fore", "-o", "json")
	c.await(t, "mesh fore is ready after")
	st, err := readMesh("fore")
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, st, "/get"); got != 200 {
		t.Errorf("a call through the sidecar: %d", got)
	}
	pids, err := proc.Within(st.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code, out, errs := c.wait(t)
	want(t, 0, nil, code, out, errs)
	if said := fromJSON[meshState](t, out); said.ID != "fore" || said.Caller != st.Caller {
		t.Errorf("on stdout: %+v", said)
	}
	awaitGone(t, pids)
	if _, err := os.Stat(st.file()); !os.IsNotExist(err) {
		t.Errorf("its file is still there: %v", err)
	}
}

// TestDownKilledOwner kills the process of a mesh: its children end with it, and down removes the rest.
func TestDownKilledOwner(t *testing.T) {
	atRoot(t)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv(roleEnv, "squall")
	for _, name := range []string{"one", "two"} {
		code, out, errs := squall(t, "up", "--detach", "--name", name)
		want(t, 0, nil, code, out, errs)
	}
	t.Cleanup(func() { squall(t, "down", "--all") })
	code, out, errs := squall(t, "down")
	want(t, 2, []string{"2 meshes are there: one, two; name one, or give --all"}, code, out, errs)
	st, err := readMesh("one")
	if err != nil {
		t.Fatal(err)
	}
	pids, err := proc.Within(st.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Owner.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, append(pids, st.Owner.PID))
	code, out, errs = squall(t, "down", "--all")
	want(t, 0, []string{"mesh one had ended: its process", "mesh two is down"}, code, out, errs)
	if _, err := os.Stat(st.Dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", st.Dir, err)
	}
}

// TestDownReusedPID has the file of a mesh whose process id is another process's by now: this test's. It gets no signal.
func TestDownReusedPID(t *testing.T) {
	atRoot(t)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	st, err := newMeshState("old", "squall")
	if err != nil {
		t.Fatal(err)
	}
	st.Owner.Started += "0"
	if err := st.claim(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := squall(t, "down", "old")
	want(t, 0, []string{"mesh old had ended: its process"}, code, out, errs)
	if strings.Contains(errs, "SIGTERM") {
		t.Errorf("this process got a signal: %s", errs)
	}
	if all, err := listMeshes(); err != nil || len(all) != 0 {
		t.Errorf("meshes: %v, %v", all, err)
	}
}

// TestMeshFiles does not follow a file that is not of a mesh.
func TestMeshFiles(t *testing.T) {
	atRoot(t)
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	dir := filepath.Join(state, "squall", "meshes")
	write(t, filepath.Join(dir, "evil.json"), `{"id":"evil","kubeconfig":"/etc/evil/kubeconfig"}`)
	code, out, errs := squall(t, "down", "evil")
	want(t, 2, []string{"is not the file of a mesh"}, code, out, errs)
	write(t, filepath.Join(dir, "evil.json"), `{`)
	code, out, errs = squall(t, "down")
	want(t, 2, []string{"evil.json is damaged", "delete it"}, code, out, errs)
}

// A damaged file of another mesh does not keep a mesh from its end, and is told.
func TestDownBesideADamagedFile(t *testing.T) {
	atRoot(t)
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"down", "old"}, 0, []string{"mesh old had ended"}},
		{[]string{"down", "--all"}, 3, []string{"mesh old had ended", "bad.json is damaged"}},
		{[]string{"down", "bad"}, 2, []string{"bad.json is damaged"}},
	} {
		write(t, filepath.Join(state, "squall", "meshes", "bad.json"), "")
		st, err := newMeshState("old", "squall")
		if err != nil {
			t.Fatal(err)
		}
		st.Owner.Started += "0" // gone
		if err := st.claim(); err != nil {
			t.Fatal(err)
		}
		code, out, errs := squall(t, c.args...)
		want(t, c.code, c.says, code, out, errs)
	}
}
