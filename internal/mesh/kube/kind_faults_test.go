//go:build kind

package kube_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"squall/internal/mesh"
	"squall/internal/mesh/kube"
)

func failedWithin(m *kube.Mesh, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case err := <-m.Failed():
		return err
	case <-t.C:
		return nil
	}
}

func deployment(t *testing.T, namespace, name, pod string) *unstructured.Unstructured {
	t.Helper()
	return manifest(t, namespace, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: `+name+`}
spec:
  selector: {matchLabels: {app: `+name+`}}
  template:
    metadata: {labels: {app: `+name+`}}
    spec: `+pod)[0]
}

// TestFaults breaks what the mesh reaches pods by, and ends a proxy.
func TestFaults(t *testing.T) {
	const ns = "squall-kube-faults"
	m, o := cluster(t, ns)
	remove(t, o, ns)
	proxies := deploy(t, m, o, ns)
	bin := podOf(t, proxies, "httpbin")
	if err := m.Break(); err != nil {
		t.Fatal(err)
	}
	if _, err := mesh.Stats(t.Context(), m, bin.Pod); err != nil {
		t.Errorf("after the port-forward broke: %v", err)
	}
	if err := failedWithin(m, time.Second); err != nil {
		t.Fatalf("a port-forward that broke is taken for a failure of the mesh: %v", err)
	}
	from := podOf(t, proxies, "fortio") // Envoy ends, and its container with it
	if _, err := m.Admin(t.Context(), from.Pod, http.MethodPost, "/quitquitquit"); err != nil {
		t.Logf("quit: %v", err)
	}
	if err := failedWithin(m, 20*time.Second); err == nil || !strings.Contains(err.Error(), "container istio-proxy of pod "+ns+"/"+from.Pod+" was started again") {
		t.Errorf("a proxy that ended: %v", err)
	}
}

// TestStuck expects to hear early why a workload does not become ready.
func TestStuck(t *testing.T) {
	for name, c := range map[string]struct{ pod, want string }{
		"image": {`{containers: [{name: app, image: "squall.invalid/none:1"}]}`, "the image squall.invalid/none:1 of container app"},
		"crash": {`{containers: [{name: app, image: "docker.io/fortio/fortio:latest_release", imagePullPolicy: IfNotPresent, args: [nonsense]}]}`, "crashed 2 times"},
		"node":  {`{nodeSelector: {squall.dev/none: "1"}, containers: [{name: app, image: "docker.io/fortio/fortio:latest_release"}]}`, "no node takes pod"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := "squall-kube-stuck-" + name
			_, o := cluster(t, ns)
			remove(t, o, ns)
			apply(t, o, []*unstructured.Unstructured{deployment(t, ns, "stuck", c.pod)})
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			start := time.Now()
			err := mesh.AwaitReady(ctx, o, ns)
			if err == nil || !strings.Contains(err.Error(), c.want) || ctx.Err() != nil {
				t.Errorf("got %v, want %s", err, c.want)
			}
			t.Logf("after %s: %v", time.Since(start).Round(time.Millisecond), err)
		})
	}
}

// TestBadInput tries what users get wrong.
func TestBadInput(t *testing.T) {
	const plain = "squall-kube-plain"
	_, o := cluster(t, "squall-kube-none")
	if err := o.Delete(t.Context(), mesh.Ref{APIVersion: "v1", Kind: "Namespace", Name: "squall-kube-none"}); err != nil {
		t.Error(err)
	}
	apply(t, o, []*unstructured.Unstructured{{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": plain}}}})
	remove(t, o, plain)
	c := config(t)
	gone := rest.CopyConfig(c)
	gone.Host = "https://127.0.0.1:9"
	poor := rest.CopyConfig(c)
	poor.Impersonate = rest.ImpersonationConfig{UserName: "squall-nobody"}
	anonymous := rest.AnonymousClientConfig(c)
	anonymous.BearerToken = "nonsense"
	for name, b := range map[string]struct {
		o    kube.Options
		want []string
	}{
		"unreachable": {kube.Options{Config: gone}, []string{"https://127.0.0.1:9", "does not answer", "is the cluster running"}},
		"token":       {kube.Options{Config: anonymous}, []string{"does not accept this user", "log in again"}},
		"permissions": {kube.Options{Config: poor, Namespaces: []string{plain}}, []string{"create pods/portforward in " + plain, "ask for a role"}},
		"injection":   {kube.Options{Config: c, Namespaces: []string{plain}}, []string{plain + " does not inject sidecars", "kubectl label namespace"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := kube.New(b.o)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err = m.Up(t.Context())
			if err == nil {
				t.Fatal("it came up")
			}
			for _, w := range b.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error lacks %q: %v", w, err)
				}
			}
			t.Logf("after %s: %.600v", time.Since(start).Round(time.Millisecond), err)
			if err := m.Down(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

// upWhenGranted brings a mesh up as soon as the API server goes by the roles that were just made, which it learns of by a watch of its own.
func upWhenGranted(t *testing.T, m *kube.Mesh) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := m.Up(t.Context())
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "this user may not") {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

// TestPermissionsSuffice runs as a user that has what Permissions says, and nothing else.
func TestPermissionsSuffice(t *testing.T) {
	const ns, user = "squall-kube-user", "squall-user"
	_, o := cluster(t, ns)
	remove(t, o, ns)
	c := config(t)
	poor := rest.CopyConfig(c)
	poor.Impersonate = rest.ImpersonationConfig{UserName: user}
	m, err := kube.New(kube.Options{Config: poor, Name: "kind", Namespaces: []string{ns}})
	if err != nil {
		t.Fatal(err)
	}
	granted := map[string][]any{}
	for _, p := range m.Permissions() {
		granted[p.Namespace] = append(granted[p.Namespace], map[string]any{
			"apiGroups": []any{p.Group}, "resources": []any{strings.TrimSuffix(p.Resource+"/"+p.Subresource, "/")}, "verbs": []any{p.Verb},
		})
	}
	for in, rules := range granted {
		role, binding := "Role", "RoleBinding"
		if in == "" {
			role, binding = "ClusterRole", "ClusterRoleBinding"
		}
		meta := map[string]any{"name": user}
		if in != "" {
			meta["namespace"] = in
		}
		objects := []*unstructured.Unstructured{
			{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": role, "metadata": meta, "rules": rules}},
			{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": binding, "metadata": meta,
				"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": user},
				"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}}}},
		}
		apply(t, o, objects)
		t.Cleanup(func() {
			for _, u := range objects {
				if err := o.Delete(context.Background(), mesh.RefOf(u)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	upWhenGranted(t, m)
	defer func() {
		if err := m.Down(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	own, err := mesh.NewObjects(m.REST())
	if err != nil {
		t.Fatal(err)
	}
	proxies := deploy(t, m, own, ns)
	measure(t, m, proxies, 50, "/get")
	restored(t, own, ns)
	if used, err := m.Usage(t.Context(), []string{proxies[0].Pod}); err != nil || len(used[proxies[0].Pod]) > 0 {
		t.Errorf("usage without permission: %v %v", used, err)
	}
}

// restored changes an object of each kind that runs change, and makes it what it was.
func restored(t *testing.T, o *mesh.Objects, namespace string) {
	t.Helper()
	for _, ref := range []mesh.Ref{
		{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: "httpbin"},
		{APIVersion: "apps/v1", Kind: "Deployment", Namespace: namespace, Name: "httpbin"},
	} {
		before, err := o.Get(t.Context(), ref)
		if err != nil || before == nil {
			t.Fatalf("%v, %v", before, err)
		}
		after := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": ref.APIVersion, "kind": ref.Kind, "spec": before.Object["spec"],
			"metadata": map[string]any{"name": ref.Name, "namespace": namespace, "labels": map[string]any{mesh.RunIDLabel: "test"}},
		}}
		if _, err := o.Apply(t.Context(), after); err != nil {
			t.Error(err)
		}
		if err := o.Restore(t.Context(), ref, before); err != nil {
			t.Error(err)
		}
	}
}
