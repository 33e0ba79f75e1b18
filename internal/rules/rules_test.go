package rules_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/rules"
	"squall/internal/scenario"
)

// objects reads manifests; what names no namespace is in squall.
func objects(t testing.TB, manifests ...string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, text := range manifests {
		parsed, err := scenario.ParseManifests("manifest.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		for _, o := range parsed {
			u := &unstructured.Unstructured{Object: o.Object}
			if u.GetNamespace() == "" && u.GetKind() != "Namespace" {
				u.SetNamespace("squall")
			}
			out = append(out, u)
		}
	}
	return out
}

func fixture(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile("../../fixtures/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func bookinfo(t testing.TB, more ...string) *rules.Model {
	t.Helper()
	texts := []string{fixture(t, "bookinfo/bookinfo.yaml"), fixture(t, "bookinfo-destination-rules/destination-rules.yaml")}
	return rules.Read(objects(t, append(texts, more...)...), rules.Options{})
}

// vs is a VirtualService for reviews with these http routes.
func vs(name, http string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " + name + "}\nspec:\n  hosts: [reviews]\n  http:\n" + http
}

var productpage = rules.Caller{
	Namespace: "squall", Labels: map[string]string{"app": "productpage", "version": "v1"}, Proxy: rules.Sidecar,
	ServiceAccount: "bookinfo-productpage",
}

func TestServices(t *testing.T) {
	m := bookinfo(t)
	s := m.Service("reviews", "squall")
	if s == nil || s.Host != "reviews.squall.svc.cluster.local" || rules.Pods(s.Workloads) != 3 || s.Unknown != "" {
		t.Fatalf("%+v", s)
	}
	for _, name := range []string{"reviews.squall", "reviews.squall.svc", "reviews.squall.svc.cluster.local"} {
		if m.Service(name, "elsewhere") != s {
			t.Errorf("%s is not found", name)
		}
	}
	if m.Service("reviews", "elsewhere") != nil {
		t.Error("a short name reaches another namespace")
	}
	if p, ok := s.Port(9080); !ok || p.HTTP() != rules.Yes {
		t.Errorf("%+v", p)
	}
	if len(m.Problems) > 0 {
		t.Error(m.Problems)
	}
}

func TestPick(t *testing.T) {
	header := `
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
`
	match := func(m string) string {
		return "\n  - match: [" + m + "]\n    route: [{destination: {host: reviews, subset: v2}}]\n"
	}
	jason := map[string]string{"End-User": "jason"}
	for _, tc := range []struct {
		name, http string
		req        rules.Request
		want       rules.Truth
		subset     string
	}{
		{"header fits", header, rules.Request{Path: "/", Headers: jason}, rules.Yes, "v2"},
		{"header is missing", header, rules.Request{Path: "/"}, rules.Yes, "v1"},
		{"headers are not known", header, rules.Request{Path: "/", Others: true}, rules.Unknown, "v2"},
		{"prefix", match(`{uri: {prefix: /api/v2}}`), rules.Request{Path: "/api/v2/x?y=1"}, rules.Yes, "v2"},
		{"prefix of no segment", match(`{uri: {prefix: /api/v2}}`), rules.Request{Path: "/api/v20"}, rules.Yes, "v2"},
		{"exact ignores the query", match(`{uri: {exact: /a}}`), rules.Request{Path: "/a?b"}, rules.Yes, "v2"},
		{"case", match(`{uri: {exact: /A}}`), rules.Request{Path: "/a"}, rules.No, ""},
		{"case is ignored", match(`{uri: {exact: /A}, ignoreUriCase: true}`), rules.Request{Path: "/a"}, rules.Yes, "v2"},
		{"regular expression is whole", match(`{uri: {regex: "/a.?"}}`), rules.Request{Path: "/abc"}, rules.No, ""},
		{"path is not known", match(`{uri: {exact: /a}}`), rules.Request{}, rules.Unknown, "v2"},
		{"method", match(`{method: {exact: POST}}`), rules.Request{Path: "/", Method: "GET"}, rules.No, ""},
		{"port", match(`{port: 9081}`), rules.Request{Path: "/", Port: 9080}, rules.No, ""},
		{"source labels", match(`{sourceLabels: {app: productpage}}`), rules.Request{Path: "/"}, rules.Yes, "v2"},
		{"other source labels", match(`{sourceLabels: {app: ratings}}`), rules.Request{Path: "/"}, rules.No, ""},
		{"gateways", match(`{gateways: [mesh]}`), rules.Request{Path: "/"}, rules.Yes, "v2"},
		{"other gateways", match(`{gateways: [entry]}`), rules.Request{Path: "/"}, rules.No, ""},
		{"gateways make source labels void", match(`{gateways: [mesh], sourceLabels: {app: x}}`), rules.Request{Path: "/"}, rules.Yes, "v2"},
		{"without header", match(`{withoutHeaders: {end-user: {exact: jason}}}`), rules.Request{Path: "/", Headers: jason}, rules.No, ""},
		{"without header that is missing", match(`{withoutHeaders: {end-user: {exact: jason}}}`), rules.Request{Path: "/"}, rules.Yes, "v2"},
		{"query", match(`{queryParams: {u: {exact: test}}}`), rules.Request{Path: "/?u=test"}, rules.Yes, "v2"},
		{"other query", match(`{queryParams: {u: {exact: test}}}`), rules.Request{Path: "/?u=normal"}, rules.No, ""},
		{"present", match(`{headers: {end-user: {}}}`), rules.Request{Path: "/", Headers: jason}, rules.Yes, "v2"},
		{"header that clients add", match(`{headers: {user-agent: {prefix: curl}}}`), rules.Request{Path: "/"}, rules.Unknown, "v2"},
		{"two conditions", match(`{uri: {prefix: /}, headers: {end-user: {exact: ann}}}`), rules.Request{Path: "/", Headers: jason}, rules.No, ""},
		{"two matches", match(`{uri: {exact: /a}}, {uri: {exact: /b}}`), rules.Request{Path: "/b"}, rules.Yes, "v2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			routing := bookinfo(t, vs("reviews", tc.http)).Routing(productpage, "reviews", 9080)
			if routing.Unknown != "" {
				t.Fatal(routing.Unknown)
			}
			route, got := routing.Pick(tc.req, productpage)
			if got != tc.want {
				t.Fatalf("got %v, want %v", got, tc.want)
			}
			if route != nil && route.Destinations[0].Subset != tc.subset {
				t.Errorf("got %s, want %s", route.Destinations[0].Subset, tc.subset)
			}
		})
	}
}

func TestRoute(t *testing.T) {
	m := bookinfo(t, vs("reviews", `
  - name: all
    fault:
      delay: {percent: 25, fixedDelay: 7s}
      abort: {percentage: {value: 10}, httpStatus: 500}
    timeout: 0.5s
    retries: {attempts: 3, perTryTimeout: 1s, retryOn: "5xx,reset,404"}
    mirror: {host: reviews, subset: v3}
    mirrorPercentage: {value: 50}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 75}
    - {destination: {host: reviews, subset: v2}, weight: 25}
`))
	r := m.Routing(productpage, "reviews", 9080).Routes[0]
	if r.Name != "all" || r.Ref.String() != "VirtualService reviews spec.http[0]" || r.Timeout != 500*time.Millisecond {
		t.Errorf("%+v", r)
	}
	if r.Delay.Share != 0.25 || r.Delay.Fixed != 7*time.Second || r.Abort.Share != 0.1 || r.Abort.Status != 500 {
		t.Errorf("%+v %+v", r.Delay, r.Abort)
	}
	if got := r.Abort.Ref.String(); got != "VirtualService reviews spec.http[0].fault.abort" {
		t.Error(got)
	}
	if r.Retries.Attempts != 3 || !r.Retries.Retried(503) || !r.Retries.Retried(404) || r.Retries.Retried(409) || !r.Retries.Has("reset") {
		t.Errorf("%+v", r.Retries)
	}
	if d := r.Destinations; len(d) != 2 || d[0].Share != 0.75 || d[1].Subset != "v2" || d[1].Port != 9080 {
		t.Errorf("%+v", d)
	}
	if len(r.Mirrors) != 1 || r.Mirrors[0].Share != 0.5 || r.Mirrors[0].Subset != "v3" {
		t.Errorf("%+v", r.Mirrors)
	}
}

func TestDefaults(t *testing.T) {
	m := bookinfo(t)
	r := m.Routing(productpage, "reviews", 9080)
	if len(r.Routes) != 1 || len(r.Rules) != 0 || r.Routes[0].Name != "default" {
		t.Fatalf("%+v", r)
	}
	retries := r.Routes[0].Retries
	if retries.Attempts != 2 || retries.Retried(503) || retries.Retried(500) || !retries.Has("connect-failure") || !retries.Ref.IsZero() {
		t.Errorf("this Istio retries no answer by itself: %+v", retries)
	}
	absent := bookinfo(t, vs("reviews", `
  - fault: {delay: {fixedDelay: 1s}, abort: {httpStatus: 500}}
    retries: {attempts: 0}
    route: [{destination: {host: reviews}}]
`)).Routing(productpage, "reviews", 9080).Routes[0]
	if absent.Delay.Share != 0 || absent.Abort.Share != 0 || absent.Retries.Attempts != 0 {
		t.Errorf("a percentage that is not there is none: %+v %+v", absent.Delay, absent.Abort)
	}
}

func TestWhichRuleHolds(t *testing.T) {
	one := vs("b", "\n  - route: [{destination: {host: reviews, subset: v1}}]\n")
	two := vs("a", "\n  - route: [{destination: {host: reviews, subset: v2}}]\n")
	at := func(text, time string) string {
		return strings.Replace(text, "metadata: {", "metadata: {creationTimestamp: '"+time+"', ", 1)
	}
	edit := strings.NewReplacer
	for _, tc := range []struct {
		name    string
		texts   []string
		want    string
		ignored int
	}{
		{"the oldest", []string{at(one, "2026-01-01T00:00:00Z"), at(two, "2026-01-01T00:00:01Z")}, "b", 1},
		{"in the same second the first name", []string{one, two}, "a", 1},
		{"an exact host", []string{one, edit("hosts: [reviews]", "hosts: ['*.squall.svc.cluster.local']").Replace(two)}, "b", 0},
		{"the longer wildcard", []string{
			edit("hosts: [reviews]", "hosts: ['*.local']").Replace(one),
			edit("hosts: [reviews]", "hosts: ['*.squall.svc.cluster.local']").Replace(two),
		}, "a", 0},
		{"what is private comes first", []string{edit("spec:", "spec:\n  exportTo: ['.']").Replace(one), two}, "b", 1},
		{"not what other namespaces keep", []string{edit("spec:", "spec:\n  exportTo: [other]").Replace(two), one}, "b", 0},
		{"not what is bound to a gateway", []string{edit("spec:", "spec:\n  gateways: [entry]").Replace(two), one}, "b", 0},
		{"a short host is of the object's namespace", []string{edit("metadata: {", "metadata: {namespace: other, ").Replace(two), one}, "b", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := bookinfo(t, tc.texts...).Routing(productpage, "reviews", 9080)
			if len(r.Rules) != 1 || r.Rules[0].Ref.Object.GetName() != tc.want || len(r.Ignored) != tc.ignored {
				t.Errorf("got %v, ignored %v", r.Rules[0].Ref, r.Ignored)
			}
		})
	}
	if r := bookinfo(t, one).Routing(rules.Caller{Namespace: "squall"}, "reviews", 9080); len(r.Rules) > 0 || len(r.Routes) != 1 {
		t.Errorf("a caller without a proxy has no rules: %+v", r)
	}
}
