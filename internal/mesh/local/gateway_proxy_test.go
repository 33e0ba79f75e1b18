package local_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/mesh"
	"squall/internal/record"
)

// TestGatewayIsAProxyToo has a gateway listed, logged, awaited and compared as sidecars are.
func TestGatewayIsAProxyToo(t *testing.T) {
	t.Parallel()
	m := up(t, nil)
	const ns = "shop"
	m.namespace(t, ns)
	m.apply(t, ns, httpbin("", ""), opened("web", `"web.example.com"`, "match: [{uri: {prefix: /}}]"))
	m.ready(t, ns)
	base := "http://" + m.ingress(t, "80")
	comesBack(t, base+"/get", "web.example.com", 200)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	proxies, err := mesh.Proxies(ctx, m.o, "load-"+ns, ns, mesh.RootNamespace)
	if err != nil {
		t.Fatal(err)
	}
	gateway := slices.IndexFunc(proxies, func(p record.Proxy) bool { return p.Gateway })
	if len(proxies) != 3 || gateway < 0 || proxies[gateway].Services[0] != mesh.IngressGateway {
		t.Fatalf("proxies %+v", proxies)
	}
	pod := proxies[gateway].Pod

	logs := &writers{all: map[string]*bytes.Buffer{}}
	capture, err := m.CaptureAccess(logs.open)
	if err != nil {
		t.Fatal(err)
	}
	if code, body := get(t, base+"/status/201", "web.example.com"); code != 201 {
		t.Errorf("%d %s", code, body)
	}
	stats, err := mesh.Stats(ctx, m, pod)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.AwaitAccess(ctx, pod, mesh.LoggedRequests(stats)); err != nil {
		t.Error(err)
	}
	if err := capture.Stop(); err != nil {
		t.Error(err)
	}
	if got := logs.of(pod); !strings.Contains(got, "/status/201") || !strings.Contains(got, "outbound|8000||httpbin."+ns) {
		t.Errorf("access log of the gateway: %s", got)
	}
	if err := mesh.AwaitSettled(ctx, m, proxies); err != nil {
		t.Error(err)
	}

	before, err := mesh.Configs(ctx, m, proxies)
	if err != nil {
		t.Fatal(err)
	}
	m.apply(t, ns, opened("web", `"web.example.com"`, "match: [{uri: {prefix: /get}}]"))
	comesBack(t, base+"/status/201", "web.example.com", 404)
	after, err := mesh.ReadConfig(ctx, m, pod)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(before[pod].Differs(after)); got != "[route http.8080]" {
		t.Errorf("the gateway differs in %s", got)
	}
	m.apply(t, ns, opened("web", `"web.example.com"`, "match: [{uri: {prefix: /}}]"))
	if err := mesh.AwaitConfigs(ctx, m, proxies, before); err != nil {
		t.Error(err)
	}
	testFollowers(t, m, proxies, pod)
}

// testFollowers asks who follows VirtualServices of the namespace shop, where the Gateway web is.
func testFollowers(t *testing.T, m *testMesh, proxies []record.Proxy, gateway string) {
	for gateways, want := range map[string]string{
		"": "sidecars", "gateways: [mesh]": "sidecars", "gateways: [web]": "gateway", "gateways: [shop/web]": "gateway",
		"gateways: [web, mesh]": "both", "gateways: [other/web]": "", "gateways: [later, mesh]": "sidecars",
	} {
		u := &unstructured.Unstructured{}
		doc := "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: shop}\nspec:\n  hosts: [a]\n  " + gateways + "\n"
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatal(err)
		}
		got, err := mesh.Followers(t.Context(), m.o, u, proxies)
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{"": 0, "gateway": 1, "sidecars": len(proxies) - 1, "both": len(proxies)}[want]
		has := slices.ContainsFunc(got, func(p record.Proxy) bool { return p.Pod == gateway })
		if len(got) != n || has != (want == "gateway" || want == "both") {
			t.Errorf("%q is followed by %+v, want %q", gateways, got, want)
		}
	}
}
