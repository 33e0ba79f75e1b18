package local_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"squall/internal/mesh"
	"squall/internal/mesh/local"
)

// simple brings httpbin and a load generator up in a namespace.
func (m *testMesh) simple(t *testing.T, ns string) {
	t.Helper()
	m.namespace(t, ns)
	m.apply(t, ns, httpbin("", ""))
	m.ready(t, ns)
	m.answers(t, ns, "httpbin", "/get", 200)
}

func TestDeathOfAPartFailsTheMesh(t *testing.T) {
	for _, c := range []struct{ name, process, want string }{
		{"envoy", "/httpbin-0/envoy.json", "envoy of httpbin-0 died: signal: killed"},
		{"istiod", "discovery --registries", "istiod died: signal: killed"},
		{"application", "httpbin -host", "httpbin of httpbin-0 died: signal: killed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := up(t, nil)
			m.simple(t, "a")
			if err := syscall.Kill(child(t, c.process), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-m.Failed():
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("failed with %v, want …%s…", err, c.want)
				}
			case <-time.After(patience):
				t.Error("the mesh did not fail")
			}
		})
	}
}

func TestProgramThatEndsByItself(t *testing.T) {
	m := up(t, nil)
	m.namespace(t, "a")
	m.apply(t, "a", deployment("app", "image: test/app\nenv: [{name: "+modeEnv+", value: http}]\nports: [{containerPort: 8080}]", ""), service("app", "http"))
	m.ready(t, "a")
	m.answers(t, "a", "app", "/ready", 200)
	m.call(t, "a", "app", "/exit")
	select {
	case err := <-m.Failed():
		if s := err.Error(); !strings.Contains(s, "app of app-0 died: exit status 7") || !strings.Contains(s, "leaving") {
			t.Error(s)
		}
	case <-time.After(patience):
		t.Error("the mesh did not fail")
	}
}

func TestTwoMeshesSideBySide(t *testing.T) {
	a, b := up(t, nil), up(t, nil)
	a.simple(t, "same")
	b.simple(t, "same")
	a.end(t)
	b.answers(t, "same", "httpbin", "/get", 200)
	select {
	case err := <-b.Failed():
		t.Error(err)
	default:
	}
}

func TestDownLeavesNothing(t *testing.T) {
	m := up(t, nil)
	m.simple(t, "a")
	m.apply(t, "a", deployment("stubborn", "image: test/app\nenv: [{name: "+modeEnv+", value: stubborn}]\nports: [{containerPort: 8080}]", ""))
	m.ready(t, "a")
	address, err := m.CallAddress("httpbin-0")
	if err != nil {
		t.Fatal(err)
	}
	prefix := address[:strings.LastIndexByte(address[:strings.LastIndexByte(address, '.')], '.')] // of the mesh's own addresses
	if len(listeners(t, prefix)) == 0 {
		t.Fatal("the mesh has no listeners")
	}
	start := time.Now()
	m.end(t)
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("down took %v, for a program that ignores SIGTERM", took)
	}
	m.end(t)
	if left := children(t, os.Getpid(), ""); len(left) > 0 {
		t.Errorf("processes: %v", left)
	}
	if left := listeners(t, prefix); len(left) > 0 {
		t.Errorf("listeners: %v", left)
	}
	eventually(t, func() error {
		var b strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
			t.Fatal(err)
		}
		for _, g := range strings.Split(b.String(), "\n\n") {
			if strings.Contains(g, "squall/internal/mesh/local.") ||
				strings.Contains(g, "squall/internal/kubeapi") || strings.Contains(g, "squall/internal/sds") ||
				strings.Contains(g, "squall/internal/proc") || strings.Contains(g, "k8s.io/client-go") {
				return fmt.Errorf("goroutine:\n%s", g)
			}
		}
		return nil
	})
	select {
	case err := <-m.Failed():
		t.Errorf("down failed the mesh: %v", err)
	default:
	}
}

// listeners are the sockets that listen at addresses that begin like prefix.
func listeners(t *testing.T, prefix string) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "0A" {
			continue
		}
		var ip [4]byte
		var port int
		if _, err := fmt.Sscanf(f[1], "%02X%02X%02X%02X:%04X", &ip[3], &ip[2], &ip[1], &ip[0], &port); err != nil {
			t.Fatal(err)
		}
		if address := net.IP(ip[:]).String(); strings.HasPrefix(address, prefix+".") {
			out = append(out, fmt.Sprintf("%s:%d", address, port))
		}
	}
	return out
}

func TestDownWithoutUpAndInTheMiddleOfUp(t *testing.T) {
	newMesh(t, nil).end(t)

	m := newMesh(t, nil)
	if err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	o, err := mesh.NewObjects(m.REST())
	if err != nil {
		t.Fatal(err)
	}
	m.o = o
	m.namespace(t, "a")
	m.apply(t, "a", httpbin("", "replicas: 3"))
	m.end(t) // pods are about to start
	if left := children(t, os.Getpid(), ""); len(left) > 0 {
		t.Errorf("processes: %v", left)
	}

	m = newMesh(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	if err := m.Up(ctx); !errors.Is(err, stop) && !errors.Is(err, context.Canceled) {
		t.Errorf("up: %v", err)
	}
}

// TestMain runs this in a process of its own, which TestNothingOutlivesSquall kills.
func TestOwner(t *testing.T) {
	dir := os.Getenv("SQUALL_LOCAL_LOGS")
	if os.Getenv(modeEnv) != "owner" {
		dir = t.TempDir()
	}
	m := up(t, func(o *local.Options) { o.Log = logIn(dir) })
	m.simple(t, "a")
	m.apply(t, "a", opened("web", `"*"`, "match: [{uri: {prefix: /}}]"))
	m.ingress(t, "80")
	if os.Getenv(modeEnv) != "owner" {
		return
	}
	fmt.Println("mesh is up")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // for ever
		t.Fatal(err)
	}
}

func TestNothingOutlivesSquall(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	logs := t.TempDir()
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestOwner$", "-test.v")
	cmd.Env = append(os.Environ(), modeEnv+"=owner", "SQUALL_LOCAL_LOGS="+logs, "TMPDIR="+logs)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for scanner.Scan() && !strings.Contains(scanner.Text(), "mesh is up") {
		t.Log(scanner.Text())
	}
	left := children(t, cmd.Process.Pid, "")
	if len(left) < 5 { // istiod, three Envoys, httpbin
		t.Errorf("children: %v", left)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the owner ended well")
	}
	for pid := range left {
		eventually(t, func() error { return alive(pid) })
	}
	if files, err := filepath.Glob(logs + "/*.log"); err != nil || len(files) < 4 {
		t.Errorf("logs: %v %v", files, err)
	}
}
