package oracle_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/load"
	"squall/internal/mesh"
	"squall/internal/oracle"
	"squall/internal/plan"
	"squall/internal/rules"
	"squall/internal/scenario"
	"squall/internal/toolchain"
)

// quiet takes the progress of a run.
type quiet struct{}

func (quiet) Phase(string)                                     {}
func (quiet) Say(string, ...any)                               {}
func (quiet) Load(string, time.Duration, int64, load.Snapshot) {}

// scenarios are run on the real mesh with what is predicted of each of their phases. SQUALL_ORACLE names others, or * for all.
func scenarios(t *testing.T, root string) []string {
	t.Helper()
	wanted := os.Getenv("SQUALL_ORACLE")
	if wanted == "" {
		wanted = "abort,weights,retry-attempts,breaker-tutorial,bookinfo-delay-and-abort,bookinfo-reviews-timeout,bookinfo-jason-sign-in,mtls-strict,mirror-half"
	}
	all, err := scenario.List(filepath.Join(root, "scenarios"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range all {
		if wanted == "*" || slices.Contains(strings.Split(wanted, ","), s.Name) {
			out = append(out, s.File)
		}
	}
	return out
}

// TestAgainstTheMesh is whether a real mesh does what is predicted of it.
func TestAgainstTheMesh(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a mesh for each scenario")
	}
	root, err := toolchain.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	tools, err := toolchain.Ensure(t.Context(), toolchain.Options{Root: root, Progress: toolchain.Lines(os.Stderr)})
	if err != nil {
		t.Fatal(err)
	}
	config := engine.Config{Fixtures: filepath.Join(root, "fixtures"), Reports: t.TempDir(), Env: "local", Tools: tools}
	held := 0
	for _, path := range scenarios(t, root) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) { held += against(t, config, path) })
	}
	if held == 0 {
		t.Error("nothing was predicted")
	}
}

// against runs one scenario and returns how many predictions held.
func against(t *testing.T, config engine.Config, path string) (held int) {
	t.Helper()
	s, err := scenario.Load(path, scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := config.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	foresee(t, k.Plan)
	out, err := config.Run(t.Context(), k, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ph := range out.Result.Phases {
		for _, o := range ph.Outcomes {
			switch {
			case o.Kind != check.KindPrediction:
			case o.Verdict == check.Pass:
				held++
				t.Logf("%s: %s %s", ph.Name, o.Name, o.Reason)
			default:
				t.Errorf("%s: %s: %s %s", ph.Name, o.Name, o.Verdict, o.Reason)
			}
		}
	}
	return held
}

// foresee puts predictions into the plan, for each phase that is in one state from its beginning.
func foresee(t *testing.T, p *plan.Plan) {
	t.Helper()
	objects := append(slices.Clone(p.Fixtures), mesh.IngressService())
	for i, ph := range p.Phases {
		for _, c := range ph.Changes {
			objects = slices.DeleteFunc(objects, func(u *unstructured.Unstructured) bool {
				return c.Before != nil && u.GetKind() == c.Before.GetKind() && u.GetName() == c.Before.GetName() && u.GetNamespace() == c.Before.GetNamespace()
			})
			if c.After != nil {
				objects = append(objects, c.After)
			}
		}
		if ph.ApplyAt > 0 {
			continue
		}
		m := rules.Read(objects, rules.Options{})
		spec := &p.Spec.Phases[i]
		spec.Predictions, spec.Unpredicted = nil, nil
		got := oracle.Predict(m, asked(ph, m))
		for _, item := range got.Items {
			if err := check.CheckPrediction(item, p.Spec.Services); err == nil {
				spec.Predictions = append(spec.Predictions, item)
			} else if !strings.Contains(item.Measure, ").ratio") {
				t.Errorf("%s: %v", item.Measure, err)
			}
		}
		spec.Unpredicted = got.Unpredicted
		for _, why := range got.Unpredicted {
			t.Logf("%s: not predicted: %s", ph.Name, why)
		}
	}
}

// asked is a phase's load as the oracle takes it.
func asked(ph plan.Phase, m *rules.Model) oracle.Request {
	r := oracle.Request{URL: ph.Load.URL, Method: ph.Load.Method, Connections: ph.Load.Connections, Headers: map[string]string{}}
	for _, w := range m.Workloads {
		if w.Name == plan.ClientName {
			r.Caller = rules.CallerOf(w)
		}
	}
	if ph.Direct {
		r.Caller.Proxy = rules.NoProxy
	}
	for _, h := range ph.Load.Headers {
		r.Headers[h.Name] = h.Value
	}
	if ph.SignIn != nil {
		r.SignIn = ph.SignIn.Form
		if ph.SignIn.Bearer {
			r.Headers["authorization"] = oracle.Token
		}
	}
	if ph.Load.WarmUp == 0 {
		r.Requests = ph.Load.Requests
	}
	r.GRPC = ph.Load.Protocol == load.GRPC
	return r
}
