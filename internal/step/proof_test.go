package step

import (
	"strings"
	"testing"

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
