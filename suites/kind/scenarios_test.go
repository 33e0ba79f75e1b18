//go:build kind

package kind

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/load"
	"squall/internal/parity"
	"squall/internal/scenario"
)

// runWithin bounds one run, in whatever environment.
const runWithin = 4 * time.Minute

// TestScenarios runs the scenarios one after another, as they share the cluster.
func TestScenarios(t *testing.T) {
	list, err := scenario.List(filepath.Join(kind.root, "scenarios"))
	if err != nil {
		t.Fatal(err)
	}
	out := leftOut(os.Getenv("SQUALL_KIND_LEAVE_OUT"))
	delete(out, "upstream") // of TestUpstream
	for _, s := range list {
		if why, ok := out[s.Name]; ok {
			kind.agreed.leaveOut(t, s.Name, why)
			delete(out, s.Name)
			continue
		}
		if why := unavailable(t, s.File); why != nil {
			kind.agreed.leaveOut(t, s.Name, strings.ReplaceAll(why.Error(), kind.root+string(filepath.Separator), ""))
			continue
		}
		kind.env.Test(t, feature(s))
	}
	for name := range out {
		t.Errorf("SQUALL_KIND_LEAVE_OUT names %q, and there is no such scenario", name)
	}
}

// unavailable is why a scenario that the local mesh takes cannot be planned on a cluster.
func unavailable(t *testing.T, file string) error {
	t.Helper()
	s, err := scenario.Load(file, scenario.Options{})
	if err == nil {
		_, err = config(engine.Local).Compile(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = config(engine.Kind).Compile(s)
	return err
}

func config(env string) engine.Config {
	return engine.Config{
		Fixtures: filepath.Join(kind.root, "fixtures"), Reports: filepath.Join(kind.root, "reports"),
		Env: env, Tools: kind.tools, Cluster: kind.kind,
	}
}

// leftOut reads NAME: WHY[; NAME: WHY…]. A scenario is never left out without a reason.
func leftOut(text string) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(text, ";") {
		if name, why, _ := strings.Cut(part, ":"); strings.TrimSpace(name) != "" {
			out[strings.TrimSpace(name)] = strings.TrimSpace(why)
		}
	}
	return out
}

type resultKey struct{}

// feature is one scenario: it holds on the cluster, and comes to the same on the local mesh.
func feature(s scenario.Listed) features.Feature {
	f := features.New(s.Name)
	for k, v := range s.Labels {
		f = f.WithLabel(k, v)
	}
	f.Assess("holds on kind", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
		r := run(ctx, t, engine.Kind, s.File)
		if r.Verdict != check.Pass {
			kind.agreed.fail(t, "%s: %s", r.Verdict, r.Reason)
		}
		return context.WithValue(ctx, resultKey{}, r)
	})
	f.Assess("comes to the same on the local mesh", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
		onKind, ok := ctx.Value(resultKey{}).(check.Result)
		if !ok {
			t.Fatal("there is no run on kind to compare with")
		}
		c := parity.Compare(run(ctx, t, engine.Local, s.File), onKind)
		kind.agreed.add(c)
		if err := c.Err(); err != nil {
			kind.agreed.fail(t, "%v", err)
		}
		return ctx
	})
	return f.Feature()
}

// run runs a scenario in an environment.
func run(ctx context.Context, t *testing.T, env, file string) check.Result {
	t.Helper()
	s, err := scenario.Load(file, scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return runLoaded(ctx, t, config(env), s)
}

func runLoaded(ctx context.Context, t *testing.T, c engine.Config, s *scenario.Scenario) check.Result {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, runWithin, errors.New("the run took longer than "+runWithin.String()))
	defer cancel()
	k, err := c.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Run(ctx, k, narrator{t})
	if err != nil {
		kind.agreed.fail(t, "%v", err)
		t.FailNow()
	}
	if err := kind.agreed.time(c.Env, out.Record, out.Result.Seconds); err != nil {
		t.Error(err)
	}
	t.Logf("%s on %s: %s after %.1f s: %s", out.Result.Scenario, c.Env, out.Result.Verdict, out.Result.Seconds, out.Result.Reason)
	return out.Result
}

// narrator writes what happens to the test's log.
type narrator struct{ t *testing.T }

func (n narrator) Phase(name string)              { n.t.Log("phase", name) }
func (n narrator) Say(format string, args ...any) { n.t.Logf(format, args...) }

func (narrator) Load(string, time.Duration, int64, load.Snapshot) {}
