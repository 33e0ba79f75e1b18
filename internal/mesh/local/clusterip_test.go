package local_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// plainApp is test/app in a mode, without a sidecar, and its Service at port 8000.
func plainApp(name, mode string) string {
	d := deployment(name, "image: test/app\nports: [{containerPort: 8080}]\nenv: [{name: "+modeEnv+", value: "+mode+"}]", "")
	return strings.Replace(d, "labels: {app: "+name+", version", `labels: {sidecar.istio.io/inject: "false", app: `+name+", version", 1) +
		"\n---\n" + service(name, "http")
}

// TestPodWithoutSidecarCallsServices has a program without a sidecar call by name, as kube-proxy lets it on a cluster.
func TestPodWithoutSidecarCallsServices(t *testing.T) {
	t.Parallel()
	m := up(t, nil)
	const ns = "plain"
	m.namespace(t, ns)
	m.apply(t, ns, plainApp("caller", "http"), httpbin("", "replicas: 2"))
	m.ready(t, ns)
	call := func(target string) (int, string) {
		return m.call(t, ns, "caller", "/call?url="+url.QueryEscape(target))
	}
	eventually(t, func() error {
		if code, body := call("http://httpbin:8000/get"); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	reaches := func(want ...string) {
		t.Helper()
		eventually(t, func() error {
			got := map[string]bool{}
			for range 20 {
				code, body := call("http://httpbin." + ns + ".svc.cluster.local:8000/env")
				if code != http.StatusOK {
					return fmt.Errorf("%d %s", code, body)
				}
				for _, p := range m.pods(t, ns, "httpbin") {
					if strings.Contains(body, p) {
						got[p] = true
					}
				}
			}
			if len(got) != len(want) || slices.ContainsFunc(want, func(p string) bool { return !got[p] }) {
				return fmt.Errorf("reached %v, want %v", got, want)
			}
			return nil
		})
	}
	reaches("httpbin-0", "httpbin-1")
	m.apply(t, ns, httpbin("", "replicas: 1"))
	reaches("httpbin-0")

	t.Log("as on a cluster, who has no certificate is refused where mTLS is strict")
	m.apply(t, ns, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: STRICT}}")
	eventually(t, func() error {
		if code, body := call("http://httpbin:8000/get"); code != http.StatusBadGateway || !strings.Contains(body, "EOF") && !strings.Contains(body, "reset") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	t.Log("and a service without endpoints refuses")
	m.apply(t, ns, httpbin("", "replicas: 0"))
	eventually(t, func() error {
		if code, body := call("http://httpbin:8000/get"); code != http.StatusBadGateway || !strings.Contains(body, "refused") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
}
