package local_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/toolchain"
)

// patience bounds each wait in these tests.
const patience = 20 * time.Second

// testMesh is a mesh that is up, and what the tests ask it.
type testMesh struct {
	*local.Mesh
	o    *mesh.Objects
	logs string
}

// up starts a mesh that ends with the test. change may be nil.
func up(t *testing.T, change func(*local.Options)) *testMesh {
	t.Helper()
	m := newMesh(t, change)
	if err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	o, err := mesh.NewObjects(m.REST())
	if err != nil {
		t.Fatal(err)
	}
	m.o = o
	return m
}

func newMesh(t *testing.T, change func(*local.Options)) *testMesh {
	t.Helper()
	opts := options(t)
	opts.Log = logIn(t.TempDir())
	if change != nil {
		change(&opts)
	}
	m, err := local.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	out := &testMesh{Mesh: m, logs: filepath.Dir(opts.Log("x"))}
	t.Cleanup(func() {
		out.end(t)
		if t.Failed() {
			out.showLogs(t)
		}
	})
	return out
}

// options are a mesh of the real programs, with this test program as the image test/app.
func options(t testing.TB) local.Options {
	t.Helper()
	root, err := toolchain.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	tools, err := toolchain.Ensure(t.Context(), toolchain.Options{Root: root, Progress: toolchain.Lines(os.Stderr)})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return local.Options{Tools: tools, Dir: t.TempDir(), Images: map[string]string{"test/app": self}}
}

func logIn(dir string) func(string) string {
	return func(process string) string { return filepath.Join(dir, process+".log") }
}

func (m *testMesh) end(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := m.Down(ctx); err != nil {
		t.Errorf("down: %v", err)
	}
}

func (m *testMesh) showLogs(t *testing.T) {
	files, err := filepath.Glob(m.logs + "/*.log")
	if err != nil {
		t.Error(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s:\n%s", f, b[max(0, len(b)-400):])
	}
}

// namespace makes a namespace with a load generator.
func (m *testMesh) namespace(t *testing.T, name string) {
	t.Helper()
	if _, err := m.o.Apply(t.Context(), mesh.Namespace(name)); err != nil {
		t.Fatal(err)
	}
	m.apply(t, name, deployment("load-"+name, "image: squall/load", ""))
}

// apply applies manifests in a namespace.
func (m *testMesh) apply(t *testing.T, namespace string, manifests ...string) {
	t.Helper()
	for _, doc := range bytes.Split([]byte(strings.Join(manifests, "\n---\n")), []byte("\n---\n")) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &u.Object); err != nil {
			t.Fatalf("%v:\n%s", err, doc)
		}
		if u.GetNamespace() == "" {
			u.SetNamespace(namespace)
		}
		if _, err := m.o.Apply(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
}

// deployment is a Deployment of pods with the label app, whose container and spec have the lines given.
func deployment(name, container, spec string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  %[3]s
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s, version: v1}}
    spec:
      containers:
      - name: %[1]s
        %[2]s
`, name, indent(container, 8), indent(spec, 2))
}

// httpbin is a Deployment of go-httpbin whose pods tell their names, and its Service at port 8000.
func httpbin(container, spec string) string {
	return deployment("httpbin", "image: mccutchen/go-httpbin\nports: [{containerPort: 8080}]\n"+
		"env: [{name: HTTPBIN_ENV_POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n"+container, spec) +
		"\n---\n" + service("httpbin", "http")
}

func service(name, port string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %[1]s}\n"+
		"spec: {selector: {app: %[1]s}, ports: [{name: %[2]s, port: 8000, targetPort: 8080}]}\n", name, port)
}

func indent(s string, by int) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n"+strings.Repeat(" ", by))
}

// ready waits until all Deployments of a namespace are ready.
func (m *testMesh) ready(t *testing.T, namespace string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := mesh.AwaitReady(ctx, m.o, namespace); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until try returns nil.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still: %v", err)
		case <-tick.C:
		}
	}
}

// call calls http://host:8000/path as the namespace's load generator does. A call without an answer has the code 0.
func (m *testMesh) call(t *testing.T, namespace, host, path string) (int, string) {
	t.Helper()
	address, err := m.CallAddress(m.pods(t, namespace, "load-"+namespace)[0])
	if err != nil {
		t.Fatal(err)
	}
	return get(t, "http://"+address+":8000"+path, host+":8000")
}

func get(t *testing.T, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Close = true // what a proxy has changed holds for new connections
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// answers waits until a call gets the code.
func (m *testMesh) answers(t *testing.T, namespace, host, path string, code int) {
	t.Helper()
	eventually(t, func() error {
		if got, body := m.call(t, namespace, host, path); got != code {
			return fmt.Errorf("%s answers %d: %s", host, got, body)
		}
		return nil
	})
}

// pods lists the names of an app's pods.
func (m *testMesh) pods(t *testing.T, namespace, app string) []string {
	t.Helper()
	list, err := m.o.Kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range list.Items {
		out = append(out, p.Name)
	}
	return out
}
