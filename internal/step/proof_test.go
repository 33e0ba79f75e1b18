package step

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

// proofsOf compiles the steps on the objects of a scenario in testdata/good, for a load of GET on the target.
func proofsOf(t *testing.T, file, target string, steps ...scenario.Step) Compiled {
	t.Helper()
	s, objects := read(t, "testdata/good/"+file)
	opts := options(s, target)
	opts.Request = &Request{Method: "GET", Path: "/get"}
	for i := range steps {
		steps[i].Path = strings.Repeat("x", i+1)
	}
	compiled, err := Compile(NewSet(objects), steps, opts)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func breakerOf(host string) scenario.Step {
	return scenario.Step{Kind: "circuitBreaker", Spec: &scenario.CircuitBreaker{Host: host, HTTP2MaxRequests: 1}}
}

// Envoy counts what exceeds a limit of requests under a name of its own, wherever the breaker is.
func TestBreakersOfRequestsAreProven(t *testing.T) {
	for _, c := range []struct{ name, target, host, want string }{
		{"further on", "httpbin", "reviews", `elsewhere("reviews", "upstream_rq_pending_overflow|upstream_rq_active_overflow") > 0`},
		{"other callers of the target", "httpbin", "httpbin", ` && elsewhere("httpbin", "upstream_rq_pending_overflow|upstream_rq_active_overflow") == 0`},
		{"at a gateway", "ingress", "reviews", `\\.(?:upstream_rq_pending_overflow|upstream_rq_active_overflow)") > 0`},
	} {
		got := proofsOf(t, "gateways.yaml", c.target, breakerOf(c.host))
		if len(got.Proofs) != 1 || !strings.HasSuffix(got.Proofs[0].Expr, c.want) {
			t.Errorf("%s: got %v, want …%s", c.name, got.Proofs, c.want)
		}
	}
}

// workerOf is a Deployment that no service leads to.
func workerOf(namespace string) *unstructured.Unstructured {
	labels := map[string]any{"app": "worker"}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "worker", "namespace": namespace},
		"spec": map[string]any{"selector": map[string]any{"matchLabels": labels}, "template": map[string]any{"metadata": map[string]any{"labels": labels}}},
	}}
}

// A step that nothing proves is not passed over: it is stated why, or a proof is demanded that there is not.
func TestStepsWithoutAProof(t *testing.T) {
	const none = ""
	s, objects := read(t, "testdata/good/faults.yaml")
	objects = append(objects, workerOf(s.Spec.Namespace))
	for _, c := range []struct {
		name    string
		cluster bool
		step    scenario.Step
		expr    string
		stated  string
	}{
		{"stop", false, scenario.Step{Kind: "stop", Spec: &scenario.Stop{Workload: "worker"}}, `stopped("worker") == 1`, ""},
		{"partition here", false, scenario.Step{Kind: "partition", Spec: &scenario.Partition{Workload: "worker"}}, `partitioned("worker") == 1`, ""},
		{"partition", true, scenario.Step{Kind: "partition", Spec: &scenario.Partition{Workload: "worker"}}, none, ""},
		{"one caller", true, scenario.Step{Kind: "partition", Spec: &scenario.Partition{From: "httpbin", To: "worker"}}, none, ""},
		{"mtls", false, scenario.Step{Kind: "mtls", Spec: &scenario.MTLS{Mode: "STRICT", Workload: map[string]string{"app": "worker"}}}, none, ""},
		{"manifest", false, scenario.Step{Kind: "manifest", Spec: &scenario.Manifest{Object: scenario.Object{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"},
		}}}, "", "nothing in it has a proof"},
	} {
		opts := options(s, target(s))
		opts.Cluster = c.cluster
		got, err := Compile(NewSet(objects), []scenario.Step{c.step}, opts)
		switch {
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.stated != "":
			if len(got.Proofs) > 0 || len(got.Faults) > 0 || len(got.Unproven) != 1 || !strings.Contains(got.Unproven[0].Reason, c.stated) {
				t.Errorf("%s: got %+v and %+v", c.name, got.Proofs, got.Unproven)
			}
		case len(got.Proofs) != 1 || len(got.Faults) != 1 || got.Proofs[0].Expr != c.expr || got.Proofs[0].Text == "" || len(got.Unproven) > 0:
			t.Errorf("%s: got %+v and %+v, want %q", c.name, got.Proofs, got.Unproven, c.expr)
		}
	}
}

func uri(path string) *scenario.Match {
	return &scenario.Match{URI: &scenario.StringMatch{Exact: path}}
}

// anybody may be what a request fits: the load does not say its user agent.
func anybody(name string) *scenario.Match {
	return &scenario.Match{Headers: map[string]scenario.StringMatch{"user-agent": {Exact: name}}}
}

func delayOf(host string, m *scenario.Match) scenario.Step {
	return scenario.Step{Kind: "delay", Spec: &scenario.Delay{Host: host, Percent: 100, FixedDelay: 1e9, Match: m}}
}

func abortOf(host string, status int32, m *scenario.Match) scenario.Step {
	return scenario.Step{Kind: "abort", Spec: &scenario.Abort{Host: host, Percent: 100, HTTPStatus: status, Match: m}}
}

func timeoutOf(host string, m *scenario.Match) scenario.Step {
	return scenario.Step{Kind: "timeout", Spec: &scenario.Timeout{Host: host, Timeout: 1e9, Match: m}}
}

func gatewayTimeoutOf(host string, m *scenario.Match, after scenario.Duration) scenario.Step {
	return scenario.Step{Kind: "timeout", Spec: &scenario.Timeout{Host: host, Timeout: after, Match: m, API: "gateway"}}
}

func retriesOf(host string, attempts int32, m *scenario.Match) scenario.Step {
	return scenario.Step{Kind: "retries", Spec: &scenario.Retries{Host: host, Attempts: attempts, Match: m}}
}

// A fault, a timeout or retries are not proven by those of other steps. Where the load generator's proxy acts the names of its routes tell
// them apart, and elsewhere nothing does.
func TestStepsAreProvenApart(t *testing.T) {
	const (
		aborted  = `aborts() > 0 && aborts() == count(flag("FI")) && elsewhere("fault\\.aborts_injected") == 0`
		none     = ""
		first    = `route == "default-match1.squall-1a2b-s1"`
		rest     = `route == "default.squall-1a2b-s1"`
		timedOut = `elsewhere("reviews", "upstream_rq_timeout") > 0`
	)
	for _, c := range []struct {
		name, file, target string
		steps              []scenario.Step
		want               []string // the proof of each step
	}{
		{"one", "further.yaml", "httpbin", []scenario.Step{abortOf("httpbin", 503, uri("/get"))}, []string{aborted}},
		{"what the load does not ask for", "further.yaml", "httpbin",
			[]scenario.Step{abortOf("httpbin", 503, uri("/a")), abortOf("httpbin", 418, uri("/get"))},
			[]string{aborted + ` && count(flag("FI") && ` + first + `) > 0`, aborted}},
		{"all but one", "further.yaml", "httpbin",
			[]scenario.Step{abortOf("httpbin", 503, nil), abortOf("httpbin", 418, anybody("b"))},
			[]string{aborted + ` && count(flag("FI") && ` + rest + `) > 0`, aborted + ` && count(flag("FI") && ` + first + `) > 0`}},
		{"retries of some", "further.yaml", "httpbin", []scenario.Step{retriesOf("httpbin", 2, anybody("b"))},
			[]string{`retries("httpbin") > 0 && elsewhere("httpbin", "upstream_rq_retry") == 0 && count(attempts > 1 && ` + first + `) > 0`}},
		{"no retries of some", "further.yaml", "httpbin", []scenario.Step{retriesOf("httpbin", 0, anybody("b"))},
			[]string{`count(` + first + `) > 0 && count(attempts > 1 && ` + first + `) == 0`}},
		{"one further on", "further.yaml", "httpbin", []scenario.Step{delayOf("reviews", uri("/a")), abortOf("reviews", 500, nil)},
			[]string{`elsewhere("fault\\.delays_injected") > 0`, `elsewhere("fault\\.aborts_injected") > 0`}},
		{"two of a host further on", "further.yaml", "httpbin", []scenario.Step{delayOf("reviews", uri("/a")), delayOf("reviews", nil)}, []string{none, none}},
		{"two hosts further on", "gateways.yaml", "other", []scenario.Step{delayOf("reviews", uri("/a")), delayOf("httpbin", nil)}, []string{none, none}},
		{"through a gateway", "gateways.yaml", "ingress", []scenario.Step{abortOf("reviews", 500, nil), abortOf("httpbin", 500, nil)}, []string{none, none}},
		{"the target and further on", "further.yaml", "httpbin", []scenario.Step{delayOf("reviews", nil), delayOf("httpbin", nil)},
			[]string{`elsewhere("fault\\.delays_injected") > 0`, `delays() > 0 && delays() == count(flag("DI"))`}},
		{"timeouts of two hosts", "further.yaml", "details", []scenario.Step{timeoutOf("reviews", nil), timeoutOf("httpbin", nil)},
			[]string{timedOut, `elsewhere("httpbin", "upstream_rq_timeout") > 0`}},
		{"timeouts of one host", "further.yaml", "httpbin", []scenario.Step{timeoutOf("reviews", nil), timeoutOf("reviews", uri("/a"))}, []string{none, none}},
	} {
		got := proofsOf(t, c.file, c.target, c.steps...)
		var exprs []string
		for _, p := range got.Proofs {
			exprs = append(exprs, p.Expr)
		}
		if !slices.Equal(exprs, c.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, strings.Join(exprs, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// What an earlier stage or a fixture has in force stands in for nothing either, until a step replaces it.
func TestStepsAreProvenApartFromWhatWasThere(t *testing.T) {
	s, objects := read(t, "testdata/good/further.yaml")
	const here = `elsewhere("fault\\.delays_injected") == 0`
	for _, c := range []struct {
		name, target string
		was, step    scenario.Step
		only         bool // the proof asks that no other proxy delays
	}{
		{"nothing", "httpbin", timeoutOf("reviews", nil), delayOf("httpbin", nil), true},
		{"further on", "httpbin", delayOf("reviews", nil), delayOf("httpbin", nil), false},
		{"another kind further on", "httpbin", abortOf("reviews", 500, nil), delayOf("httpbin", nil), true},
	} {
		got := proofsAfter(t, s, objects, c.target, c.was, c.step)
		if len(got) != 1 || got[0].Expr == "" || strings.Contains(got[0].Expr, here) != c.only {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
	off := func(fault map[string]any) scenario.Step {
		return scenario.Step{Kind: "manifest", Spec: &scenario.Manifest{Object: scenario.Object{
			"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": map[string]any{"name": "httpbin"},
			"spec": map[string]any{"hosts": []any{"httpbin"}, "http": []any{map[string]any{
				"fault": map[string]any{"delay": fault}, "route": []any{map[string]any{"destination": map[string]any{"host": "httpbin"}}},
			}}},
		}}}
	}
	for _, c := range []struct {
		name      string
		was, step scenario.Step
		isProven  bool
	}{
		{"another request", delayOf("reviews", uri("/a")), delayOf("reviews", uri("/b")), false},
		{"another host", delayOf("httpbin", nil), delayOf("reviews", nil), false},
		{"another kind", abortOf("reviews", 500, uri("/a")), delayOf("reviews", nil), true},
		{"replaced", delayOf("reviews", nil), delayOf("reviews", nil), true},
		{"switched off", off(map[string]any{"percentage": map[string]any{"value": int64(0)}, "fixedDelay": "1s"}), delayOf("reviews", nil), true},
		{"switched off, in short", off(map[string]any{"percentage": map[string]any{}, "fixedDelay": "1s"}), delayOf("reviews", nil), true},
		{"of a few", off(map[string]any{"percentage": map[string]any{"value": 0.5}, "fixedDelay": "1s"}), delayOf("reviews", nil), false},
		{"by a manifest", delayOf("reviews", uri("/a")), scenario.Step{Kind: "manifest", Spec: &scenario.Manifest{Object: scenario.Object{
			"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": map[string]any{"name": "httpbin"},
			"spec": map[string]any{"hosts": []any{"httpbin"}, "http": []any{map[string]any{
				"fault": map[string]any{"delay": map[string]any{"percentage": map[string]any{"value": int64(100)}, "fixedDelay": "1s"}},
				"route": []any{map[string]any{"destination": map[string]any{"host": "httpbin"}}},
			}}},
		}}}, false},
	} {
		got := proofsAfter(t, s, objects, "details", c.was, c.step)
		if len(got) != 1 || (got[0].Expr != "") != c.isProven {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}

// proofsAfter are those of a step in the stage after that of another.
func proofsAfter(t *testing.T, s *scenario.Scenario, objects []*unstructured.Unstructured, target string, was, step scenario.Step) []Proof {
	t.Helper()
	opts := options(s, target)
	before, err := Compile(NewSet(objects), []scenario.Step{was}, opts)
	if err != nil {
		t.Fatal(err)
	}
	set := NewSet(objects)
	for _, change := range before.Changes {
		set.put(change.After)
	}
	opts.Marker = "squall-1a2b-s2"
	got, err := Compile(set, []scenario.Step{step}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return got.Proofs
}

// An HTTPRoute has timeouts by rule.
func TestTimeoutsOfRulesAreProvenApart(t *testing.T) {
	steps := []scenario.Step{gatewayTimeoutOf("httpbin", uri("/a"), 1e9), gatewayTimeoutOf("httpbin", uri("/get"), 2e9)}
	got := proofsOf(t, "gatewayapi.yaml", "httpbin", steps...)
	if len(got.Proofs) != 2 || strings.Count(got.Proofs[0].Expr, `count(flag("UT") && route == `) != 1 || strings.Contains(got.Proofs[1].Expr, "route") {
		t.Errorf("at the load: %+v", got.Proofs)
	}
	got = proofsOf(t, "gatewayapi.yaml", "other", steps...)
	if len(got.Proofs) != 2 || got.Proofs[0].Expr+got.Proofs[1].Expr != "" {
		t.Errorf("further on: %+v", got.Proofs)
	}
}
