package lint_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/lint"
	"squall/internal/scenario"
)

// object is one of Istio's, of a name, with a spec in YAML's flow style.
func object(kind, name, spec string) string {
	group := "networking.istio.io"
	if kind == "PeerAuthentication" || kind == "RequestAuthentication" || kind == "AuthorizationPolicy" {
		group = "security.istio.io"
	}
	return fmt.Sprintf("apiVersion: %s/v1\nkind: %s\nmetadata: {name: %s}\nspec: %s", group, kind, name, spec)
}

func virtual(name, spec string) string     { return object("VirtualService", name, spec) }
func destination(name, spec string) string { return object("DestinationRule", name, spec) }

const (
	toHTTPBin = `route: [{destination: {host: httpbin}}]`
	tcp       = "apiVersion: v1\nkind: Service\nmetadata: {name: plain}\nspec: {selector: {app: httpbin}, ports: [%s]}"
)

// TestObjects has what the page's examples do not reach: variants, and what must not be found.
func TestObjects(t *testing.T) {
	for name, tc := range map[string]struct {
		objects []string
		want    []string // id path
	}{
		"nothing": {nil, nil},
		"subsets of two rules are merged": {[]string{
			destination("a", `{host: httpbin, subsets: [{name: v1, labels: {version: v1}}]}`),
			destination("b", `{host: httpbin, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}`),
		}, nil},
		"one subset of two rules": {[]string{
			destination("a", `{host: httpbin, subsets: [{name: v1, labels: {version: v1}}]}`),
			destination("b", `{host: httpbin.default.svc.cluster.local, subsets: [{name: v1, labels: {app: httpbin}}]}`),
		}, []string{"conflicting-hosts spec.host"}},
		"two policies": {[]string{
			destination("a", `{host: httpbin, trafficPolicy: {loadBalancer: {simple: RANDOM}}}`),
			destination("b", `{host: httpbin, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}`),
		}, []string{"conflicting-hosts spec.host"}},
		"a policy for some callers": {[]string{
			destination("a", `{host: httpbin, trafficPolicy: {loadBalancer: {simple: RANDOM}}}`),
			destination("b", `{host: httpbin, workloadSelector: {matchLabels: {app: reviews}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}`),
		}, nil},
		"a short and a full name": {[]string{
			virtual("a", `{hosts: [httpbin], http: [{`+toHTTPBin+`}]}`),
			virtual("b", `{hosts: [httpbin.default.svc.cluster.local], http: [{`+toHTTPBin+`}]}`),
		}, []string{"conflicting-hosts spec.hosts"}},
		"VirtualServices of a gateway are merged": {[]string{
			object("Gateway", "g", `{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}`),
			virtual("a", `{hosts: ["*"], gateways: [g], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: httpbin, port: {number: 8000}}}]}]}`),
			virtual("b", `{hosts: ["*"], gateways: [g], http: [{match: [{uri: {prefix: /b}}], route: [{destination: {host: httpbin, port: {number: 8000}}}]}]}`),
		}, nil},
		"half of one pod": {[]string{
			destination("a", `{host: httpbin, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, maxEjectionPercent: 50}}}`),
		}, []string{"ejects-nothing spec.trafficPolicy.outlierDetection"}},
		"all of one pod": {[]string{
			destination("a", `{host: httpbin, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, maxEjectionPercent: 100}}}`),
		}, nil},
		"a subset ejects nothing": {[]string{
			destination("a", `{host: reviews, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}}]}`),
		}, []string{"ejects-nothing spec.subsets[0].trafficPolicy.outlierDetection"}},
		"one pod of a subset, though of all pods it is one": {[]string{
			destination("a", `{host: reviews, trafficPolicy: {outlierDetection: {maxEjectionPercent: 50}},
  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {outlierDetection: {maxEjectionPercent: 50}}}]}`),
		}, []string{"ejects-nothing spec.subsets[0].trafficPolicy.outlierDetection"}},
		"a port ejects nothing": {[]string{
			destination("a", `{host: httpbin, trafficPolicy: {portLevelSettings: [{port: {number: 8000}, outlierDetection: {consecutive5xxErrors: 3}}]}}`),
		}, []string{"ejects-nothing spec.trafficPolicy.portLevelSettings[0].outlierDetection"}},
		"a port of a subset ejects nothing": {[]string{
			destination("a", `{host: httpbin, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {portLevelSettings: [{port: {number: 8000}, outlierDetection: {}}]}}]}`),
		}, []string{"ejects-nothing spec.subsets[0].trafficPolicy.portLevelSettings[0].outlierDetection"}},
		"a subset without pods has none to eject": {[]string{
			destination("a", `{host: httpbin, subsets: [{name: v7, labels: {version: v7}, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}}]}`),
		}, nil},
		"an abort beside retries": {[]string{
			virtual("a", `{hosts: [httpbin], http: [{fault: {abort: {percentage: {value: 5}, httpStatus: 503}}, retries: {attempts: 2, retryOn: 5xx}, `+toHTTPBin+`}]}`),
		}, []string{"fault-beside-timeout spec.http[0].fault.abort"}},
		"an abort beside no retries": {[]string{
			virtual("a", `{hosts: [httpbin], http: [{fault: {abort: {percentage: {value: 5}, httpStatus: 503}}, retries: {attempts: 0}, `+toHTTPBin+`}]}`),
		}, nil},
		"a delay of no request": {[]string{
			virtual("a", `{hosts: [httpbin], http: [{fault: {delay: {percentage: {value: 0}, fixedDelay: 1s}}, `+toHTTPBin+`}]}`),
		}, []string{"percent-zero spec.http[0].fault.delay"}},
		"the old percent": {[]string{
			virtual("a", `{hosts: [httpbin], http: [{fault: {delay: {percent: 10, fixedDelay: 1s}}, `+toHTTPBin+`}]}`),
		}, nil},
		"a token that is required": {[]string{
			object("RequestAuthentication", "a", `{selector: {matchLabels: {app: httpbin}}, jwtRules: [{issuer: x, jwksUri: "https://x/keys"}]}`),
			object("AuthorizationPolicy", "a", `{selector: {matchLabels: {app: httpbin}}, rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}`),
		}, nil},
		"two policies for nobody": {[]string{
			object("PeerAuthentication", "a", `{selector: {matchLabels: {app: http-bin}}, mtls: {mode: STRICT}}`),
			object("RequestAuthentication", "b", `{selector: {matchLabels: {app: http-bin}}, jwtRules: [{issuer: x, jwksUri: "https://x/keys"}]}`),
		}, []string{"selects-nothing spec.selector", "selects-nothing spec.selector"}},
		"mesh beside a gateway that is not there": {[]string{
			virtual("a", `{hosts: [httpbin], gateways: [mesh, else/public], http: [{`+toHTTPBin+`}]}`),
		}, []string{"missing-gateway spec.gateways[1]"}},
		"callers of mutual TLS for plain pods": {[]string{
			object("PeerAuthentication", "a", `{selector: {matchLabels: {app: httpbin}}, mtls: {mode: DISABLE}}`),
			destination("a", `{host: httpbin, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}`),
		}, []string{"mtls-conflict spec.trafficPolicy.tls"}},
		"plain callers of pods that take both": {[]string{
			object("PeerAuthentication", "a", `{mtls: {mode: PERMISSIVE}}`),
			destination("a", `{host: httpbin, trafficPolicy: {tls: {mode: DISABLE}}}`),
		}, nil},
		"plain callers of a port that takes no mutual TLS": {[]string{
			object("PeerAuthentication", "a", `{selector: {matchLabels: {app: httpbin}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}`),
			destination("a", `{host: httpbin, trafficPolicy: {tls: {mode: DISABLE}}}`),
		}, nil},
		"plain callers of a port that takes mutual TLS alone": {[]string{
			object("PeerAuthentication", "a", `{selector: {matchLabels: {app: httpbin}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {8080: {mode: STRICT}}}`),
			destination("a", `{host: httpbin, trafficPolicy: {tls: {mode: DISABLE}}}`),
		}, []string{"mtls-conflict spec.trafficPolicy.tls"}},
		"callers of mutual TLS for a port that takes none": {[]string{
			object("PeerAuthentication", "a", `{selector: {matchLabels: {app: httpbin}}, portLevelMtls: {8080: {mode: DISABLE}}}`),
			destination("a", `{host: httpbin, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}`),
		}, []string{"mtls-conflict spec.trafficPolicy.tls"}},
		"plain callers, but not of the port": {[]string{
			object("PeerAuthentication", "a", `{mtls: {mode: STRICT}}`),
			destination("a", `{host: httpbin, trafficPolicy: {tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 8000}, tls: {mode: ISTIO_MUTUAL}}]}}`),
		}, nil},
		"plain callers of the port alone": {[]string{
			object("PeerAuthentication", "a", `{mtls: {mode: STRICT}}`),
			destination("a", `{host: httpbin, trafficPolicy: {portLevelSettings: [{port: {number: 8000}, tls: {mode: DISABLE}}]}}`),
		}, []string{"mtls-conflict spec.trafficPolicy.portLevelSettings[0].tls"}},
		"plain callers of a subset": {[]string{
			object("PeerAuthentication", "a", `{mtls: {mode: STRICT}}`),
			destination("a", `{host: httpbin, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {tls: {mode: DISABLE}}}]}`),
		}, []string{"mtls-conflict spec.subsets[0].trafficPolicy.tls"}},
		"a port by its name, that may take either": {[]string{
			fmt.Sprintf(tcp, `{name: http, port: 80, targetPort: web}`),
			object("PeerAuthentication", "a", `{selector: {matchLabels: {app: httpbin}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}`),
			destination("a", `{host: plain, trafficPolicy: {tls: {mode: DISABLE}}}`),
		}, nil},
		"a port by its name, that takes what all do": {[]string{
			fmt.Sprintf(tcp, `{name: http, port: 80, targetPort: web}`),
			object("PeerAuthentication", "a", `{selector: {matchLabels: {app: httpbin}}, mtls: {mode: STRICT}}`),
			destination("a", `{host: plain, trafficPolicy: {tls: {mode: DISABLE}}}`),
		}, []string{"mtls-conflict spec.trafficPolicy.tls"}},
		"a TCP port beside an HTTP port": {[]string{
			fmt.Sprintf(tcp, `{name: http, port: 80}, {name: tcp-metrics, port: 9000}`),
			virtual("plain", `{hosts: [plain], http: [{timeout: 1s, route: [{destination: {host: plain, port: {number: 80}}}]}]}`),
		}, nil},
		"a port of unknown protocol is sniffed": {[]string{
			fmt.Sprintf(tcp, `{name: web, port: 9000}`),
			virtual("plain", `{hosts: [plain], http: [{timeout: 1s, route: [{destination: {host: plain}}]}]}`),
		}, nil},
		"retries of other answers": {[]string{
			virtual("ratings", `{hosts: [ratings], http: [{fault: {abort: {percentage: {value: 50}, httpStatus: 503}}, route: [{destination: {host: ratings}}]}]}`),
			virtual("reviews", `{hosts: [reviews], http: [{retries: {attempts: 3, retryOn: connect-failure}, route: [{destination: {host: reviews}}]}]}`),
		}, nil},
		"retries of what always fails": {[]string{
			virtual("ratings", `{hosts: [ratings], http: [{fault: {abort: {percentage: {value: 100}, httpStatus: 503}}, route: [{destination: {host: ratings}}]}]}`),
			virtual("reviews", `{hosts: [reviews], http: [{retries: {attempts: 3, retryOn: 5xx}, route: [{destination: {host: reviews}}]}]}`),
		}, nil},
		"Istio's own retries of gRPC": {[]string{
			virtual("ratings", `{hosts: [ratings], http: [{fault: {abort: {percentage: {value: 50}, grpcStatus: UNAVAILABLE}}, route: [{destination: {host: ratings}}]}]}`),
			virtual("reviews", `{hosts: [reviews], http: [{timeout: 9s, route: [{destination: {host: reviews}}]}]}`),
		}, []string{"retries-dilute spec.http[0].fault.abort"}},
		"a mirror to no subset and a host without one": {[]string{
			virtual("a", `{hosts: [httpbin], http: [{mirror: {host: httpbin, subset: v2}, `+toHTTPBin+`}, {match: [{uri: {exact: /x}}], route: [{destination: {host: nobody}}]}]}`),
		}, []string{"missing-subset spec.http[0].mirror", "unreachable-route spec.http[1]", "unknown-host spec.http[1].route[0]"}},
		"hosts of a gateway and the mesh": {[]string{
			object("Gateway", "g", `{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}`),
			virtual("a", `{hosts: [httpbin, shop.example.com], gateways: [g, mesh], http: [{route: [{destination: {host: httpbin, port: {number: 8000}}}]}]}`),
		}, nil},
		"a destination of a gateway and the mesh": {[]string{
			object("Gateway", "g", `{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}`),
			virtual("a", `{hosts: [shop.example.com], gateways: [g, mesh], http: [{route: [{destination: {host: nobody}}]}]}`),
		}, []string{"unknown-host spec.http[0].route[0]"}},
		"the same match twice": {[]string{
			virtual("a", `{hosts: [httpbin], http: [{match: [{uri: {prefix: /x}}], `+toHTTPBin+`}, {match: [{uri: {prefix: /x}}], `+toHTTPBin+`}, {`+toHTTPBin+`}]}`),
		}, []string{"unreachable-route spec.http[1]"}},
		"weights of two that are no percentages": {[]string{
			destination("a", `{host: httpbin, subsets: [{name: v1, labels: {version: v1}}]}`),
			virtual("a", `{hosts: [httpbin], http: [{route: [{destination: {host: httpbin}, weight: 1}, {destination: {host: httpbin, subset: v1}, weight: 1}]}]}`),
		}, []string{"weights-not-100 spec.http[0].route"}},
		"a subset without pods that no route is for": {[]string{
			destination("a", `{host: httpbin, subsets: [{name: squall-0a1b2c-s1, labels: {squall: s1}}]}`),
		}, nil},
		"a ServiceEntry's host": {[]string{
			object("ServiceEntry", "a", `{hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}`),
			virtual("a", `{hosts: [api.example.com], http: [{timeout: 1s, route: [{destination: {host: api.example.com}}]}]}`),
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			all := around(t)
			for _, o := range tc.objects {
				all = append(all, objects(t, o)...)
			}
			found, ignored := lint.Objects(all)
			var have []string
			for _, f := range found {
				have = append(have, f.ID+" "+f.Ref.Path)
				if f.What == "" || f.Hint == "" || !strings.HasPrefix(f.String(), f.ID+": "+f.Ref.Object.GetKind()+" ") {
					t.Errorf("%s says too little", f)
				}
			}
			if !slices.Equal(have, tc.want) || ignored != 0 {
				t.Errorf("found %q, ignored %d; want %q", have, ignored, tc.want)
			}
		})
	}
}

// TestTokenNotRequired has policies beside a RequestAuthentication: which of them ask for a token.
func TestTokenNotRequired(t *testing.T) {
	const tokens = `{selector: {matchLabels: {app: httpbin}}, jwtRules: [{issuer: x, jwksUri: "https://x/keys"}]}`
	for policy, want := range map[string]bool{
		`{action: AUDIT, rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}`:                                     true,
		`{action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {paths: [/admin]}}]}]}`:                       true,
		`{action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`:                                              true,
		`{action: DENY, rules: [{from: [{source: {requestPrincipals: [x/bob]}}]}]}`:                                    true,
		`{action: DENY, rules: [{when: [{key: "request.auth.claims[group]", values: [guests]}]}]}`:                     true,
		`{rules: [{to: [{operation: {methods: [GET]}}]}]}`:                                                             true,
		`{rules: [{from: [{source: {notRequestPrincipals: [x/bob]}}]}]}`:                                               true,
		`{rules: [{from: [{source: {requestPrincipals: ["*"]}}, {source: {namespaces: [default]}}]}]}`:                 false,
		`{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}`:                                                    false,
		`{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}, {to: [{operation: {paths: [/health]}}]}]}`:           false,
		`{rules: [{when: [{key: request.auth.principal, values: ["*"]}]}]}`:                                            false,
		`{rules: [{when: [{key: "request.auth.claims[group]", values: [staff]}], to: [{operation: {paths: [/a]}}]}]}`:  false,
		`{action: DENY, rules: [{from: [{source: {notRequestPrincipals: ["*"]}}], to: [{operation: {paths: [/a]}}]}]}`: false,
		`{action: DENY, rules: [{when: [{key: request.auth.audiences, notValues: [shop]}]}]}`:                          false,
		`{action: DENY, rules: [{}]}`: false, // lets nothing through
		`{}`:                          false, // nor does this
	} {
		all := append(around(t), objects(t, object("RequestAuthentication", "a", tokens)+"\n---\n"+object("AuthorizationPolicy", "a", policy))...)
		found, _ := lint.Objects(all)
		if have := len(found) == 1 && found[0].ID == "jwt-not-required"; have != want || len(found) > 1 {
			t.Errorf("%s: found %v, want it %t", policy, found, want)
		}
	}
}

// TestWithoutServices asks nothing of manifests that only a whole mesh can answer.
func TestWithoutServices(t *testing.T) {
	found, _ := lint.Objects(objects(t, virtual("a", `{hosts: [nobody], http: [{route: [{destination: {host: nobody, subset: v7}}]}]}`)+
		"\n---\n"+object("AuthorizationPolicy", "a", `{selector: {matchLabels: {app: nobody}}, rules: [{}]}`)))
	if len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

func TestEveryFindingIsOfItsObject(t *testing.T) {
	all := append(around(t), objects(t, virtual("a", `{hosts: [nobody], http: [{`+toHTTPBin+`}]}`))...)
	found, _ := lint.Objects(all)
	if len(found) != 1 || found[0].Ref.Object != all[len(all)-1] {
		t.Errorf("found %v", found)
	}
}

func TestIgnores(t *testing.T) {
	for _, tc := range []struct {
		list, id string
		want     bool
	}{
		{"", "percent-zero", false},
		{"percent-zero", "percent-zero", true},
		{" not-http , percent-zero", "percent-zero", true},
		{"percent", "percent-zero", false},
		{"percent-zero", "", false},
	} {
		if got := lint.Ignores(tc.list, tc.id); got != tc.want {
			t.Errorf("Ignores(%q, %q) = %t", tc.list, tc.id, got)
		}
	}
}

func TestFewFaults(t *testing.T) {
	for _, tc := range []struct {
		percent  float64
		requests int64
		few      bool
	}{{1, 100, true}, {1, 999, true}, {1, 1000, false}, {100, 10, false}, {100, 9, false}, {99, 9, true}, {5, 0, false}} {
		f, few := lint.FewFaults(scenario.Pos{}, tc.percent, tc.requests)
		if few != tc.few || few && f.ID != lint.SmallSample {
			t.Errorf("%g %% of %d: %t, %s", tc.percent, tc.requests, few, f)
		}
	}
}

// FuzzObjects holds that no object, however strange, makes lint panic.
func FuzzObjects(f *testing.F) {
	f.Add(`{"hosts":["httpbin"],"http":[{"route":[{"weight":-1}],"fault":{"abort":{}}}]}`, `{"host":"*","trafficPolicy":{"tls":{}}}`)
	f.Add(`{"http":[{"delegate":{"name":"x"}},{"redirect":{}}]}`, `{"subsets":[{}]}`)
	f.Fuzz(func(t *testing.T, route, rule string) {
		var all []*unstructured.Unstructured
		for _, text := range []string{virtual("a", route), destination("a", rule)} {
			o, err := parse(text)
			if err != nil {
				return
			}
			all = append(all, o)
		}
		found, ignored := lint.Objects(append(around(t), all...))
		if ignored != 0 {
			t.Errorf("nothing asked to ignore %d of %v", ignored, found)
		}
	})
}
