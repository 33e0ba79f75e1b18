//go:build kind

package kube_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"squall/internal/mesh"
	"squall/internal/mesh/kube"
	"squall/internal/record"
)

// The tests of this file need a cluster with Istio that has the images of httpbin and Fortio or can pull them:
//
//	SQUALL_KUBECONFIG=FILE go test -tags kind ./internal/mesh/kube

const fortio = `
apiVersion: v1
kind: Service
metadata: {name: fortio}
spec:
  selector: {app: fortio}
  ports: [{name: http, port: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: fortio}
spec:
  selector: {matchLabels: {app: fortio}}
  template:
    metadata: {labels: {app: fortio}}
    spec:
      containers:
      - name: fortio
        image: docker.io/fortio/fortio:latest_release
        imagePullPolicy: IfNotPresent
        args: [server]
        ports: [{containerPort: 8080}]
`

func config(t *testing.T) *rest.Config {
	t.Helper()
	path := os.Getenv("SQUALL_KUBECONFIG")
	if path == "" {
		t.Fatal("SQUALL_KUBECONFIG names no kubeconfig of a cluster: scripts/test-kind sets it")
	}
	c, err := mesh.Connect(path, "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cluster is a mesh that is up with a namespace of its own, and its objects.
func cluster(t *testing.T, namespace string) (*kube.Mesh, *mesh.Objects) {
	t.Helper()
	m, err := kube.New(kube.Options{Config: config(t), Name: "kind", Namespaces: []string{namespace}, RunID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("up after %s", time.Since(start))
	t.Cleanup(func() {
		if err := m.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	o, err := mesh.NewObjects(m.REST())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Apply(t.Context(), mesh.Namespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return m, o
}

func manifest(t *testing.T, namespace, text string) (out []*unstructured.Unstructured) {
	t.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatal(err)
		}
		u.SetNamespace(namespace)
		out = append(out, u)
	}
	return out
}

func apply(t *testing.T, o *mesh.Objects, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, u := range objects {
		if _, err := o.Apply(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
}

// deploy makes httpbin and Fortio with sidecars and returns their proxies when all is settled.
func deploy(t *testing.T, m *kube.Mesh, o *mesh.Objects, namespace string) []record.Proxy {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	httpbin, err := os.ReadFile("../../../fixtures/httpbin/httpbin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, o, m.Instruments([]string{namespace}))
	prepared := append(manifest(t, namespace, string(httpbin)), manifest(t, namespace, fortio)...)
	for _, u := range prepared {
		if err := m.Prepare(u); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	apply(t, o, prepared)
	if err := mesh.AwaitReady(ctx, o, namespace); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %s", time.Since(start))
	proxies, err := mesh.Proxies(ctx, o, "fortio", namespace)
	if err != nil {
		t.Fatal(err)
	}
	if err := mesh.AwaitEndpoints(ctx, m, o, proxies, namespace); err != nil {
		t.Fatal(err)
	}
	if err := mesh.AwaitSettled(ctx, m, proxies); err != nil {
		t.Fatal(err)
	}
	t.Logf("settled after %s: %d proxies", time.Since(start), len(proxies))
	return proxies
}

// remove deletes the namespace at the test's end, and waits until it is gone: while a namespace's Services go, what all proxies are
// configured with changes, and with it what the next test compares.
func remove(t *testing.T, o *mesh.Objects, namespace string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := kube.RemoveNamespace(ctx, o, namespace); err != nil {
			t.Error(err)
		}
	})
}

// entries keeps captured access logs by pod.
type entries struct {
	mu  sync.Mutex
	got map[string][]record.Access
	bad []string
}

type entryWriter struct {
	to  *entries
	pod string
}

func (e *entries) open(pod string) (mesh.LineWriter, error) { return entryWriter{e, pod}, nil }

func (w entryWriter) Line(b []byte) error {
	var a record.Access
	err := json.Unmarshal(b, &a)
	w.to.mu.Lock()
	defer w.to.mu.Unlock()
	if err != nil || a.RequestID == "" {
		w.to.bad = append(w.to.bad, fmt.Sprintf("%v: %.300s", err, b))
	}
	w.to.got[w.pod] = append(w.to.got[w.pod], a)
	return nil
}

func (entryWriter) Close() error { return nil }

// through is an HTTP client that goes to a port of a pod.
func through(m *kube.Mesh, namespace, pod string, port int) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return m.Dial(ctx, namespace, pod, port)
	}}}
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v: %.300s", url, resp.Status, err, b)
	}
	return string(b)
}

func podOf(t *testing.T, proxies []record.Proxy, app string) record.Proxy {
	t.Helper()
	i := slices.IndexFunc(proxies, func(p record.Proxy) bool { return p.Labels["app"] == app })
	if i < 0 {
		t.Fatalf("no proxy of %s among %v", app, proxies)
	}
	return proxies[i]
}

// logged is how many requests each proxy has finished, once its access log has as many.
func logged(t *testing.T, m *kube.Mesh, proxies []record.Proxy) map[string]int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out := map[string]int64{}
	for _, p := range proxies {
		s, err := mesh.Stats(ctx, m, p.Pod)
		if err != nil {
			t.Fatal(err)
		}
		out[p.Pod] = mesh.LoggedRequests(s)
		if err := m.AwaitAccess(ctx, p.Pod, out[p.Pod]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// measure sends n requests from Fortio to httpbin and compares the captured entries with the proxies' counters.
func measure(t *testing.T, m *kube.Mesh, proxies []record.Proxy, n int, path string) {
	t.Helper()
	before := logged(t, m, proxies)
	e := &entries{got: map[string][]record.Access{}}
	capture, err := m.CaptureAccess(e.open)
	if err != nil {
		t.Fatal(err)
	}
	from := podOf(t, proxies, "fortio")
	start := time.Now()
	answer := get(t, through(m, from.Namespace, from.Pod, 8080),
		fmt.Sprintf("http://fortio/fortio/rest/run?url=http://httpbin:8000%s&n=%d&qps=-1&c=4", path, n))
	loaded := time.Since(start)
	after := logged(t, m, proxies)
	t.Logf("load of %d took %s, its logs were there %s later", n, loaded, time.Since(start)-loaded)
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	var result struct{ RetCodes map[string]int64 }
	if err := json.Unmarshal([]byte(answer), &result); err != nil || result.RetCodes["200"] != int64(n) {
		t.Fatalf("Fortio: %v %v", result, err)
	}
	for _, p := range proxies {
		if got, want := int64(len(e.got[p.Pod])), after[p.Pod]-before[p.Pod]; got != want || want != int64(n) {
			t.Errorf("%s: %d entries captured, %d counted, %d sent", p.Pod, got, want, n)
		}
	}
	if len(e.bad) > 0 {
		t.Errorf("%d entries are not of Squall's format, the first: %s", len(e.bad), e.bad[0])
	}
	ids := map[string]int{}
	for _, a := range slices.Concat(slices.Collect(maps.Values(e.got))...) {
		ids[a.RequestID]++
	}
	if len(ids) != n {
		t.Errorf("%d request ids in both logs, want %d", len(ids), n)
	}
}

func TestCluster(t *testing.T) {
	const ns = "squall-kube-test"
	m, o := cluster(t, ns)
	remove(t, o, ns)
	proxies := deploy(t, m, o, ns)
	bin := podOf(t, proxies, "httpbin")

	config, err := mesh.ReadConfig(t.Context(), m, bin.Pod)
	if err != nil || len(config.Clusters) == 0 || len(config.Listeners) == 0 || len(config.Rejected) > 0 {
		t.Fatalf("configuration: %v %+v", err, config)
	}
	if body, err := m.Debug(t.Context(), "/debug/syncz"); err != nil || !strings.Contains(string(body), bin.Pod) {
		t.Fatalf("sync state: %v %s", err, body)
	}
	if got := get(t, through(m, ns, bin.Pod, 8080), "http://httpbin/get"); !strings.Contains(got, `"url"`) {
		t.Errorf("httpbin says %s", got)
	}
	c, err := m.Dial(t.Context(), ns, bin.Pod, 9)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "port 9") {
		t.Errorf("a closed port: %v", err)
	}
	measure(t, m, proxies, 200, "/get")
	measure(t, m, proxies, 3000, "/get")
	measure(t, m, proxies, 20, "/get?long="+strings.Repeat("x", 16500)) // longer than what a runtime writes as one line

	start := time.Now()
	usage, err := m.Usage(t.Context(), []string{bin.Pod})
	if u := usage[bin.Pod]; err != nil || u[record.App].CPU <= 0 || u[record.Sidecar].CPU <= 0 || u[record.Sidecar].Memory <= 0 {
		t.Errorf("usage: %v %v", usage, err)
	}
	t.Logf("usage after %s: %v", time.Since(start).Round(time.Millisecond), usage)
	t.Logf("versions: %v", m.Versions())
	if text, err := m.Logs(t.Context(), bin.Pod, 3); err != nil || text == "" {
		t.Errorf("log: %q %v", text, err)
	}
	select {
	case err := <-m.Failed():
		t.Errorf("the mesh failed: %v", err)
	default:
	}
	// A mesh that finds the pods there counts on from where their proxies are.
	again, _ := cluster(t, ns)
	measure(t, again, proxies, 100, "/get")
}
