package local_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestIstiodFetchesKeys has istiod fetch the keys of tokens from a service of the mesh, by its name.
func TestIstiodFetchesKeys(t *testing.T) {
	t.Parallel()
	m := up(t, nil)
	const ns = "tokens"
	m.simple(t, ns)
	issuer, err := os.ReadFile("../../../fixtures/issuer/issuer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m.apply(t, ns, string(issuer))
	m.ready(t, ns)
	m.apply(t, ns, `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: httpbin}
spec:
  selector: {matchLabels: {app: httpbin}}
  jwtRules:
  - issuer: https://issuer.squall.test
    jwksUri: http://issuer.tokens.svc.cluster.local:8080/.well-known/jwks.json
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: httpbin}
spec:
  selector: {matchLabels: {app: httpbin}}
  rules: [{from: [{source: {requestPrincipals: ["https://issuer.squall.test/*"]}}]}]
`)
	p, err := m.o.Kube.CoreV1().Pods(ns).Get(t.Context(), m.pods(t, ns, "issuer")[0], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := func(query string) string {
		code, body := get(t, "http://"+p.Status.PodIP+":8080/token?subject=me"+query, "issuer")
		if code != http.StatusOK {
			t.Fatalf("token: %d %s", code, body)
		}
		return strings.TrimSpace(body)
	}
	m.answers(t, ns, "httpbin", "/get", http.StatusForbidden)
	m.answers(t, ns, "httpbin", "/get?access_token="+token(""), http.StatusOK)
	m.answers(t, ns, "httpbin", "/get?access_token="+token("&key=other"), http.StatusUnauthorized)
}
