package local_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/record"
)

// TestMutualTLS calls a service behind a sidecar from a pod with one and from a pod without one.
func TestMutualTLS(t *testing.T) {
	m := up(t, nil)
	const ns = "tls"
	m.namespace(t, ns)
	m.apply(t, ns, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: server}",
		strings.Replace(httpbin("", ""), "      containers:", "      serviceAccountName: server\n      containers:", 1),
		strings.Replace(deployment("plain", "image: mccutchen/go-httpbin\nports: [{containerPort: 8080}]", ""),
			"labels: {app: plain", `labels: {sidecar.istio.io/inject: "false", app: plain`, 1),
		strings.ReplaceAll(service("plain", "http"), "port: 8000", "port: 8001"))
	m.ready(t, ns)
	server, err := m.o.Kube.CoreV1().Pods(ns).Get(t.Context(), m.pods(t, ns, "httpbin")[0], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	direct := "http://" + server.Status.PodIP + ":8080/get"
	if _, err := m.Admin(t.Context(), m.pods(t, ns, "plain")[0], "GET", "/ready"); err == nil {
		t.Error("the pod without a sidecar has one")
	}
	for _, c := range []struct {
		mode      string
		plain     int // what a caller without a sidecar gets
		principal string
	}{
		{"PERMISSIVE", 200, "spiffe://cluster.local/ns/tls/sa/default"},
		{"STRICT", 0, "spiffe://cluster.local/ns/tls/sa/default"},
		{"DISABLE", 200, ""},
	} {
		t.Run(c.mode, func(t *testing.T) {
			m.apply(t, ns, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: "+c.mode+"}}")
			eventually(t, func() error {
				if code, body := get(t, direct, "httpbin:8000"); code != c.plain {
					return fmt.Errorf("without a sidecar: %d %s", code, body)
				}
				return nil
			})
			m.answers(t, ns, "httpbin", "/get", 200)
			eventually(t, func() error {
				if got := m.principal(t, ns, server.Name); got != c.principal {
					return fmt.Errorf("principal %q, want %q", got, c.principal)
				}
				return nil
			})
		})
	}
	t.Run("to a pod without a sidecar", func(t *testing.T) {
		address, err := m.CallAddress(m.pods(t, ns, "load-"+ns)[0])
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if code, body := get(t, "http://"+address+":8001/get", "plain:8001"); code != 200 {
				return fmt.Errorf("%d %s", code, body)
			}
			return nil
		})
	})
}

// principal makes one call through the mesh and returns the caller's identity in the access log of the pod called.
func (m *testMesh) principal(t *testing.T, ns, pod string) string {
	t.Helper()
	logs := &writers{all: map[string]*bytes.Buffer{}}
	capture, err := m.CaptureAccess(logs.open)
	if err != nil {
		t.Fatal(err)
	}
	if code, body := m.call(t, ns, "httpbin", "/get"); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	eventually(t, func() error {
		if !strings.Contains(logs.of(pod), `"method":"GET"`) {
			return fmt.Errorf("no entry of %s", pod)
		}
		return nil
	})
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	var entry record.Access
	for line := range strings.Lines(logs.of(pod)) {
		if !strings.Contains(line, `"method":"GET"`) {
			continue // a connection that was refused
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
	}
	return entry.Principal
}

// writers keep what a capture writes.
type writers struct {
	mu  sync.Mutex
	all map[string]*bytes.Buffer
}

func (w *writers) open(pod string) (mesh.LineWriter, error) { return &writer{w, pod}, nil }

func (w *writers) of(pod string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.all[pod]; b != nil {
		return b.String()
	}
	return ""
}

type writer struct {
	*writers
	pod string
}

func (w *writer) Line(entry []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all[w.pod] == nil {
		w.all[w.pod] = &bytes.Buffer{}
	}
	w.all[w.pod].WriteString(strings.TrimSpace(string(entry)) + "\n")
	return nil
}

func (*writer) Close() error { return nil }

// TestCertificatesAreRenewedUnderTraffic makes a new connection for each call, over several lifetimes of the certificates.
func TestCertificatesAreRenewedUnderTraffic(t *testing.T) {
	const ttl = 4 * time.Second // a certificate's times are whole seconds
	m := up(t, func(o *local.Options) { o.CertTTL = ttl })
	const ns = "renewal"
	m.namespace(t, ns)
	m.apply(t, ns, httpbin("", ""),
		"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: STRICT}}",
		"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: httpbin}\n"+
			"spec: {host: httpbin, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}")
	m.ready(t, ns)
	m.answers(t, ns, "httpbin", "/get", 200)
	pod := m.pods(t, ns, "httpbin")[0]
	before, err := mesh.Stats(t.Context(), m, pod)
	if err != nil {
		t.Fatal(err)
	}
	stop := callers(t, m, ns)
	timer := time.NewTimer(ttl + ttl/2)
	defer timer.Stop()
	select {
	case <-timer.C:
	case err := <-m.Failed():
		t.Error(err)
	}
	calls, failed := stop()
	if len(failed) > 0 || calls < 20 {
		t.Errorf("%d of %d calls failed: %v", len(failed), calls, failed)
	}
	after, err := mesh.Stats(t.Context(), m, pod)
	if err != nil {
		t.Fatal(err)
	}
	handshakes := int64(0)
	for name, n := range after {
		if strings.HasPrefix(name, "listener.") && strings.HasSuffix(name, ".ssl.handshake") {
			handshakes += n - before[name]
		}
	}
	if handshakes < int64(calls) {
		t.Errorf("%d handshakes for %d calls", handshakes, calls)
	}
}
