package oracle_test

import (
	"strings"
	"testing"

	"squall/internal/oracle"
	"squall/internal/rules"
)

// once finds a measure that must be predicted exactly once.
func once(t *testing.T, p oracle.Prediction, measure string) (value, lo, hi float64) {
	t.Helper()
	found := 0
	for _, i := range p.Items {
		if i.Measure != measure {
			continue
		}
		found++
		if i.Value != nil {
			value = *i.Value
		}
		if i.Lo != nil && i.Hi != nil {
			lo, hi = *i.Lo, *i.Hi
		}
	}
	if found != 1 {
		t.Errorf("%s is predicted %d times in %v", measure, found, p.Items)
	}
	return value, lo, hi
}

// Two versions of a service inject the same fault, and the counters of both are one figure: v2 and v3 of reviews call ratings, v1 does not.
func TestFaultsOfAllCallersOfAServiceAreOneCount(t *testing.T) {
	late := virtualService("ratings", "\n  - fault: {delay: {percentage: {value: 100}, fixedDelay: 1s}}\n    route: [{destination: {host: ratings}}]\n")
	reviews := virtualService("reviews", `
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 50}
    - {destination: {host: reviews, subset: v2}, weight: 25}
    - {destination: {host: reviews, subset: v3}, weight: 25}
`)
	p := oracle.Predict(bookinfo(t, late, reviews), oracle.Request{
		URL: "http://productpage:9080/productpage", Caller: loader, Connections: 1, Requests: 1000,
	})
	_, lo, hi := once(t, p, `proxy(reviews).counter("fault\\.delays_injected")`)
	if lo < 400 || lo > 500 || hi < 500 || hi > 600 {
		t.Errorf("of 1000 requests %v to %v are delayed, and half of them call ratings", lo, hi)
	}
}

// canary is a Service whose pods are httpbin's too.
const canary = `
apiVersion: v1
kind: Service
metadata: {name: httpbin-canary}
spec:
  selector: {app: httpbin, version: v2}
  ports: [{name: http, port: 8000, targetPort: 8080}]
`

// The pods of a service may be those of another too, and the access log knows pods.
func TestRecordsOfPodsOfTwoServices(t *testing.T) {
	split := virtualService("httpbin", `
  - route:
    - {destination: {host: httpbin, subset: v1}, weight: 75}
    - {destination: {host: httpbin-canary}, weight: 25}
`) + `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec: {host: httpbin, subsets: [{name: v1, labels: {version: v1}}]}
`
	m := httpbin(t, file(t, "../../fixtures/httpbin-v2/httpbin-v2.yaml"), canary, split)
	request := oracle.Request{URL: "http://httpbin:8000/get", Caller: loader, Connections: 1, Requests: 1000}
	p := oracle.Predict(m, request)
	if n, _, _ := once(t, p, `access(httpbin).count`); n != 1000 {
		t.Errorf("%v of 1000 requests reach pods of httpbin", n)
	}
	if v, _, _ := once(t, p, `access(httpbin, version == "v2").ratio`); v != 0.25 {
		t.Errorf("v2 gets %v of what reaches httpbin's pods", v)
	}
	if _, lo, hi := once(t, p, `access("httpbin-canary").count`); lo < 150 || hi > 350 || lo > 250 || hi < 250 {
		t.Errorf("%v to %v of 1000 requests reach the canary", lo, hi)
	}
}

// Copies for the one service are in the access logs of pods that the other has too.
func TestMirrorToPodsOfTwoServices(t *testing.T) {
	mirror := virtualService("httpbin", `
  - route: [{destination: {host: httpbin, subset: v1}}]
    mirror: {host: httpbin-canary}
`) + `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec: {host: httpbin, subsets: [{name: v1, labels: {version: v1}}]}
`
	p := oracle.Predict(rules.Read(objects(t, nil, file(t, "../../fixtures/httpbin/httpbin.yaml"),
		file(t, "../../fixtures/httpbin-v2/httpbin-v2.yaml"), canary, mirror), rules.Options{}),
		oracle.Request{URL: "http://httpbin:8000/get", Caller: loader, Connections: 1, Requests: 1000})
	for _, i := range p.Items {
		if i.Measure == "access(httpbin).count" || i.Measure == `access(httpbin, version == "v1").ratio` {
			t.Errorf("%v is predicted, and copies are among httpbin's records too", i)
		}
	}
}

// Many calls at once may be more than the pod can answer: what the caller's proxy does to them is told, what becomes of the others is not.
func TestACrowdOfCalls(t *testing.T) {
	late := virtualService("httpbin", "\n  - fault: {delay: {percentage: {value: 10}, fixedDelay: 5s}}\n    route: [{destination: {host: httpbin}}]\n")
	p := oracle.Predict(httpbin(t, late), oracle.Request{URL: "http://httpbin:8000/get", Caller: loader, Connections: 500, Requests: 1000})
	if v, _, _ := once(t, p, `ratio(flag("DI"))`); v != 0.1 {
		t.Errorf("%v are delayed by the proxy", v)
	}
	for _, i := range p.Items {
		if strings.Contains(i.Measure, "code") || strings.Contains(i.Measure, "latency") {
			t.Errorf("%v is predicted of 500 calls at once", i)
		}
	}
	if len(p.Unpredicted) != 1 || !strings.Contains(p.Unpredicted[0], "500 calls at once") {
		t.Errorf("unpredicted: %q", p.Unpredicted)
	}
}
