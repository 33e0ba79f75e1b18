package local_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"squall/internal/toolchain"
)

// TestKubectl works on a live mesh with the real kubectl.
func TestKubectl(t *testing.T) {
	path := kubectl(t)
	m := up(t, nil)
	const ns = "k"
	m.namespace(t, ns)
	dir := t.TempDir()
	config := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(config, m.Kubeconfig(ns), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+config, "HOME="+dir)
		return cmd
	}
	run := func(input string, args ...string) string {
		t.Helper()
		cmd := command(args...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	watch := command("get", "deployments", "-w", "--no-headers")
	seen := &locked{}
	watch.Stdout, watch.Stderr = seen, seen
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	run(httpbin("", ""), "apply", "-f", "-")
	run("", "rollout", "status", "deployment/httpbin", "--timeout=20s")
	run("", "wait", "--for=condition=Available", "deployment/httpbin", "--timeout=20s")
	m.answers(t, ns, "httpbin", "/get", 200)
	if out := run("", "get", "pods"); !strings.Contains(out, "httpbin-0") || !strings.Contains(out, "1/1") || !strings.Contains(out, "Running") {
		t.Error(out)
	}
	run("", "scale", "deployment/httpbin", "--replicas=2")
	run("", "rollout", "status", "deployment/httpbin", "--timeout=20s")
	if got := reached(t, m, ns, 2); len(got) != 2 {
		t.Error(got)
	}
	if out := run("", "get", "endpointslices,virtualservices,sidecars", "-A"); !strings.Contains(out, "httpbin-1") {
		t.Error(out)
	}
	eventually(t, func() error {
		if s := seen.String(); !strings.Contains(s, "2/2") {
			return fmt.Errorf("watch shows %s", s)
		}
		return nil
	})
	run(opened("web", `"*"`, "match: [{uri: {prefix: /}}]"), "apply", "-f", "-")
	comesBack(t, "http://"+m.ingress(t, "80")+"/get", "any", 200)
	if out := run("", "get", "gateways,deployments,services,serviceaccounts", "-A"); strings.Count(out, "istio-ingressgateway") != 3 || !strings.Contains(out, "gateway.networking.istio.io/web") {
		t.Error(out)
	}
	run("", "delete", "gateway", "web")
	run("", "delete", "deployment", "httpbin")
	run("", "wait", "--for=delete", "pod", "-l", "app=httpbin", "--timeout=20s")
	m.answers(t, ns, "httpbin", "/get", 503)
	run("", "delete", "namespace", ns, "--timeout=20s")
	if err := watch.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := watch.Wait(); err == nil {
		t.Error("kubectl get -w ended by itself")
	}
	select {
	case err := <-m.Failed():
		t.Error(err)
	default:
	}
}

// kubectl is the one in PATH, else the project's own.
func kubectl(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("kubectl"); err == nil {
		return path
	}
	root, err := toolchain.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	tools, err := toolchain.Ensure(t.Context(), toolchain.Options{Root: root, Need: []toolchain.Name{toolchain.Kubectl}, Progress: toolchain.Lines(os.Stderr)})
	if err != nil {
		t.Fatal("no kubectl in PATH, and none to be made; see https://kubernetes.io/docs/tasks/tools/: ", err)
	}
	return tools.Kubectl
}

// locked is a buffer that is read while it is written.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
