package local_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/toolchain"
)

const app = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: httpbin, namespace: t}
---
apiVersion: v1
kind: Service
metadata: {name: httpbin, namespace: t}
spec:
  selector: {app: httpbin}
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin, namespace: t}
spec:
  selector: {matchLabels: {app: httpbin}}
  template:
    metadata: {labels: {app: httpbin, version: v1}}
    spec:
      serviceAccountName: httpbin
      containers:
      - name: httpbin
        image: docker.io/mccutchen/go-httpbin:2.26.0
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /status/200, port: 8080}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: squall-load, namespace: t}
spec:
  selector: {matchLabels: {app: squall-load}}
  template:
    metadata: {labels: {app: squall-load}}
    spec:
      containers: [{name: load, image: squall/load}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`

func up(t *testing.T) (*local.Mesh, *mesh.Objects, string) {
	t.Helper()
	start := time.Now()
	root, err := toolchain.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	tools, err := toolchain.Ensure(t.Context(), toolchain.Options{Root: root, Progress: toolchain.Lines(os.Stderr)})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sq")
	if err != nil {
		t.Fatal(err)
	}
	logs := t.TempDir()
	m, err := local.New(local.Options{Tools: tools, Dir: dir, Log: func(p string) string { return filepath.Join(logs, p+".log") }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
		defer cancel()
		if err := m.Down(ctx); err != nil {
			t.Errorf("down: %v", err)
		}
		if t.Failed() {
			files, _ := filepath.Glob(logs + "/*.log")
			for _, f := range files {
				b, _ := os.ReadFile(f)
				t.Logf("%s:\n%s", f, b[max(0, len(b)-3000):])
			}
		}
	})
	if err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("api up after %s", time.Since(start))
	o, err := mesh.NewObjects(m.REST())
	if err != nil {
		t.Fatal(err)
	}
	if err := o.EnsureNamespace(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	return m, o, logs
}

func apply(t *testing.T, o *mesh.Objects, manifests string) {
	t.Helper()
	for _, doc := range bytes.Split([]byte(manifests), []byte("\n---\n")) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &u.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Apply(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHTTPBinBehindSidecars(t *testing.T) {
	start := time.Now()
	m, o, _ := up(t)
	apply(t, o, app)
	t.Logf("applied after %s", time.Since(start))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := mesh.AwaitReady(ctx, o, "t"); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %s", time.Since(start))
	addr, err := m.CallAddress("squall-load-0")
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	c, err := m.CaptureAccess(func(string) (mesh.LineWriter, error) { return nopCloser{&buf}, nil })
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		code, body := get(t, "http://"+addr+":8000/get")
		if code == 200 {
			t.Logf("first 200 after %s, try %d: %.300s", time.Since(start), i, body)
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("code %d: %s", code, body)
		}
	}
	if err := m.AwaitAccess(ctx, "httpbin-0", 1); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("access: %s", buf.String())
	for _, pod := range []string{"squall-load-0", "httpbin-0"} {
		s, err := mesh.Stats(ctx, m, pod)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d stats", pod, len(s))
		if os.Getenv("DUMP") != "" {
			b, _ := yaml.Marshal(s)
			_ = os.WriteFile("/tmp/stats-"+pod, b, 0o600)
			d, _ := mesh.ConfigDump(ctx, m, pod)
			_ = os.WriteFile("/tmp/config-"+pod, d, 0o600)
		}
	}
	b, err := m.Debug(ctx, "/debug/syncz")
	t.Logf("%s %v", b, err)
}

type nopCloser struct{ *bytes.Buffer }

func (b nopCloser) Line(l []byte) error { b.Write(l); return nil }
func (nopCloser) Close() error          { return nil }

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "httpbin:8000"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, fmt.Sprint(resp.Header, string(b))
}
