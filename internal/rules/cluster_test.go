package rules_test

import (
	"strings"
	"testing"

	"squall/internal/rules"
)

func dr(name, spec string) string {
	return "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata: {name: " + name + "}\nspec: {host: reviews, " + spec + "}\n"
}

func plain(t testing.TB, more ...string) *rules.Model {
	t.Helper()
	return rules.Read(objects(t, append([]string{fixture(t, "bookinfo/bookinfo.yaml")}, more...)...), rules.Options{})
}

func TestCluster(t *testing.T) {
	pool := func(n string) string { return "trafficPolicy: {connectionPool: {tcp: {maxConnections: " + n + "}}}" }
	subsets := "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}]"
	for _, tc := range []struct {
		name   string
		texts  []string
		subset string
		pods   int
		limit  int32
		ref    string
	}{
		{"no rule", nil, "", 3, 0, ""},
		{"the host's", []string{dr("a", pool("1"))}, "", 3, 1, "DestinationRule a spec.trafficPolicy.connectionPool"},
		{"the subset has the host's", []string{dr("a", pool("1")+", "+subsets)}, "v1", 1, 1, "DestinationRule a spec.trafficPolicy.connectionPool"},
		{"the subset has its own", []string{dr("a", pool("1")+", "+subsets)}, "v2", 1, 7, "DestinationRule a spec.subsets[1].trafficPolicy.connectionPool"},
		{"the port has its own", []string{dr("a", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}, portLevelSettings: [{port: {number: 9080}, connectionPool: {tcp: {maxConnections: 5}}}]}")}, "", 3, 5,
			"DestinationRule a spec.trafficPolicy.portLevelSettings[0].connectionPool"},
		{"subsets of two are put together", []string{dr("a", pool("1")), dr("b", pool("2")+", "+subsets)}, "v1", 1, 1, "DestinationRule a spec.trafficPolicy.connectionPool"},
		{"one for some callers hides the others", []string{dr("a", pool("1")), dr("b", pool("2")+", workloadSelector: {matchLabels: {app: productpage}}")}, "", 3, 2, "DestinationRule b spec.trafficPolicy.connectionPool"},
		{"one for other callers does not", []string{dr("a", pool("1")), dr("b", pool("2")+", workloadSelector: {matchLabels: {app: ratings}}")}, "", 3, 1, "DestinationRule a spec.trafficPolicy.connectionPool"},
		{"an exact host hides a wildcard", []string{dr("a", pool("1")), strings.Replace(dr("b", pool("2")), "host: reviews", "host: '*.local'", 1)}, "", 3, 1, "DestinationRule a spec.trafficPolicy.connectionPool"},
		{"the caller's namespace comes first", []string{strings.Replace(dr("a", pool("1")), "{name", "{namespace: istio-system, name", 1), dr("b", pool("2"))}, "", 3, 2, "DestinationRule b spec.trafficPolicy.connectionPool"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := plain(t, tc.texts...).Cluster(productpage, rules.Destination{Host: "reviews.squall.svc.cluster.local", Subset: tc.subset, Port: 9080})
			if c.Missing || rules.Pods(c.Workloads) != tc.pods || c.Pool.GetTcp().GetMaxConnections() != tc.limit {
				t.Errorf("%+v", c)
			}
			if tc.ref != "" && c.PoolRef.String() != tc.ref {
				t.Errorf("got %s, want %s", c.PoolRef, tc.ref)
			}
		})
	}
	missing := plain(t, dr("a", subsets)).Cluster(productpage, rules.Destination{Host: "reviews", Subset: "v9", Port: 9080})
	if !missing.Missing || len(missing.Workloads) > 0 {
		t.Errorf("%+v", missing)
	}
	if none := plain(t).Cluster(productpage, rules.Destination{Host: "nobody"}); none.Service != nil {
		t.Errorf("%+v", none)
	}
}

func security(kind, name, namespace, spec string) string {
	return "apiVersion: security.istio.io/v1beta1\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: " + spec + "\n"
}

func TestPeerMode(t *testing.T) {
	mode := func(m string) string { return "{mtls: {mode: " + m + "}}" }
	mine := "{selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}, portLevelMtls: {9080: {mode: DISABLE}}}"
	for _, tc := range []struct {
		name  string
		texts []string
		port  int
		want  rules.Mode
	}{
		{"the default", nil, 0, rules.Permissive},
		{"the mesh's", []string{security("PeerAuthentication", "default", "istio-system", mode("STRICT"))}, 0, rules.Strict},
		{"the namespace's wins", []string{security("PeerAuthentication", "default", "istio-system", mode("STRICT")), security("PeerAuthentication", "default", "squall", mode("DISABLE"))}, 0, rules.Disabled},
		{"an unset one inherits", []string{security("PeerAuthentication", "default", "istio-system", mode("STRICT")), security("PeerAuthentication", "default", "squall", "{}")}, 0, rules.Strict},
		{"the workload's wins", []string{security("PeerAuthentication", "default", "squall", mode("DISABLE")), security("PeerAuthentication", "mine", "squall", mine)}, 8080, rules.Strict},
		{"the port's wins", []string{security("PeerAuthentication", "mine", "squall", mine)}, 9080, rules.Disabled},
		{"not another workload's", []string{security("PeerAuthentication", "other", "squall", "{selector: {matchLabels: {app: ratings}}, mtls: {mode: STRICT}}")}, 0, rules.Permissive},
	} {
		m := plain(t, tc.texts...)
		if got, ref := m.PeerMode(m.Service("reviews", "squall").Workloads[0], tc.port); got != tc.want || (tc.want == rules.Permissive) != ref.IsZero() {
			t.Errorf("%s: got %s by %s, want %s", tc.name, got, ref, tc.want)
		}
	}
}

func TestAuthorized(t *testing.T) {
	access := rules.Access{
		Request:   rules.Request{Method: "GET", Path: "/reviews/0?x=1", Authority: "reviews:9080", Headers: map[string]string{"end-user": "jason"}},
		Principal: "cluster.local/ns/squall/sa/bookinfo-productpage", Namespace: "squall", Target: 9080, Claims: rules.No,
	}
	p := func(name, spec string) string { return security("AuthorizationPolicy", name, "squall", spec) }
	for _, tc := range []struct {
		name  string
		texts []string
		want  rules.Truth
		by    string
	}{
		{"no policy", nil, rules.Yes, "Istio's default"},
		{"nothing is allowed", []string{p("none", "{}")}, rules.No, "AuthorizationPolicy none spec"},
		{"everything is allowed", []string{p("all", "{rules: [{}]}")}, rules.Yes, "AuthorizationPolicy all spec.rules[0]"},
		{"one allows", []string{p("none", "{}"), p("all", "{rules: [{}]}")}, rules.Yes, "AuthorizationPolicy all spec.rules[0]"},
		{"a denial wins", []string{p("all", "{rules: [{}]}"), p("deny", "{action: DENY, rules: [{to: [{operation: {paths: [/reviews/*]}}]}]}")}, rules.No, "AuthorizationPolicy deny spec.rules[0]"},
		{"a denial of something else", []string{p("deny", "{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}")}, rules.Yes, "Istio's default"},
		{"by who calls", []string{p("who", "{rules: [{from: [{source: {principals: ['*/bookinfo-productpage']}}]}]}")}, rules.Yes, "AuthorizationPolicy who spec.rules[0]"},
		{"by who does not", []string{p("who", "{rules: [{from: [{source: {notPrincipals: ['*']}}]}]}")}, rules.No, "AuthorizationPolicy who spec"},
		{"by port and host", []string{p("where", "{rules: [{to: [{operation: {ports: ['9080'], hosts: [reviews]}}]}]}")}, rules.Yes, "AuthorizationPolicy where spec.rules[0]"},
		{"by header", []string{p("header", "{rules: [{when: [{key: 'request.headers[end-user]', values: [jason]}]}]}")}, rules.Yes, "AuthorizationPolicy header spec.rules[0]"},
		{"by a claim, without a token", []string{p("claim", "{rules: [{when: [{key: 'request.auth.claims[role]', values: [admin]}]}]}")}, rules.No, "AuthorizationPolicy claim spec"},
		{"without a token is denied", []string{p("token", "{action: DENY, rules: [{from: [{source: {notRequestPrincipals: ['*']}}]}]}")}, rules.No, "AuthorizationPolicy token spec.rules[0]"},
		{"by address", []string{p("ip", "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}")}, rules.Unknown, "AuthorizationPolicy ip spec.rules[0]"},
		{"by something else", []string{p("custom", "{action: CUSTOM, provider: {name: x}, rules: [{}]}")}, rules.Unknown, "AuthorizationPolicy custom spec.action"},
		{"an audit says nothing", []string{p("audit", "{action: AUDIT, rules: [{}]}")}, rules.Yes, "Istio's default"},
		{"another workload's", []string{p("other", "{selector: {matchLabels: {app: ratings}}}")}, rules.Yes, "Istio's default"},
		{"the root namespace's", []string{security("AuthorizationPolicy", "root", "istio-system", "{}")}, rules.No, "AuthorizationPolicy root spec"},
		{"path templates are not known", []string{p("template", "{rules: [{to: [{operation: {paths: ['/reviews/{*}']}}]}]}")}, rules.Unknown, "AuthorizationPolicy template spec.rules[0]"},
	} {
		m := plain(t, tc.texts...)
		if got, ref := m.Authorized(m.Service("reviews", "squall").Workloads[0], access); got != tc.want || ref.String() != tc.by {
			t.Errorf("%s: got %s by %s, want %s by %s", tc.name, got, ref, tc.want, tc.by)
		}
	}
}

func TestGateway(t *testing.T) {
	gateway := fixture(t, "bookinfo-gateway/gateway.yaml")
	m := plain(t, gateway, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {template: {metadata: {labels: {istio: ingressgateway}}}}
`)
	if len(m.Gateways) == 0 || len(m.Gateways[0].Workloads) != 1 {
		t.Fatalf("%+v", m.Gateways)
	}
	c := rules.CallerOf(m.Gateways[0].Workloads[0])
	c.Proxy = rules.GatewayProxy
	r := m.Routing(c, "bookinfo.example.com", 80)
	for path, want := range map[string]rules.Truth{"/productpage": rules.Yes, "/static/x": rules.Yes, "/api/v1/products": rules.Yes, "/": rules.No, "/productpage/x": rules.No} {
		route, got := r.Pick(rules.Request{Path: path, Method: "GET"}, c, m.GatewayNames(c)...)
		if got != want {
			t.Errorf("%s: %s", path, got)
		}
		if route != nil && route.Destinations[0].Host != "productpage.squall.svc.cluster.local" {
			t.Errorf("%+v", route.Destinations)
		}
	}
	if r := m.Routing(productpage, "productpage", 9080); len(r.Rules) > 0 {
		t.Errorf("a rule of a gateway does not hold for sidecars: %v", r.Rules)
	}
}

func TestProblems(t *testing.T) {
	m := plain(t,
		"apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: adds}\nspec: {configPatches: [{applyTo: CLUSTER, patch: {operation: ADD}}]}\n",
		"apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: merges}\nspec: {configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE}}]}\n",
		"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: broken}\nspec: {hosts: 7}\n")
	if len(m.Problems) != 2 || !strings.Contains(m.Problems[0].String(), "broken") || !strings.Contains(m.Problems[1].String(), "merges") {
		t.Error(m.Problems)
	}
}
