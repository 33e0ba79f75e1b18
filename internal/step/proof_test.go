package step

import (
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
