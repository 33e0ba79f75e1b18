package local_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"squall/internal/mesh"
)

// opened is a Gateway of that name for the hosts at port 80, and a VirtualService that leads from it to httpbin.
func opened(name, hosts, match string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %[1]s}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [%[2]s]
---
%[3]s`, name, hosts, followed(name, hosts, match))
}

// followed is a VirtualService that leads from a Gateway to httpbin.
func followed(name, hosts, match string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s}
spec:
  hosts: [%[2]s]
  gateways: [%[1]s]
  http:
  - %[3]s
    route: [{destination: {host: httpbin, port: {number: 8000}}}]
`, name, hosts, match)
}

// ingress waits for the ingress gateway and returns its address for a port of its Service.
func (m *testMesh) ingress(t *testing.T, port string) string {
	t.Helper()
	eventually(t, func() error {
		address, err := mesh.IngressAddress(t.Context(), m.o, port)
		if err == nil && address == "" {
			err = fmt.Errorf("no ingress gateway yet")
		}
		return err
	})
	address, err := mesh.IngressAddress(t.Context(), m.o, port)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// comesBack waits until a call from outside gets the code.
func comesBack(t *testing.T, url, host string, code int) {
	t.Helper()
	eventually(t, func() error {
		if got, body := get(t, url, host); got != code {
			return fmt.Errorf("%s %s answers %d: %s", host, url, got, body)
		}
		return nil
	})
}

func TestGatewayLeadsIn(t *testing.T) {
	t.Parallel()
	m := up(t, nil)
	m.namespace(t, "shop")
	m.apply(t, "shop", httpbin("", ""))
	m.ready(t, "shop")
	if list := m.pods(t, mesh.RootNamespace, mesh.IngressGateway); len(list) != 0 {
		t.Fatalf("there is a gateway that nobody asked for: %v", list)
	}
	start := time.Now()
	m.apply(t, "shop", opened("web", `"shop.example.com"`, "match: [{uri: {exact: /get}}, {uri: {prefix: /status/}}]"))
	base := "http://" + m.ingress(t, "80")
	t.Logf("the gateway is ready after %s", time.Since(start).Round(time.Millisecond))
	comesBack(t, base+"/get", "shop.example.com", http.StatusOK)
	comesBack(t, base+"/status/418", "shop.example.com", http.StatusTeapot)
	for _, c := range []struct{ path, host string }{{"/get", "other.example.com"}, {"/get/more", "shop.example.com"}, {"/headers", "shop.example.com"}} {
		if code, body := get(t, base+c.path, c.host); code != http.StatusNotFound || body != "" {
			t.Errorf("%s of %s: %d %q, want Envoy's own 404", c.path, c.host, code, body)
		}
	}
	status := strings.TrimSuffix(base, ":8080") + ":15021/healthz/ready"
	if code, body := get(t, status, "any"); code != http.StatusOK {
		t.Errorf("%s: %d %s", status, code, body)
	}
}
