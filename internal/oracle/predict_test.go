package oracle_test

import (
	"math"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/oracle"
	"squall/internal/rules"
	"squall/internal/scenario"
)

// objects reads manifests into the namespace squall, and declares what workloads of these names do.
func objects(t testing.TB, declared map[string]string, manifests ...string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, text := range manifests {
		parsed, err := scenario.ParseManifests("manifest.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		for _, o := range parsed {
			u := &unstructured.Unstructured{Object: o.Object}
			if u.GetNamespace() == "" {
				u.SetNamespace("squall")
			}
			if b, ok := declared[u.GetName()]; ok && u.GetKind() == "Deployment" {
				u.SetAnnotations(map[string]string{oracle.Annotation: b})
			}
			out = append(out, u)
		}
	}
	return out
}

func file(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var loader = rules.Caller{Namespace: "squall", Labels: map[string]string{"app": "squall-load"}, Proxy: rules.Sidecar, ServiceAccount: "squall-load"}

func bookinfo(t testing.TB, more ...string) *rules.Model {
	return rules.Read(objects(t, nil, append([]string{
		file(t, "../../fixtures/bookinfo/bookinfo.yaml"), file(t, "../../fixtures/bookinfo-destination-rules/destination-rules.yaml"),
	}, more...)...), rules.Options{})
}

func httpbin(t testing.TB, more ...string) *rules.Model {
	return rules.Read(objects(t, nil, append([]string{file(t, "../../fixtures/httpbin/httpbin.yaml")}, more...)...), rules.Options{})
}

func virtualService(host, http string) string {
	return "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: " + host + "}\nspec:\n  hosts: [" + host +
		"]\n  http:\n" + strings.Trim(http, "\n") + "\n"
}

func toV(version string) string {
	return "\n  - route: [{destination: {host: reviews, subset: " + version + "}}]\n"
}

const jasonLate = `
  - match: [{headers: {end-user: {exact: jason}}}]
    fault: {delay: {percentage: {value: 100}, fixedDelay: 7s}}
    route: [{destination: {host: ratings, subset: v1}}]
  - route: [{destination: {host: ratings, subset: v1}}]
`

// want is a value, or bounds.
type want struct{ value, lo, hi float64 }

func exactly(v float64) want      { return want{value: v, lo: math.NaN()} }
func between(lo, hi float64) want { return want{lo: lo, hi: hi} }

func page(n int64) oracle.Request {
	return oracle.Request{URL: "http://productpage:9080/productpage", Caller: loader, Connections: 1, Requests: n}
}

func ratings(n int64) oracle.Request {
	return oracle.Request{URL: "http://ratings:9080/ratings/0", Caller: loader, Connections: 4, Requests: n}
}

func reviews(n int64) oracle.Request {
	return oracle.Request{URL: "http://reviews:9080/reviews/0", Caller: loader, Connections: 4, Requests: n}
}

func signedIn(r oracle.Request, name string) oracle.Request {
	r.SignIn = map[string]string{"username": name}
	return r
}

func with(r oracle.Request, change func(*oracle.Request)) oracle.Request {
	change(&r)
	return r
}

func TestTutorial(t *testing.T) {
	jasonV2 := "\n  - match: [{headers: {end-user: {exact: jason}}}]\n    route: [{destination: {host: reviews, subset: v2}}]" + toV("v1")
	for _, tc := range []struct {
		name  string
		rules []string
		req   oracle.Request
		want  map[string]want
		not   []string
	}{
		{"no rule", nil, ratings(100), map[string]want{"ratio(code == 200)": exactly(1), `ratio(version == "v1")`: exactly(1), "access(ratings).count": exactly(100)}, nil},
		{"all to v1", []string{virtualService("reviews", toV("v1"))}, page(50), map[string]want{
			"ratio(code == 200)": exactly(1), `access(reviews, version == "v1").ratio`: exactly(1), "access(reviews).count": exactly(50), "access(details).count": exactly(50),
		}, []string{"access(ratings"}},
		{"round robin over versions, one caller", nil, page(90), map[string]want{
			`access(reviews, version == "v1").ratio`: exactly(1. / 3), `access(reviews, version == "v3").ratio`: exactly(1. / 3),
		}, nil},
		{"90 to 10", []string{virtualService("reviews", "\n  - route:\n    - {destination: {host: reviews, subset: v1}, weight: 90}\n    - {destination: {host: reviews, subset: v2}, weight: 10}\n")}, reviews(100),
			map[string]want{`ratio(version == "v1")`: exactly(.9), `ratio(version == "v2")`: exactly(.1), "ratio(code == 200)": exactly(1)}, nil},
		{"half to v3, behind the page", []string{virtualService("reviews", "\n  - route:\n    - {destination: {host: reviews, subset: v1}, weight: 50}\n    - {destination: {host: reviews, subset: v3}, weight: 50}\n")}, page(0),
			map[string]want{`access(reviews, version == "v3").ratio`: exactly(.5), "ratio(code == 200)": exactly(1)}, []string{".count"}},
		{"jason to v2", []string{virtualService("reviews", jasonV2)}, signedIn(page(10), "jason"), map[string]want{`access(reviews, version == "v2").ratio`: exactly(1), "access(ratings).count": exactly(10)}, nil},
		{"others to v1", []string{virtualService("reviews", jasonV2)}, page(10), map[string]want{`access(reviews, version == "v1").ratio`: exactly(1)}, nil},
		{"jason's ratings are late: the page gives up twice", []string{virtualService("reviews", jasonV2), virtualService("ratings", jasonLate)}, signedIn(page(20), "jason"), map[string]want{
			"ratio(code == 200)": exactly(1), "ratio(latency >= 5.99s)": exactly(1), `proxy(reviews).counter("fault\\.delays_injected")`: exactly(40), "access(reviews).count": exactly(40),
		}, []string{"access(ratings"}},
		{"others are not late", []string{virtualService("reviews", jasonV2), virtualService("ratings", jasonLate)}, page(20), map[string]want{"ratio(code == 200)": exactly(1)}, []string{"latency", "counter"}},
		{"a fault of the caller's route", []string{virtualService("ratings", "\n  - fault: {abort: {percentage: {value: 10}, httpStatus: 500}}\n    retries: {attempts: 3, retryOn: 5xx}\n    route: [{destination: {host: ratings}}]\n")}, ratings(1000),
			map[string]want{"ratio(code == 500)": exactly(.1), `ratio(flag("FI"))`: exactly(.1), "ratio(code == 200)": exactly(.9)}, []string{"attempts"}},
		{"delay and abort are drawn apart", []string{virtualService("ratings", "\n  - fault:\n      delay: {percent: 50, fixedDelay: 5s}\n      abort: {percentage: {value: 50}, httpStatus: 503}\n    route: [{destination: {host: ratings}}]\n")}, ratings(1000),
			map[string]want{"ratio(code == 503)": exactly(.5), `ratio(flag("DI"))`: exactly(.5), "ratio(latency >= 4.99s)": exactly(.5), "access(ratings).count": between(430, 570)}, nil},
		{"a timeout cuts off, twice", []string{
			virtualService("reviews", "\n  - route: [{destination: {host: reviews, subset: v2}}]\n    timeout: 0.5s\n"),
			virtualService("ratings", "\n  - fault: {delay: {percent: 100, fixedDelay: 2s}}\n    route: [{destination: {host: ratings, subset: v1}}]\n"),
		}, page(40), map[string]want{"ratio(code == 200)": exactly(1), "ratio(latency >= 990ms)": exactly(1), "access(reviews).count": exactly(80)}, nil},
		{"a timeout is seen by who calls", []string{
			virtualService("reviews", "\n  - route: [{destination: {host: reviews, subset: v2}}]\n    timeout: 0.5s\n"),
			virtualService("ratings", "\n  - fault: {delay: {percent: 100, fixedDelay: 2s}}\n    route: [{destination: {host: ratings, subset: v1}}]\n"),
		}, reviews(40), map[string]want{"ratio(code == 504)": exactly(1), `ratio(flag("UT"))`: exactly(1), "ratio(latency >= 490ms)": exactly(1)}, []string{"access(ratings"}},
		{"a header decides", []string{virtualService("reviews", jasonV2)}, with(reviews(10), func(r *oracle.Request) { r.Headers = map[string]string{"end-user": "jason"} }),
			map[string]want{`ratio(version == "v2")`: exactly(1)}, nil},
		{"a subset that is not there", []string{virtualService("reviews", toV("v9"))}, reviews(10), map[string]want{"ratio(code == 503)": exactly(1), `ratio(flag("NC"))`: exactly(1)}, nil},
		{"no route fits", []string{virtualService("reviews", "\n  - match: [{uri: {prefix: /api/v2}}]\n    route: [{destination: {host: reviews}}]\n")}, reviews(10), map[string]want{"ratio(code == 404)": exactly(1)}, nil},
		{"a copy of each", []string{virtualService("reviews", "\n  - route: [{destination: {host: reviews, subset: v1}}]\n    mirror: {host: reviews, subset: v2}\n    mirrorPercentage: {value: 100}\n")}, reviews(70),
			map[string]want{`ratio(version == "v1")`: exactly(1), `access(reviews, version == "v2").count`: between(70, 70)}, nil},
		{"the fault is one hop below", []string{virtualService("ratings", "\n  - fault: {abort: {percentage: {value: 100}, httpStatus: 503}}\n    route: [{destination: {host: ratings}}]\n"), virtualService("reviews", toV("v2"))}, page(200),
			map[string]want{"ratio(code == 200)": exactly(1), `proxy(reviews).counter("fault\\.aborts_injected")`: exactly(200)}, []string{"access(ratings"}},
	} {
		t.Run(tc.name, func(t *testing.T) { compare(t, oracle.Predict(bookinfo(t, tc.rules...), tc.req), tc.want, tc.not) })
	}
}

// compare looks for each wanted prediction, and for none that holds a text of not; every measure must be one of the language.
func compare(t *testing.T, got oracle.Prediction, wanted map[string]want, not []string) {
	t.Helper()
	found := map[string]check.Prediction{}
	for _, p := range got.Items {
		found[p.Measure] = p
		for _, text := range not {
			if strings.Contains(p.Measure, text) {
				t.Errorf("predicts %s", p)
			}
		}
		if p.Why == "" {
			t.Errorf("%s has no reason", p.Measure)
		}
		services := []string{"reviews", "ratings", "details", "productpage", "httpbin", "istio-ingressgateway"}
		if err := check.CheckPrediction(p, services); err != nil && !strings.Contains(p.Measure, ").ratio") {
			t.Errorf("%s: %v", p.Measure, err)
		}
	}
	for measure, w := range wanted {
		p, ok := found[measure]
		switch {
		case !ok:
			t.Errorf("%s is not predicted", measure)
		case math.IsNaN(w.lo):
			if p.Value == nil || math.Abs(*p.Value-w.value) > 1e-9 {
				t.Errorf("got %s, want %v", p, w.value)
			}
		case p.Lo == nil || p.Hi == nil || math.Abs(*p.Lo-w.lo) > 1e-9 || math.Abs(*p.Hi-w.hi) > 1e-9:
			t.Errorf("got %s, want %v to %v", p, w.lo, w.hi)
		}
	}
	if t.Failed() {
		t.Log(got.Unpredicted)
		for _, p := range got.Items {
			t.Log(p, "–", p.Why)
		}
	}
}

func TestThroughTheGateway(t *testing.T) {
	gateway := []string{file(t, "../../fixtures/bookinfo-gateway/gateway.yaml"), `
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, ports: [{name: http2, port: 80, targetPort: 8080}]}
`}
	ask := func(path string) oracle.Request {
		return oracle.Request{URL: "http://istio-ingressgateway.istio-system" + path, Caller: rules.Caller{Namespace: "squall"}, Connections: 1, Requests: 60}
	}
	m := func(more ...string) *rules.Model { return bookinfo(t, append(gateway, more...)...) }
	compare(t, oracle.Predict(m(virtualService("reviews", toV("v3"))), ask("/productpage")), map[string]want{
		"ratio(code == 200)": exactly(1), `access(reviews, version == "v3").ratio`: exactly(1), "access(ratings).count": exactly(60),
	}, []string{"flag", "istio-ingressgateway"})
	compare(t, oracle.Predict(m(), ask("/nothing")), map[string]want{"ratio(code == 404)": exactly(1)}, []string{"records"})
	compare(t, oracle.Predict(m(virtualService("productpage", "\n  - fault: {abort: {percentage: {value: 100}, httpStatus: 500}}\n    route: [{destination: {host: productpage}}]\n")), ask("/productpage")),
		map[string]want{"ratio(code == 200)": exactly(1)}, nil) // a rule for sidecars does not hold for a gateway
	other := ask("/productpage")
	other.URL = "http://istio-ingressgateway.istio-system:8443/productpage"
	if p := oracle.Predict(m(), other); len(p.Items) > 0 || len(p.Unpredicted) == 0 {
		t.Errorf("%+v", p)
	}
}

func TestWhicheverPodAnswers(t *testing.T) {
	p := oracle.Predict(bookinfo(t), with(page(90), func(r *oracle.Request) { r.Connections = 4 }))
	compare(t, p, map[string]want{"ratio(code == 200)": exactly(1), "access(reviews).count": exactly(90), "access(details).count": exactly(90)},
		[]string{"access(reviews, ", "access(ratings"})
	if len(p.Unpredicted) != 1 || !strings.Contains(p.Unpredicted[0], "fewest requests under way") {
		t.Error(p.Unpredicted)
	}
}

// A pod that failed under one load is out under the next, as long as there is an outlier detection.
func TestEjectedPodsStayOut(t *testing.T) {
	outlier := "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: httpbin}\nspec: {host: httpbin, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 5}}}\n"
	get := oracle.Request{URL: "http://httpbin:8000/get", Caller: loader, Connections: 1, Requests: 10}
	declared := map[string]string{"httpbin": "{undeclared: true, paths: [{path: /get}, {path: /broken, status: 503}]}"}
	model := rules.Read(objects(t, declared, file(t, "../../fixtures/httpbin/httpbin.yaml"), outlier), rules.Options{})
	if got := oracle.Predict(model, get); len(got.Items) == 0 || len(got.Ejects) > 0 {
		t.Fatalf("a load that succeeds: %+v", got)
	}
	broken := get
	broken.URL = "http://httpbin:8000/broken"
	got := oracle.Predict(model, broken)
	if len(got.Ejects) != 1 || got.Ejects[0] != "httpbin.squall.svc.cluster.local" {
		t.Fatalf("a load that fails: %+v", got)
	}
	get.Ejected = got.Ejects
	if after := oracle.Predict(model, get); len(after.Items) > 0 || !strings.Contains(strings.Join(after.Unpredicted, " "), "may still keep pods out") {
		t.Errorf("the load after it: %+v", after)
	}
	if after := oracle.Predict(httpbin(t), get); len(after.Items) == 0 {
		t.Errorf("without the rule: %+v", after)
	}
}
