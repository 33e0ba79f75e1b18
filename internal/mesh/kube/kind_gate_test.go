//go:build kind

package kube_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

// TestChangesSettle expects changes to be at all proxies soon, those too that replace listeners.
func TestChangesSettle(t *testing.T) {
	const ns = "squall-kube-gate"
	m, o := cluster(t, ns)
	remove(t, o, ns)
	proxies := deploy(t, m, o, ns)
	before, err := mesh.Configs(t.Context(), m, proxies)
	if err != nil {
		t.Fatal(err)
	}
	route := `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin]
  http:
  - name: squall-gate-mark
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: httpbin}}]`
	policy := `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: [/nothing]}}]}]`
	for name, text := range map[string]string{"route": route, "policy": policy} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		u := manifest(t, ns, text)[0]
		start := time.Now()
		stored, err := o.Apply(ctx, u)
		if err != nil {
			t.Fatal(err)
		}
		applied := time.Since(start)
		if name == "route" {
			live, err := mesh.AwaitLive(ctx, m, proxies, []mesh.Mark{{Kind: mesh.MarkRoute, Name: "squall-gate-mark"}}, start)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("live: %v", live)
		} else {
			if err := mesh.AwaitSeen(ctx, m, []*unstructured.Unstructured{stored}); err != nil {
				t.Fatal(err)
			}
			if err := mesh.AwaitSettled(ctx, m, proxies); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: applied after %s, settled after %s", name, applied, time.Since(start))
		start = time.Now()
		if err := o.Delete(ctx, mesh.RefOf(stored)); err != nil {
			t.Fatal(err)
		}
		if err := mesh.AwaitConfigs(ctx, m, proxies, before); err != nil {
			t.Fatal(err)
		}
		if err := mesh.AwaitSettled(ctx, m, proxies); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: back after %s", name, time.Since(start))
	}
}

// TestStatsThatAreDropped expects to hear that an unprepared proxy has no counters.
func TestStatsThatAreDropped(t *testing.T) {
	const ns = "squall-kube-stats"
	m, o := cluster(t, ns)
	remove(t, o, ns)
	apply(t, o, manifest(t, ns, fortio))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := mesh.AwaitReady(ctx, o, ns); err != nil {
		t.Fatal(err)
	}
	proxies, err := mesh.Proxies(ctx, o, "", ns)
	if err != nil || len(proxies) != 1 {
		t.Fatal(proxies, err)
	}
	if err := m.AwaitAccess(ctx, proxies[0].Pod, 0); err == nil || !strings.Contains(err.Error(), "drops stats that Squall reads") {
		t.Errorf("an unprepared proxy: %v", err)
	}
}
