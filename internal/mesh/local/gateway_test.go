package local_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// secured is a Gateway with TLS at port 443.
func secured(name, host, tls string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %[1]s}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [%[2]s]
    tls: {%[3]s}
---
%[4]s`, name, host, tls, followed(name, host, "match: [{uri: {prefix: /}}]"))
}

// root signs certificates for tests.
type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newRoot(t *testing.T) *root {
	t.Helper()
	r := &root{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	r.pem, _, r.key = r.sign(t, template, nil)
	block, _ := pem.Decode(r.pem)
	var err error
	if r.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *root) sign(t *testing.T, template *x509.Certificate, parent *x509.Certificate) (cert, key []byte, private *ecdsa.PrivateKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := r.key
	if parent == nil {
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}), private
}

// issue is a certificate with that serial number, for a host, that ends at a time.
func (r *root) issue(t *testing.T, host string, serial int64, ends time.Time) (cert, key []byte) {
	t.Helper()
	cert, key, _ = r.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, r.cert)
	return cert, key
}

// secret is a Secret in the gateway's namespace.
func secret(name string, data map[string][]byte) string {
	out := "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: " + name + ", namespace: istio-system}\ndata:\n"
	for k, v := range data {
		out += "  " + k + ": " + base64.StdEncoding.EncodeToString(v) + "\n"
	}
	return out
}

// fetch calls https://host/get at an address, and returns the code and the serial number of the server's certificate.
func fetch(t *testing.T, address, host string, config *tls.Config) (code int, serial int64, err error) {
	t.Helper()
	var d net.Dialer
	c := http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: config, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) },
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/get", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, 0, err
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.TLS.PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestGatewayTLS(t *testing.T) {
	t.Parallel()
	m := up(t, nil)
	m.namespace(t, "shop")
	r, later := newRoot(t), time.Now().Add(time.Hour)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.pem)
	trust := &tls.Config{RootCAs: pool}
	cert, key := r.issue(t, "shop.example.com", 7, later)
	m.apply(t, "shop", httpbin("", ""), secret("shop", map[string][]byte{"tls.crt": cert, "tls.key": key}))
	m.ready(t, "shop")
	m.apply(t, "shop", secured("shop", "shop.example.com", "mode: SIMPLE, credentialName: shop"))
	address := m.ingress(t, "443")
	served := func(host string, config *tls.Config, want int64) {
		t.Helper()
		eventually(t, func() error {
			code, serial, err := fetch(t, address, host, config)
			if err == nil && (code != http.StatusOK || serial != want) {
				err = fmt.Errorf("code %d, certificate %d", code, serial)
			}
			return err
		})
	}
	served("shop.example.com", trust, 7)
	if _, _, err := fetch(t, address, "shop.example.com", &tls.Config{}); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a client that does not trust the root: %v", err)
	}
	if _, _, err := fetch(t, address, "other.example.com", trust); err == nil {
		t.Error("a host that no Gateway has is served")
	}

	t.Log("a new certificate")
	cert, key = r.issue(t, "shop.example.com", 8, later)
	m.apply(t, "shop", secret("shop", map[string][]byte{"tls.crt": cert, "tls.key": key}))
	served("shop.example.com", trust, 8)

	t.Log("one that has expired")
	cert, key = r.issue(t, "shop.example.com", 9, time.Now().Add(-time.Minute))
	m.apply(t, "shop", secret("shop", map[string][]byte{"tls.crt": cert, "tls.key": key}))
	served("shop.example.com", &tls.Config{InsecureSkipVerify: true}, 9)
	if _, _, err := fetch(t, address, "shop.example.com", trust); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired certificate: %v", err)
	}

	t.Log("a second Gateway beside it, which asks for the client's certificate")
	cert, key = r.issue(t, "admin.example.com", 10, later)
	m.apply(t, "shop", secret("admin", map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": r.pem}),
		secured("admin", "admin.example.com", "mode: MUTUAL, credentialName: admin"))
	own, ownKey := r.issue(t, "client", 11, later)
	pair, err := tls.X509KeyPair(own, ownKey)
	if err != nil {
		t.Fatal(err)
	}
	served("admin.example.com", &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}, 10)
	// The proxy may close before the client has read why.
	if _, _, err := fetch(t, address, "admin.example.com", trust); err == nil || !strings.Contains(err.Error(), "certificate required") &&
		!errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client without a certificate: %v", err)
	}
	served("shop.example.com", &tls.Config{InsecureSkipVerify: true}, 9)
}

// A listener waits for its Secret; the others of the gateway serve meanwhile.
func TestGatewayWithoutItsSecret(t *testing.T) {
	t.Parallel()
	m := up(t, nil)
	m.namespace(t, "shop")
	m.apply(t, "shop", httpbin("", ""), opened("plain", `"web.example.com"`, "match: [{uri: {prefix: /}}]"))
	web := m.ingress(t, "80")
	comesBack(t, "http://"+web+"/get", "web.example.com", http.StatusOK)
	m.apply(t, "shop", secured("shop", "shop.example.com", "mode: SIMPLE, credentialName: shop"))
	pod := m.pods(t, mesh.RootNamespace, mesh.IngressGateway)[0]
	eventually(t, func() error {
		stats, err := mesh.Stats(t.Context(), m, pod)
		if err == nil && stats["listener_manager.total_listeners_warming"] != 1 {
			err = fmt.Errorf("no listener waits: %v", stats)
		}
		return err
	})
	address, insecure := m.ingress(t, "443"), &tls.Config{InsecureSkipVerify: true}
	if _, _, err := fetch(t, address, "shop.example.com", insecure); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("without its Secret: %v", err)
	}
	comesBack(t, "http://"+web+"/get", "web.example.com", http.StatusOK)
	cert, key := newRoot(t).issue(t, "shop.example.com", 7, time.Now().Add(time.Hour))
	m.apply(t, "shop", secret("shop", map[string][]byte{"tls.crt": cert, "tls.key": key}))
	eventually(t, func() error {
		_, _, err := fetch(t, address, "shop.example.com", insecure)
		return err
	})
}

// A Deployment that the injector would make a gateway is one, beside the ingress gateway.
func TestGatewayOfOnesOwn(t *testing.T) {
	t.Parallel()
	m := up(t, nil)
	m.namespace(t, "edge")
	pod := strings.Replace(deployment("edge", "image: auto", ""), "labels: {app: edge, version: v1}",
		"labels: {app: edge, istio: edge}, annotations: {inject.istio.io/templates: gateway}", 1)
	m.apply(t, "edge", httpbin("", ""), pod, service("edge", "http"), strings.NewReplacer("ingressgateway", "edge", "number: 80,", "number: 8000,").Replace(
		opened("web", `"edge.example.com"`, "match: [{uri: {prefix: /}}]")))
	m.ready(t, "edge")
	address, err := mesh.AnyEndpoint(t.Context(), m.o, "edge", "edge", "8000")
	if err != nil {
		t.Fatal(err)
	}
	comesBack(t, "http://"+address+"/get", "edge.example.com", http.StatusOK)
	m.answers(t, "edge", "edge", "/get", http.StatusNotFound) // by its own name, through a sidecar
	if list := m.pods(t, mesh.RootNamespace, mesh.IngressGateway); len(list) != 0 {
		t.Errorf("nobody asked for %v", list)
	}
	m.apply(t, "edge", strings.Replace(pod, "spec:\n  ", "spec:\n  replicas: 0\n  ", 1))
	eventually(t, func() error {
		list, err := m.o.Kube.CoreV1().Pods("edge").List(t.Context(), metav1.ListOptions{LabelSelector: "app=edge"})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%d pods are left", len(list.Items))
		}
		return err
	})
	if left, err := m.o.Get(t.Context(), mesh.Ref{APIVersion: "networking.istio.io/v1alpha3", Kind: "EnvoyFilter", Namespace: "edge", Name: "edge-0"}); err != nil || left != nil {
		t.Errorf("the filter of a gateway that is gone: %v %v", left, err)
	}
}
