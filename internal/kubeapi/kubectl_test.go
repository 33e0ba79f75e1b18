package kubeapi

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kubectl is the real kubectl with the API's kubeconfig.
type kubectl struct {
	t    *testing.T
	path string
	env  []string
}

func newKubectl(t *testing.T, a *api) *kubectl {
	t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatalf("kubectl is missing: install it (https://kubernetes.io/docs/tasks/tools/, or apt-get install kubernetes-client) and put it in PATH: %v", err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(config, a.server.Kubeconfig(a.url, ""), 0o600); err != nil {
		t.Fatal(err)
	}
	return &kubectl{t: t, path: path, env: append(os.Environ(), "KUBECONFIG="+config, "HOME="+dir)}
}

func (k *kubectl) command(ctx context.Context, stdin string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, k.path, args...)
	cmd.Env, cmd.Stdin = k.env, strings.NewReader(stdin)
	return cmd
}

// run runs kubectl and returns what it says, on both streams.
func (k *kubectl) run(stdin string, args ...string) (string, error) {
	k.t.Helper()
	out, err := k.command(k.t.Context(), stdin, args...).CombinedOutput()
	return string(out), err
}

// ok runs a kubectl that has to succeed and to say some words.
func (k *kubectl) ok(stdin, words string, args ...string) string {
	k.t.Helper()
	out, err := k.run(stdin, args...)
	if err != nil || !strings.Contains(out, words) {
		k.t.Errorf("kubectl %s: %v, want %q in\n%s", strings.Join(args, " "), err, words, out)
	}
	return out
}

// fails runs a kubectl that has to fail and to say why.
func (k *kubectl) fails(stdin, words string, args ...string) {
	k.t.Helper()
	out, err := k.run(stdin, args...)
	if err == nil || !strings.Contains(out, words) {
		k.t.Errorf("kubectl %s: %v, want a failure with %q in\n%s", strings.Join(args, " "), err, words, out)
	}
}

const shop = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web:1, ports: [{containerPort: 8080}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{route: [{destination: {host: web}, weight: 100}]}]}
`

func TestKubectlManifest(t *testing.T) {
	k := newKubectl(t, start(t, Options{}))
	k.ok(shop, "virtualservice.networking.istio.io/web created", "apply", "-f", "-")
	k.ok(shop, "virtualservice.networking.istio.io/web unchanged", "apply", "-f", "-")
	k.ok(shop, "", "diff", "-f", "-")
	changed := strings.Replace(shop, "replicas: 2", "replicas: 3", 1)
	k.ok(changed, "deployment.apps/web configured", "apply", "-f", "-")
	k.ok("", "3", "get", "-n", "shop", "deploy", "web", "-o", "jsonpath={.spec.replicas}")
	k.fails(strings.Replace(shop, "weight", "wieght", 1), `unknown field "spec.http[0].route[0].wieght"`, "apply", "-f", "-")
	k.fails(strings.Replace(shop, "replicas", "replicate", 1), `unknown field "spec.replicate"`, "apply", "-f", "-")
	k.fails(strings.Replace(changed, "replicas: 3", "replicas: 4", 1), `conflict with "kubectl-client-side-apply"`,
		"apply", "--server-side", "--field-manager=other", "-f", "-")
	k.ok(changed, "serverside-applied", "apply", "--server-side", "-f", "-")
	k.ok("", "configured", "apply", "-f", writeFile(t, strings.Replace(changed, "web:1", "web:2", 1)))
	k.ok(shop, `namespace "shop" deleted`, "delete", "--ignore-not-found", "-f", "-")
	k.fails("", "not found", "get", "ns", "shop")
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKubectlVerbs(t *testing.T) {
	k := newKubectl(t, start(t, Options{}))
	k.ok(shop, "", "apply", "-f", "-")
	n := []string{"-n", "shop"}
	in := func(args ...string) []string { return append(args, n...) }
	k.ok("", "labeled", in("label", "vs", "web", "a=b")...)
	k.ok("", "annotated", in("annotate", "vs", "web", "a=b")...)
	k.ok("", "web", in("get", "vs", "-l", "a=b")...)
	k.ok("", "No resources", in("get", "vs", "-l", "a!=b")...)
	k.ok("", "patched", in("patch", "vs", "web", "--type=merge", "-p", `{"spec":{"hosts":["a"]}}`)...)
	k.ok("", "patched", in("patch", "vs", "web", "--type=json", "-p", `[{"op":"add","path":"/spec/hosts/-","value":"b"}]`)...)
	k.ok("", "patched", in("patch", "deploy", "web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:9"}]}}}}`)...)
	k.ok("", "scaled", in("scale", "deploy", "web", "--replicas=7")...)
	k.ok("", "7 web:9", in("get", "deploy", "web", "-o", "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}")...)
	k.ok("", "Hosts:", in("describe", "vs", "web")...)
	k.ok("", "Replicas:", in("describe", "deploy", "web")...)
	k.ok("", "TargetPort:", in("describe", "svc", "web")...)
	k.ok("", "created", in("create", "configmap", "c", "--from-literal=a=b")...)
	k.ok("", "created", in("create", "deployment", "d", "--image=i", "--port=80")...)
	k.ok("", "exposed", in("expose", "deployment", "d")...)
	k.fails("", "already exists", in("create", "configmap", "c")...)
	k.ok("", "deleted", in("delete", "configmap", "c")...)
	k.ok("", "deleted", in("delete", "deploy", "--all")...)
	k.ok("", "condition met", "wait", "--for=condition=established", "crd/virtualservices.networking.istio.io", "--timeout=5s")
	k.ok("", "virtualservices", "api-resources", "--api-group=networking.istio.io")
	k.ok("", "networking.istio.io/v1beta1", "api-versions")
	k.ok("", "abort the Http request", "explain", "vs.spec.http.fault.abort.httpStatus", "--output=plaintext")
	k.ok("", "yes", "auth", "can-i", "create", "pods")
	k.ok("", "Server Version: v1.37", "version")
	k.fails("", "the server doesn't have a resource type", "get", "gadgets")

	object := k.ok("", "", in("get", "vs", "web", "-o", "yaml")...)
	k.ok(object, "replaced", "replace", "-f", "-")
	k.ok("", "labeled", in("label", "vs", "web", "c=d")...)
	k.fails(strings.Replace(object, "- a", "- other", 1), "the object has been modified", "replace", "-f", "-")
}

func TestKubectlTables(t *testing.T) {
	a := start(t, Options{Clock: func() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) }})
	k := newKubectl(t, a)
	k.ok(shop, "", "apply", "-f", "-")
	a.must("POST", "/api/v1/nodes", "", `{"metadata":{"name":"laptop"},"status":{"conditions":[{"type":"Ready","status":"True"}],"nodeInfo":{"kubeletVersion":"v1"}}}`)
	const inShop = "/api/v1/namespaces/shop/"
	a.must("POST", inShop+"pods", "", pod("web-0", "web", "laptop"))
	a.must("POST", inShop+"pods", "", pod("web-1", "web", ""))
	a.must("PATCH", inShop+"pods/web-0/status", "application/merge-patch+json", `{"status":{"phase":"Running","podIP":"127.0.0.9","containerStatuses":[{"name":"c","ready":true,"restartCount":2,"state":{},"image":"i","imageID":"i","lastState":{"terminated":{"exitCode":1,"finishedAt":"2030-01-02T03:00:00Z"}}}]}}`)
	a.must("PATCH", inShop+"pods/web-1/status", "application/merge-patch+json", `{"status":{"containerStatuses":[{"name":"c","ready":false,"restartCount":0,"image":"i","imageID":"i","state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}`)
	a.must("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web/status", "application/merge-patch+json", `{"status":{"replicas":2,"readyReplicas":1,"updatedReplicas":2,"availableReplicas":1}}`)
	a.must("POST", "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", "", `{"metadata":{"name":"web-1"},"addressType":"IPv4","ports":[{"port":8080}],"endpoints":[{"addresses":["127.0.0.9"]}]}`)
	a.must("POST", inShop+"events", "", `{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","name":"web-1"},"type":"Warning","reason":"BackOff","message":"back-off","lastTimestamp":"2030-01-02T03:03:05Z"}`)
	var b bytes.Buffer
	for _, what := range []string{"ns", "nodes", "pods", "deploy", "svc", "endpointslices", "events", "cm,secrets,sa", "vs,dr,se,pa", "crd"} {
		b.WriteString("$ kubectl get " + what + "\n")
		b.WriteString(k.ok("", "", "get", "-n", "shop", what, "-o", "wide"))
	}
	golden := "testdata/kubectl-get.txt"
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("kubectl get differs from %s (write it again with -update):\n%s", golden, got)
	}
}

func TestKubectlWatch(t *testing.T) {
	a := start(t, Options{})
	k := newKubectl(t, a)
	k.ok(shop, "", "apply", "-f", "-")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := k.command(ctx, "", "get", "-n", "shop", "vs", "-w", "--output-watch-events")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const path = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/web"
	until(t, out, "ADDED")
	a.must("PATCH", path, "application/merge-patch+json", `{"spec":{"hosts":["other"]}}`)
	until(t, out, `MODIFIED   web               ["other"]`)
	a.must("DELETE", path, "", "")
	until(t, out, "DELETED")
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("kubectl ended by itself")
	}
}

// until reads until some words have come.
func until(t *testing.T, r io.Reader, words string) {
	t.Helper()
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), words) {
		n, err := r.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v before %q in\n%s", err, words, got.String())
		}
	}
}
