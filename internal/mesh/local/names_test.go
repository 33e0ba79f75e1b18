package local_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/record"
)

// pythonCaller calls on to the URL in its query, as the program of a user who knows nothing of the mesh.
const pythonCaller = `
import http.server, os, urllib.error, urllib.parse, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)['url'][0]
        try:
            code, body = 200, urllib.request.urlopen(url).read()
        except Exception as e:
            code, body = 502, str(e).encode()
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer((os.environ['HOST'], int(os.environ['PORT'])), Handler).serve_forever()
`

// callersNamespace is where the programs live that call others by name.
const callersNamespace = "names"

func caller(name, container string) string {
	d := deployment(name, "ports: [{containerPort: 8080}]\n"+container, "")
	return "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: " + name + "}\n---\n" +
		strings.Replace(d, "      containers:", "      serviceAccountName: "+name+"\n      containers:", 1)
}

// callBy has the first pod of an app call a URL.
func (m *testMesh) callBy(t *testing.T, app, to string) (int, string) {
	t.Helper()
	p, err := m.o.Kube.CoreV1().Pods(callersNamespace).Get(t.Context(), m.pods(t, callersNamespace, app)[0], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	port := "8080"
	if p.Labels[mesh.TLSModeLabel] == "istio" {
		port = "18080"
	}
	return get(t, "http://"+net.JoinHostPort(p.Status.PodIP, port)+"/call?url="+url.QueryEscape(to), app)
}

// entries captures the access logs while do runs, until the pods have entries of the path.
func (m *testMesh) entries(t *testing.T, path string, pods []string, do func()) map[string]record.Access {
	t.Helper()
	logs := &writers{all: map[string]*bytes.Buffer{}}
	capture, err := m.CaptureAccess(logs.open)
	if err != nil {
		t.Fatal(err)
	}
	do()
	out := map[string]record.Access{}
	eventually(t, func() error {
		for _, pod := range pods {
			for line := range strings.Lines(logs.of(pod)) {
				var e record.Access
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				if e.Path == path {
					out[pod] = e
				}
			}
		}
		if len(out) != len(pods) {
			return fmt.Errorf("only %v have entries of %s", out, path)
		}
		return nil
	})
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestServicesCallEachOtherByName has programs of three resolvers call services, through the proxies of both ends.
func TestServicesCallEachOtherByName(t *testing.T) {
	python, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	m := up(t, func(o *local.Options) { o.Images["test/python"] = strings.TrimSpace(string(python)) })
	const ns = callersNamespace
	m.simple(t, ns)
	m.namespace(t, "other")
	m.apply(t, ns, caller("go", "image: test/app\nenv: [{name: "+modeEnv+", value: http}, {name: GODEBUG, value: netdns=go}]"),
		caller("cgo", "image: test/app\nenv: [{name: "+modeEnv+", value: http}, {name: GODEBUG, value: netdns=cgo}]"),
		caller("python", "image: test/python\nargs: [-c, "+strconv.Quote(pythonCaller)+"]"),
		"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: STRICT}}",
		strings.Replace(caller("plain", "image: test/app\nenv: [{name: "+modeEnv+", value: http}]"), "labels: {app: plain", `labels: {sidecar.istio.io/inject: "false", app: plain`, 1))
	m.ready(t, ns)
	for _, app := range []string{"go", "cgo", "python"} {
		t.Run(app, func(t *testing.T) {
			for _, host := range []string{"httpbin", "httpbin.names", "httpbin.names.svc", "httpbin.names.svc.cluster.local"} {
				eventually(t, func() error { // the proxy is ready a little before it knows all endpoints
					if code, body := m.callBy(t, app, "http://"+host+":8000/get"); code != 200 {
						return fmt.Errorf("%s: %d %s", host, code, body)
					}
					return nil
				})
			}
			path, own, far := "/anything/"+app, m.pods(t, ns, app)[0], m.pods(t, ns, "httpbin")[0]
			got := m.entries(t, path, []string{own, far}, func() {
				if code, body := m.callBy(t, app, "http://httpbin:8000"+path); code != 200 {
					t.Fatalf("%d %s", code, body)
				}
			})
			if want := "spiffe://cluster.local/ns/names/sa/" + app; got[far].Principal != want || got[own].RequestID != got[far].RequestID {
				t.Errorf("entries of the caller and the service: %+v, want the principal %s and one request", got, want)
			}
		})
	}
	t.Run("a service that comes and goes", func(t *testing.T) {
		m.apply(t, "other", strings.ReplaceAll(httpbin("", ""), "name: httpbin", "name: later"))
		m.apply(t, "other", strings.ReplaceAll(service("httpbin", "http"), "name: httpbin", "name: later"))
		m.ready(t, "other")
		answer := func(to string, want int, text string) {
			t.Helper()
			eventually(t, func() error {
				if code, body := m.callBy(t, "python", to); code != want || !strings.Contains(body, text) {
					return fmt.Errorf("%d %s", code, body)
				}
				return nil
			})
		}
		answer("http://later.other:8000/get", 200, "later.other:8000")
		if err := m.o.Delete(t.Context(), mesh.Ref{APIVersion: "v1", Kind: "Service", Namespace: "other", Name: "later"}); err != nil {
			t.Fatal(err)
		}
		answer("http://later.other:8000/get", 502, "")
		answer("http://httpbin:8000/get", 200, "")
	})
	t.Run("without a proxy", func(t *testing.T) {
		code, body := m.callBy(t, "plain", "http://httpbin:8000/get")
		if code != 502 || !strings.Contains(body, "EOF") && !strings.Contains(body, "reset") {
			t.Errorf("%d %s, want a connection that httpbin's proxy ends", code, body)
		}
	})
	if after, err := os.ReadFile("/etc/hosts"); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the machine's own names are now %q, %v", after, err)
	}
}
