package oracle_test

import (
	"encoding/base64"
	"testing"
	"time"

	"squall/internal/oracle"
	"squall/internal/rules"
)

func get(path string, connections int, n int64) oracle.Request {
	return oracle.Request{URL: "http://httpbin:8000" + path, Caller: loader, Connections: connections, Requests: n}
}

func destinationRule(host, policy string) string {
	return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: " + host + "}\nspec:\n  host: " + host + "\n  trafficPolicy: " + policy + "\n"
}

func policy(kind, name, spec string) string {
	return "apiVersion: security.istio.io/v1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

// deployment is a httpbin that declares what it does.
func deployment(name, version, behaviour string) string {
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", annotations: {squall.dev/behaviour: '" + behaviour + "'}}\n" +
		"spec:\n  template:\n    metadata: {labels: {app: httpbin, version: " + version + "}}\n    spec: {serviceAccountName: httpbin}\n"
}

func token(issuer string) string {
	return "x." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`"}`)) + ".y"
}

func bearer(r oracle.Request, token string) oracle.Request {
	return with(r, func(r *oracle.Request) { r.Headers = map[string]string{"Authorization": "Bearer " + token} })
}

func TestHandbook(t *testing.T) {
	retries := func(spec string) string {
		return virtualService("httpbin", "\n  - route: [{destination: {host: httpbin}}]\n    retries: "+spec+"\n")
	}
	half := deployment("httpbin", "v1", "{failure: 0.5, failureStatus: 503}")
	plain := with(get("/get", 1, 50), func(r *oracle.Request) { r.Caller = rules.Caller{Namespace: "squall"} })
	allOK := map[string]want{"ratio(code == 200)": exactly(1)}
	for _, tc := range []struct {
		name  string
		rules []string
		req   oracle.Request
		want  map[string]want
		not   []string
	}{
		{"this Istio retries no 503 by default", []string{half}, get("/get", 1, 100), map[string]want{"ratio(code == 503)": exactly(.5)}, []string{"attempts"}},
		{"retries of what comes from below", []string{half, retries("{attempts: 2, retryOn: 5xx}")}, get("/get", 1, 100),
			map[string]want{"ratio(code == 503)": exactly(.125), "ratio(code == 200)": exactly(.875), "ratio(attempts > 1)": exactly(.5), "ratio(attempts == 3)": exactly(.25), `ratio(flag("URX"))`: exactly(.125)}, nil},
		{"retries of a code", []string{half, retries("{attempts: 1, retryOn: '503'}")}, get("/get", 1, 100), map[string]want{"ratio(code == 503)": exactly(.25)}, nil},
		{"retries of other codes", []string{half, retries("{attempts: 1, retryOn: 'retriable-4xx,500'}")}, get("/get", 1, 100), map[string]want{"ratio(code == 503)": exactly(.5)}, nil},
		{"no retries", []string{half, retries("{attempts: 0}")}, get("/get", 1, 100), map[string]want{"ratio(code == 503)": exactly(.5)}, nil},
		{"each try is given up", []string{deployment("httpbin", "v1", "{latency: 3s}"), retries("{attempts: 3, perTryTimeout: 1s, retryOn: 5xx}")}, get("/get", 10, 10),
			map[string]want{"ratio(code == 504)": exactly(1), "ratio(attempts == 4)": exactly(1), "ratio(latency >= 3.99s)": exactly(1), `ratio(flag("UT"))`: exactly(1), "access(httpbin).count": exactly(40)}, nil},
		{"a retry goes to a pod that does not fail alike", []string{deployment("faulty", "v2", "{status: 503}"), retries("{attempts: 1, retryOn: 5xx}")}, get("/get", 1, 100), nil, []string{"ratio(code", "records"}},
		{"faster than the timeout", []string{deployment("httpbin", "v1", "{latency: 1s}"), virtualService("httpbin", "\n  - timeout: 3s\n    route: [{destination: {host: httpbin}}]\n")}, get("/get", 1, 100), allOK, []string{"UT"}},
		{"as slow as the timeout", []string{deployment("httpbin", "v1", "{latency: 3s}"), virtualService("httpbin", "\n  - timeout: 3s\n    route: [{destination: {host: httpbin}}]\n")}, get("/get", 1, 100), nil, []string{"ratio"}},
		{"later than the load waits", []string{deployment("httpbin", "v1", "{latency: 12s}")}, with(get("/get", 1, 10), func(r *oracle.Request) { r.Timeout = 10 * time.Second }), nil, []string{"ratio"}},
		{"an answer of its own", nil, get("/status/500", 1, 100), map[string]want{`ratio(version == "v1")`: exactly(1), "access(httpbin).count": exactly(100)}, []string{"code", "latency"}},
		{"a fault before an answer of its own", []string{virtualService("httpbin", "\n  - fault: {abort: {percentage: {value: 30}, httpStatus: 418}}\n    route: [{destination: {host: httpbin}}]\n")}, get("/status/500", 1, 1000),
			map[string]want{"ratio(code == 418)": between(.237, 1), `ratio(flag("FI"))`: exactly(.3), "access(httpbin).count": between(635, 763)}, nil},
		{"below the limits", []string{destinationRule("httpbin", "{connectionPool: {tcp: {maxConnections: 100}, http: {http1MaxPendingRequests: 50, http2MaxRequests: 100}}}")}, get("/get", 50, 100), allOK, nil},
		{"above the limits", []string{destinationRule("httpbin", "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}}")}, get("/get", 3, 20),
			map[string]want{"ratio(code == 200 || code == 503)": exactly(1), "ratio(code == 503)": between(0, .95)}, []string{"version"}},
		{"strict and plain text", []string{policy("PeerAuthentication", "default", "{mtls: {mode: STRICT}}")}, plain, map[string]want{`ratio(error != "")`: exactly(1)}, nil},
		{"permissive and plain text", nil, plain, allOK, nil},
		{"strict and a proxy", []string{policy("PeerAuthentication", "default", "{mtls: {mode: STRICT}}")}, get("/get", 1, 10), allOK, nil},
		{"strict and a proxy that is told to speak plain text", []string{policy("PeerAuthentication", "default", "{mtls: {mode: STRICT}}"), destinationRule("httpbin", "{tls: {mode: DISABLE}}")}, get("/get", 1, 10), map[string]want{"ratio(code == 503)": exactly(1)}, []string{"attempts"}},
		{"nobody may call", []string{policy("AuthorizationPolicy", "deny-all", "{}")}, get("/get", 1, 10), map[string]want{"ratio(code == 403)": exactly(1), "access(httpbin).count": exactly(10)}, nil},
		{"some may call", []string{policy("AuthorizationPolicy", "deny-all", "{}"), policy("AuthorizationPolicy", "some", "{selector: {matchLabels: {app: httpbin}}, rules: [{from: [{source: {principals: [cluster.local/ns/squall/sa/squall-load]}}], to: [{operation: {methods: [GET], paths: ['/get*']}}]}]}")}, get("/get", 1, 10), allOK, nil},
		{"others may call", []string{policy("AuthorizationPolicy", "some", "{rules: [{from: [{source: {principals: [cluster.local/ns/squall/sa/other]}}]}]}")}, get("/get", 1, 10), map[string]want{"ratio(code == 403)": exactly(1)}, nil},
		{"nobody with a proxy is in plain text", []string{policy("PeerAuthentication", "default", "{mtls: {mode: DISABLE}}"), policy("AuthorizationPolicy", "some", "{rules: [{from: [{source: {namespaces: [squall]}}]}]}")}, get("/get", 1, 10), map[string]want{"ratio(code == 403)": exactly(1)}, nil},
		{"addresses are not known", []string{policy("AuthorizationPolicy", "some", "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}")}, get("/get", 1, 10), nil, []string{"ratio"}},
		{"no token is needed", []string{policy("RequestAuthentication", "jwt", "{jwtRules: [{issuer: here}]}")}, get("/get", 1, 10), allOK, nil},
		{"a token of somebody else", []string{policy("RequestAuthentication", "jwt", "{jwtRules: [{issuer: here}]}")}, bearer(get("/get", 1, 10), token("there")), map[string]want{"ratio(code == 401)": exactly(1)}, nil},
		{"no token at all", []string{policy("RequestAuthentication", "jwt", "{jwtRules: [{issuer: here}]}")}, bearer(get("/get", 1, 10), "nonsense"), map[string]want{"ratio(code == 401)": exactly(1)}, nil},
		{"a token that may be forged", []string{policy("RequestAuthentication", "jwt", "{jwtRules: [{issuer: here}]}")}, bearer(get("/get", 1, 10), token("here")), nil, []string{"ratio"}},
		{"a token is needed", []string{policy("RequestAuthentication", "jwt", "{jwtRules: [{issuer: here}]}"), policy("AuthorizationPolicy", "claims", "{rules: [{when: [{key: 'request.auth.claims[role]', values: [admin]}]}]}")}, get("/get", 1, 10), map[string]want{"ratio(code == 403)": exactly(1)}, nil},
		{"two rules for one host", []string{virtualService("httpbin", "\n  - route: [{destination: {host: httpbin}}]\n"), "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: other}\nspec: {hosts: [httpbin], http: [{route: [{destination: {host: httpbin}}]}]}\n"}, get("/get", 1, 10), nil, []string{"ratio"}},
		{"a redirect", []string{virtualService("httpbin", "\n  - redirect: {uri: /}\n")}, get("/get", 1, 10), map[string]want{"ratio(code == 301)": exactly(1)}, []string{"records"}},
		{"a filter that nobody knows", []string{file(t, "../../scenarios/traffic/manifests/internal-callers.yaml")}, get("/get", 1, 10), nil, []string{"ratio"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := oracle.Predict(httpbin(t, tc.rules...), tc.req)
			compare(t, got, tc.want, tc.not)
			if tc.want == nil && len(got.Unpredicted) == 0 {
				t.Error("does not say why nothing is predicted")
			}
		})
	}
}
