package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
)

// TestWorkloads runs on one mesh; each test has a namespace of its own.
func TestWorkloads(t *testing.T) {
	m := up(t, nil)
	for _, c := range []struct {
		name string
		test func(*testing.T, *testMesh, string)
	}{
		{"replicas", testReplicas}, {"rollout", testRollout}, {"badrollout", testBadRollout}, {"recreate", testRecreate}, {"delete", testDelete}, {"deletepod", testDeletePod}, {"environment", testEnvironment}, {"command", testCommand},
		{"secondnamespace", testSecondNamespace}, {"readiness", testReadinessChanges}, {"tcp", testTCP}, {"late", testLateReferences},
		{"failures", testFailures},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.namespace(t, c.name)
			c.test(t, m, c.name)
			select {
			case err := <-m.Failed():
				t.Errorf("the mesh failed: %v", err)
			default:
			}
		})
	}
}

// reached calls httpbin until the pods that answered are as many as wanted, and returns their names.
func reached(t *testing.T, m *testMesh, ns string, want int) []string {
	t.Helper()
	seen := map[string]bool{}
	eventually(t, func() error {
		code, body := m.call(t, ns, "httpbin", "/env")
		if code != 200 {
			return fmt.Errorf("httpbin answers %d: %s", code, body)
		}
		var answer struct {
			Env map[string]string `json:"env"`
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		seen[answer.Env["HTTPBIN_ENV_POD"]] = true
		if len(seen) < want {
			return fmt.Errorf("only %v answered", seen)
		}
		return nil
	})
	var out []string
	for name := range seen {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func testReplicas(t *testing.T, m *testMesh, ns string) {
	m.apply(t, ns, httpbin("", "replicas: 2"))
	m.ready(t, ns)
	if got, want := reached(t, m, ns, 2), m.pods(t, ns, "httpbin"); !slices.Equal(got, want) {
		t.Errorf("answered: %v, pods: %v", got, want)
	}
	for _, n := range []int{3, 1, 0, 1} {
		m.apply(t, ns, httpbin("", fmt.Sprintf("replicas: %d", n)))
		m.ready(t, ns)
		pods := m.pods(t, ns, "httpbin")
		if len(pods) != n {
			t.Fatalf("pods at %d replicas: %v", n, pods)
		}
		if n == 0 {
			m.answers(t, ns, "httpbin", "/get", 503)
		} else if got := reached(t, m, ns, n); !slices.Equal(got, pods) {
			t.Errorf("answered: %v, pods: %v", got, pods)
		}
	}
}

// callers call httpbin without a pause until stop is called, which returns how many calls there were and what was not 200.
func callers(t *testing.T, m *testMesh, ns string) (stop func() (int, []string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	calls, failed := 0, []string{}
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				code, body := m.call(t, ns, "httpbin", "/get")
				mu.Lock()
				calls++
				if code != 200 {
					failed = append(failed, fmt.Sprintf("%d %s", code, body))
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, []string) {
		cancel()
		wg.Wait()
		return calls, failed
	}
}

func testRollout(t *testing.T, m *testMesh, ns string) {
	m.apply(t, ns, httpbin("", "replicas: 2"))
	m.ready(t, ns)
	m.answers(t, ns, "httpbin", "/get", 200)
	before := reached(t, m, ns, 2)
	stop := callers(t, m, ns)
	m.apply(t, ns, strings.Replace(httpbin("", "replicas: 2"), "version: v1", "version: v2", 1))
	m.ready(t, ns)
	after := m.pods(t, ns, "httpbin")
	got := reached(t, m, ns, 2)
	m.apply(t, ns, strings.Replace(httpbin("", "replicas: 1"), "version: v1", "version: v2", 1))
	m.ready(t, ns)
	calls, failed := stop()
	if len(failed) > 0 || calls == 0 {
		t.Errorf("%d of %d calls failed during the rollout: %v", len(failed), calls, failed)
	}
	if !slices.Equal(after, got) || slices.ContainsFunc(after, func(p string) bool { return slices.Contains(before, p) }) {
		t.Errorf("before %v, after %v, answered %v", before, after, got)
	}
}

func testBadRollout(t *testing.T, m *testMesh, ns string) {
	m.apply(t, ns, httpbin("", ""))
	m.ready(t, ns)
	good := reached(t, m, ns, 1)
	m.apply(t, ns, strings.Replace(httpbin("args: [-nonsense]", ""), "version: v1", "version: v2", 1))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := mesh.AwaitReady(ctx, m.o, ns); err == nil || !strings.Contains(err.Error(), "died: exit status 2") {
		t.Errorf("ready: %v", err)
	}
	if got := reached(t, m, ns, 1); !slices.Equal(got, good) {
		t.Errorf("%v answers instead of %v", got, good)
	}
	m.apply(t, ns, httpbin("", ""))
	eventually(t, func() error { return mesh.AwaitReady(ctx, m.o, ns) })
	if got := m.pods(t, ns, "httpbin"); !slices.Equal(got, good) {
		t.Errorf("pods %v instead of %v", got, good)
	}
}

func testRecreate(t *testing.T, m *testMesh, ns string) {
	manifest := httpbin("", "strategy: {type: Recreate}")
	m.apply(t, ns, manifest)
	m.ready(t, ns)
	before := m.pods(t, ns, "httpbin")
	m.apply(t, ns, strings.Replace(manifest, "version: v1", "version: v2", 1))
	m.ready(t, ns)
	if got := reached(t, m, ns, 1); slices.Equal(before, got) {
		t.Errorf("still %v", got)
	}
}

func testDelete(t *testing.T, m *testMesh, ns string) {
	m.apply(t, ns, httpbin("", ""))
	m.ready(t, ns)
	pod := m.pods(t, ns, "httpbin")[0]
	if len(children(t, os.Getpid(), pod)) == 0 {
		t.Fatalf("no process of %s", pod)
	}
	if err := m.o.Delete(t.Context(), mesh.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: ns, Name: "httpbin"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		_, err := m.o.Kube.CoreV1().Pods(ns).Get(t.Context(), pod, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("pod %s is there: %w", pod, err)
		}
		return nil
	})
	if left := children(t, os.Getpid(), pod); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	m.answers(t, ns, "httpbin", "/get", 503)
}

func testDeletePod(t *testing.T, m *testMesh, ns string) {
	m.apply(t, ns, httpbin("", ""))
	m.ready(t, ns)
	pod := reached(t, m, ns, 1)[0]
	if err := m.o.Delete(t.Context(), mesh.Ref{APIVersion: "v1", Kind: "Pod", Namespace: ns, Name: pod}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if pods := m.pods(t, ns, "httpbin"); len(pods) != 1 || pods[0] == pod {
			return fmt.Errorf("pods %v", pods)
		}
		return nil
	})
	if left := children(t, os.Getpid(), pod+" "); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	m.answers(t, ns, "httpbin", "/get", 200)
}

func testEnvironment(t *testing.T, m *testMesh, ns string) {
	m.apply(t, ns, `apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {COLOUR: blue, SIZE: "3"}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {KEY: hidden}
`, deployment("app", `image: test/app
args: [$(GREETING), $$(GREETING), $(NOBODY), "--port=$(PORT_8080)"]
ports: [{containerPort: 8080}]
envFrom: [{configMapRef: {name: c}, prefix: C_}, {configMapRef: {name: absent, optional: true}}]
env:
- {name: `+modeEnv+`, value: http}
- {name: GREETING, value: "hello $(C_COLOUR)"}
- {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: KEY}}}
- {name: ONE, valueFrom: {configMapKeyRef: {name: c, key: SIZE}}}
- {name: NONE, valueFrom: {configMapKeyRef: {name: c, key: absent, optional: true}}}
- {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}`, ""), service("app", "http"))
	m.ready(t, ns)
	m.answers(t, ns, "app", "/args", 200)
	_, body := m.call(t, ns, "app", "/args")
	var got struct{ Args, Env []string }
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if want := []string{"hello blue", "$(GREETING)", "$(NOBODY)", "--port=$(PORT_8080)"}; !slices.Equal(got.Args, want) {
		t.Errorf("args %q, want %q", got.Args, want)
	}
	for _, want := range []string{"C_COLOUR=blue", "C_SIZE=3", "GREETING=hello blue", "SECRET=hidden", "ONE=3", "POD=app-0", "APP=app", "PORT=18080"} {
		if !slices.Contains(got.Env, want) {
			t.Errorf("no %s in %q", want, got.Env)
		}
	}
	if slices.ContainsFunc(got.Env, func(kv string) bool { return strings.HasPrefix(kv, "NONE=") }) {
		t.Error("NONE is set")
	}
}

func testSecondNamespace(t *testing.T, m *testMesh, ns string) {
	other := ns + "-b"
	m.namespace(t, other)
	for _, n := range []string{ns, other} {
		m.apply(t, n, httpbin("", ""))
	}
	for _, n := range []string{ns, other} {
		m.ready(t, n)
		if got, want := reached(t, m, n, 1), m.pods(t, n, "httpbin"); !slices.Equal(got, want) {
			t.Errorf("%s: answered %v, pods %v", n, got, want)
		}
	}
}

func testReadinessChanges(t *testing.T, m *testMesh, ns string) {
	m.apply(t, ns, deployment("app", `image: test/app
env: [{name: `+modeEnv+`, value: http}]
ports: [{containerPort: 8080, name: http}]
readinessProbe: {httpGet: {path: ready, port: http}, periodSeconds: 1, failureThreshold: 1}`, ""), service("app", "http"))
	m.ready(t, ns)
	m.answers(t, ns, "app", "/toggle", 200)
	m.answers(t, ns, "app", "/get", 503) // no healthy upstream
	eventually(t, func() error {         // the status follows the endpoints
		d, err := m.o.Kube.AppsV1().Deployments(ns).Get(t.Context(), "app", metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas != 0 {
			err = fmt.Errorf("%d pods are ready", d.Status.ReadyReplicas)
		}
		return err
	})
	p, err := m.o.Kube.CoreV1().Pods(ns).Get(t.Context(), m.pods(t, ns, "app")[0], metav1.GetOptions{})
	if err != nil || !strings.Contains(p.Status.Conditions[0].Message, "503 Service Unavailable") {
		t.Errorf("pod says %+v %v", p.Status.Conditions, err)
	}
	if code, body := get(t, "http://"+net.JoinHostPort(p.Status.PodIP, "18080")+"/toggle", "app"); code != 200 {
		t.Fatal(code, body)
	}
	m.answers(t, ns, "app", "/ready", 200)
}

func testTCP(t *testing.T, m *testMesh, ns string) {
	m.apply(t, ns, deployment("echo", `image: test/app
env: [{name: `+modeEnv+`, value: tcp}]
ports: [{containerPort: 8080}]
readinessProbe: {tcpSocket: {port: 8080}}`, ""), strings.ReplaceAll(service("echo", "tcp"), "port: 8000", "port: 8001"))
	m.ready(t, ns)
	address, err := m.CallAddress(m.pods(t, ns, "load-"+ns)[0])
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return echo(t.Context(), net.JoinHostPort(address, "8001")) })
}

func echo(ctx context.Context, address string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "not HTTP\n"); err != nil {
		return err
	}
	got := make([]byte, 9)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != "not HTTP\n" {
		return errors.New(string(got))
	}
	return nil
}

func testLateReferences(t *testing.T, m *testMesh, ns string) {
	manifest := httpbin("envFrom: [{configMapRef: {name: later}}]", "")
	m.apply(t, ns, strings.Replace(manifest, "      containers:", "      serviceAccountName: later\n      containers:", 1))
	m.apply(t, ns, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: later}", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later}")
	m.ready(t, ns)
	reached(t, m, ns, 1)
}

func testFailures(t *testing.T, m *testMesh, ns string) {
	const app = "image: test/app\nports: [{containerPort: 8080}]\n"
	for _, c := range []struct {
		name, manifest string
		within         time.Duration
		want           []string
	}{
		{"image", deployment("x", "image: nosuch/image:1", ""), patience, []string{"no program stands for the image nosuch/image:1", "--image nosuch/image=PROGRAM"}},
		{"field", deployment("x", app+"startupProbe: {tcpSocket: {port: 8080}}", ""), patience, []string{"spec.template.spec.containers[0].startupProbe"}},
		{"account", strings.Replace(deployment("x", app, ""), "      containers:", "      serviceAccountName: nobody\n      containers:", 1), patience,
			[]string{"service account nobody is not there"}},
		{"configmap", deployment("x", app+"envFrom: [{configMapRef: {name: absent}}]", ""), patience, []string{"config map absent is not there"}},
		{"exits", deployment("x", app+"env: [{name: "+modeEnv+", value: nonsense}]", "replicas: 2"), patience,
			[]string{"x of x-", "died: exit status 1", "unknown mode nonsense"}},
		{"probe", deployment("x", "image: mccutchen/go-httpbin\nports: [{containerPort: 8080}]\nreadinessProbe: {httpGet: {path: /status/418, port: 8080}}", ""), 700 * time.Millisecond,
			[]string{"x of x-", "/status/418 answers 418", "the end of its log", "uri=/status/418"}},
		{"closed", deployment("x", "image: mccutchen/go-httpbin\nports: [{containerPort: 8080}, {containerPort: 8081}]", ""), 700 * time.Millisecond,
			[]string{"x of x-", ":18081: connect: connection refused"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.apply(t, ns, c.manifest)
			ctx, cancel := context.WithTimeout(t.Context(), c.within)
			defer cancel()
			err := mesh.AwaitReady(ctx, m.o, ns)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want …%s…", err, want)
				}
			}
			if err := m.o.Delete(t.Context(), mesh.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: ns, Name: "x"}); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error {
				if pods := m.pods(t, ns, "x"); len(pods) > 0 {
					return fmt.Errorf("pods %v", pods)
				}
				return nil
			})
		})
	}
}
