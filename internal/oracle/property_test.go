package oracle_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"squall/internal/oracle"
)

// value finds a prediction's value.
func value(p oracle.Prediction, measure string) (float64, bool) {
	for _, i := range p.Items {
		if i.Measure == measure && i.Value != nil {
			return *i.Value, true
		}
	}
	return 0, false
}

// sum adds the values of all predictions whose measure has the prefix.
func sum(p oracle.Prediction, prefix string) (total float64) {
	for _, i := range p.Items {
		if strings.HasPrefix(i.Measure, prefix) && i.Value != nil {
			total += *i.Value
		}
	}
	return total
}

func TestSharesSumToOne(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		w, delay, abort, tries, fails := r.IntN(99)+1, r.IntN(101), r.IntN(101), r.IntN(5), r.IntN(101)
		reviews := fmt.Sprintf("\n  - fault: {delay: {percent: %d, fixedDelay: 2s}, abort: {percentage: {value: %d}, httpStatus: 418}}\n    retries: {attempts: %d, retryOn: 5xx}\n    route:\n"+
			"    - {destination: {host: reviews, subset: v1}, weight: %d}\n    - {destination: {host: reviews, subset: v3}, weight: %d}\n", delay, abort, tries, w, 100-w)
		ratings := fmt.Sprintf("\n  - fault: {abort: {percentage: {value: %d}, httpStatus: 503}}\n    route: [{destination: {host: ratings}}]\n", fails)
		for _, req := range []oracle.Request{page(100), with(page(100), func(r *oracle.Request) { r.URL = "http://reviews:9080/reviews/0" })} {
			p := oracle.Predict(bookinfo(t, virtualService("reviews", reviews), virtualService("ratings", ratings)), req)
			if got := sum(p, "ratio(code"); math.Abs(got-1) > 1e-9 {
				t.Fatalf("codes sum to %v: %v %v", got, p.Items, p.Unpredicted)
			}
			for _, i := range p.Items {
				if i.Value != nil && (*i.Value < 0 || strings.Contains(i.Measure, "ratio") && *i.Value > 1) {
					t.Fatalf("%s is no share", i)
				}
			}
			if got := sum(p, "access(reviews, "); got > 0 && math.Abs(got-1) > 1e-9 {
				t.Fatalf("versions sum to %v", got)
			}
		}
	}
}

func TestMoreRetriesFailLess(t *testing.T) {
	last := 1.1
	for attempts := range 6 {
		m := httpbin(t, deployment("httpbin", "v1", "{failure: 0.6, failureStatus: 503}"),
			virtualService("httpbin", fmt.Sprintf("\n  - route: [{destination: {host: httpbin}}]\n    retries: {attempts: %d, retryOn: 5xx}\n", attempts)))
		got, ok := value(oracle.Predict(m, get("/get", 1, 100)), "ratio(code == 503)")
		if want := math.Pow(.6, float64(1+attempts)); !ok || math.Abs(got-want) > 1e-12 || got >= last {
			t.Errorf("%d retries: got %v, want %v", attempts, got, want)
		}
		last = got
	}
}

func TestMoreAbortsFailMore(t *testing.T) {
	last := -1.0
	for _, percent := range []float64{0, 0.1, 1, 33.3, 99.99, 100} {
		m := httpbin(t, virtualService("httpbin", fmt.Sprintf("\n  - fault: {abort: {percentage: {value: %v}, httpStatus: 503}}\n    route: [{destination: {host: httpbin}}]\n", percent)))
		got, _ := value(oracle.Predict(m, get("/get", 1, 100)), "ratio(code == 503)")
		if math.Abs(got-percent/100) > 1e-6 || got <= last {
			t.Errorf("%v %%: got %v", percent, got)
		}
		last = got
	}
}

func TestCallsInACircleEnd(t *testing.T) {
	self := "{host: httpbin, port: 8000, path: /get, tries: 2, onError: fail}"
	p := oracle.Predict(httpbin(t, deployment("httpbin", "v1", "{calls: ["+strings.Repeat(self+", ", 15)+self+"]}")), get("/get", 1, 10))
	if len(p.Items) > 0 || len(p.Unpredicted) == 0 {
		t.Errorf("%+v", p)
	}
}

func TestParallelCallsTakeAsLongAsTheLongest(t *testing.T) {
	late := func(host string, delay string) string {
		return virtualService(host, "\n  - fault: {delay: {percent: 100, fixedDelay: "+delay+"}}\n    route: [{destination: {host: "+host+"}}]\n")
	}
	for mode, want := range map[string]string{"true": "ratio(latency >= 3.99s)", "false": "ratio(latency >= 5.99s)"} {
		m := bookinfo(t, late("details", "2s"), late("ratings", "4s"), file(t, "../../fixtures/httpbin/httpbin.yaml"),
			deployment("httpbin", "v1", "{parallel: "+mode+", calls: [{host: details, port: 9080}, {host: ratings, port: 9080}]}"))
		if got, ok := value(oracle.Predict(m, get("/get", 1, 10)), want); !ok || got != 1 {
			t.Errorf("parallel %s: %s is %v", mode, want, got)
		}
	}
}

func TestOnError(t *testing.T) {
	for onError, code := range map[string]int{"ok": 200, "fail": 500, "502": 502} {
		m := bookinfo(t, virtualService("ratings", "\n  - fault: {abort: {percentage: {value: 100}, httpStatus: 503}}\n    route: [{destination: {host: ratings}}]\n"),
			file(t, "../../fixtures/httpbin/httpbin.yaml"),
			deployment("httpbin", "v1", "{calls: [{host: ratings, port: 9080, onError: "+onError+"}, {host: details, port: 9080}]}"))
		p := oracle.Predict(m, get("/get", 1, 10))
		if got, _ := value(p, fmt.Sprintf("ratio(code == %d)", code)); got != 1 {
			t.Errorf("%s: %v", onError, p.Items)
		}
		if _, called := value(p, "access(details).count"); called != (onError == "ok") {
			t.Errorf("%s: details is called: %v", onError, called)
		}
	}
}

func TestEmptyMeshAndNonsense(t *testing.T) {
	for _, url := range []string{"", "nonsense", "https://httpbin:8000/", "http://nobody:80/", "http://httpbin:9/get"} {
		p := oracle.Predict(httpbin(t), with(get("/", 1, 1), func(r *oracle.Request) { r.URL = url }))
		if url != "http://nobody:80/" && url != "http://httpbin:9/get" && (len(p.Items) > 0 || len(p.Unpredicted) == 0) {
			t.Errorf("%q: %+v", url, p)
		}
	}
}
