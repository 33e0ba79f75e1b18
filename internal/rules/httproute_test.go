package rules_test

import (
	"strings"
	"testing"

	"squall/internal/rules"
)

// versions are Services of single versions of reviews, as upstream's bookinfo-versions.yaml has them.
const versions = `
apiVersion: v1
kind: Service
metadata: {name: reviews-v1}
spec: {selector: {app: reviews, version: v1}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews-v2}
spec: {selector: {app: reviews, version: v2}, ports: [{name: http, port: 9080}]}
`

// route is an HTTPRoute for reviews with these rules.
func route(name, rules string) string {
	return "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: " + name +
		"}\nspec:\n  parentRefs: [{group: \"\", kind: Service, name: reviews, port: 9080}]\n  rules:\n" + rules
}

func TestHTTPRoute(t *testing.T) {
	text := route("reviews", `
  - backendRefs: [{name: reviews-v1, port: 9080, weight: 3}, {name: reviews-v2, port: 9080, weight: 1}]
    timeouts: {request: 2s}
  - matches: [{path: {value: /api}}]
    backendRefs: [{name: reviews-v2, port: 9080}]
  - matches: [{path: {type: Exact, value: /gone}}]
    backendRefs: [{name: nobody, port: 9080}]
`)
	routing := bookinfo(t, versions, text).Routing(productpage, "reviews", 9080)
	if routing.Unknown != "" || len(routing.Rules) != 1 {
		t.Fatalf("%+v", routing)
	}
	for _, tc := range []struct {
		path, ref, host string
		share           float64
	}{
		{"/", "HTTPRoute reviews spec.rules[0].backendRefs[0]", "reviews-v1.squall.svc.cluster.local", 0.75},
		{"/api", "HTTPRoute reviews spec.rules[1].backendRefs[0]", "reviews-v2.squall.svc.cluster.local", 1},
		{"/api/x?y=1", "HTTPRoute reviews spec.rules[1].backendRefs[0]", "reviews-v2.squall.svc.cluster.local", 1},
		{"/apis", "HTTPRoute reviews spec.rules[0].backendRefs[0]", "reviews-v1.squall.svc.cluster.local", 0.75},
		{"/gone", "HTTPRoute reviews spec.rules[2].backendRefs[0]", "nobody.squall.svc.cluster.local", 1},
	} {
		r, fit := routing.Pick(rules.Request{Path: tc.path, Port: 9080}, productpage)
		if fit != rules.Yes {
			t.Errorf("%s: fits %v", tc.path, fit)
			continue
		}
		if d := r.Destinations[0]; d.Ref.String() != tc.ref || d.Host != tc.host || d.Share != tc.share {
			t.Errorf("%s: got %s, %s, %v", tc.path, d.Ref, d.Host, d.Share)
		}
		if r.NoCluster != 500 {
			t.Errorf("%s: a backend that is not there is answered with %d", tc.path, r.NoCluster)
		}
	}
}

func TestHTTPRouteOfAnotherPort(t *testing.T) {
	text := strings.Replace(route("reviews", "  - backendRefs: [{name: reviews-v1, port: 9080}]\n"), "port: 9080}]\n  rules", "port: 9081}]\n  rules", 1)
	if routing := bookinfo(t, versions, text).Routing(productpage, "reviews", 9080); len(routing.Rules) != 0 || len(routing.Routes) != 1 {
		t.Errorf("%+v", routing)
	}
}

func TestHTTPRoutesThatAreNotKnown(t *testing.T) {
	rule := "  - backendRefs: [{name: reviews-v1, port: 9080}]\n"
	for want, texts := range map[string][]string{
		"how Istio merges":            {route("a", rule), route("b", rule)},
		"none of its parents":         {strings.Replace(route("a", rule), `group: "", kind: Service, `, "", 1)},
		"the namespace elsewhere":     {strings.Replace(route("a", rule), "kind: Service, ", "kind: Service, namespace: elsewhere, ", 1)},
		"has no port":                 {route("a", "  - backendRefs: [{name: reviews-v1}]\n")},
		"what it changes is not know": {strings.Replace(route("a", rule), "HTTPRoute", "GRPCRoute", 1)},
	} {
		problems := bookinfo(t, append(texts, versions)...).Problems
		if len(problems) != 1 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("got %v, want %s", problems, want)
		}
	}
}
