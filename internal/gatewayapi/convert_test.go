package gatewayapi

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

const head = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews, port: 9080}]
`

func TestServices(t *testing.T) {
	for name, c := range map[string]struct{ route, want string }{
		"weights": {`
  rules:
  - name: split
    backendRefs: [{name: reviews-v1, port: 9080, weight: 90}, {name: reviews-v2, port: 9080, weight: 10}, {name: reviews-v3, port: 9080, weight: 0}]`, `
- match: [{port: 9080}]
  name: split
  route:
  - {destination: {host: reviews-v1.shop.svc.cluster.local, port: {number: 9080}}, weight: 90}
  - {destination: {host: reviews-v2.shop.svc.cluster.local, port: {number: 9080}}, weight: 10}`},
		"the more specific first": {`
  rules:
  - backendRefs: [{name: reviews, port: 9080}]
  - matches: [{headers: [{name: user, value: jason}]}, {path: {value: /api}, method: GET}, {path: {type: Exact, value: /a}}]
    backendRefs: [{name: reviews-v2, port: 9080}]`, `
- match: [{port: 9080, uri: {exact: /a}}]
  route: [{destination: {host: reviews-v2.shop.svc.cluster.local, port: {number: 9080}}}]
- match: [{port: 9080, uri: {regex: "/api(/.*)?"}, method: {exact: GET}}]
  route: [{destination: {host: reviews-v2.shop.svc.cluster.local, port: {number: 9080}}}]
- match: [{port: 9080, headers: {user: {exact: jason}}}]
  route: [{destination: {host: reviews-v2.shop.svc.cluster.local, port: {number: 9080}}}]
- match: [{port: 9080}]
  route: [{destination: {host: reviews.shop.svc.cluster.local, port: {number: 9080}}}]`},
		"timeout and mirror": {`
  rules:
  - timeouts: {request: 150ms}
    filters: [{type: RequestMirror, requestMirror: {percent: 50, backendRef: {name: reviews-v2, port: 9080}}}]
    backendRefs: [{name: reviews, port: 9080}]`, `
- match: [{port: 9080}]
  timeout: 0.15s
  mirrors: [{destination: {host: reviews-v2.shop.svc.cluster.local, port: {number: 9080}}, percentage: {value: 50}}]
  route: [{destination: {host: reviews.shop.svc.cluster.local, port: {number: 9080}}}]`},
		"no backends": {``, `
- match: [{port: 9080}]
  directResponse: {status: 500}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := Services(read(t, head+c.route))
			if len(got) != 1 || got[0].Host != "reviews.shop.svc.cluster.local" {
				t.Fatalf("got %+v", got)
			}
			var want any
			if err := yaml.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			a, err := yaml.Marshal(got[0].Spec["http"])
			if err != nil {
				t.Fatal(err)
			}
			b, err := yaml.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if string(a) != string(b) {
				t.Errorf("got\n%swant\n%s", a, b)
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	for route, want := range map[string]string{
		"\n  rules: [{backendRefs: [{name: reviews}]}]":                                      "spec.rules[0].backendRefs[0]",
		"\n  rules: [{backendRefs: [{name: reviews.shop, port: 80}]}]":                       "spec.rules[0].backendRefs[0].name",
		"\n  rules: [{retry: {attempts: 3}, backendRefs: [{name: reviews, port: 80}]}]":      "spec.rules[0].retry",
		"\n  rules: [{filters: [{type: ExtensionRef}]}]":                                     "spec.rules[0].filters[0].type",
		"\n  rules: [{timeouts: {requests: 1s}, backendRefs: [{name: reviews, port: 80}]}]":  "spec.rules[0].timeouts.requests",
		"\n  rules: [{timeouts: {request: 1s}, backendRefs: [{name: reviews, port: 9080}]}]": "",
	} {
		var got string
		for _, r := range Refuse(read(t, head+route)) {
			got += r.Path
		}
		if got != want {
			t.Errorf("%s: refused at %q, want %q", route, got, want)
		}
	}
}
