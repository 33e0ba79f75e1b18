//go:build kind

package kind

import (
	"context"
	"path/filepath"
	"testing"

	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/plan"
	"squall/internal/scenario"
)

// TestStock has the stock image of Fortio make the loads.
func TestStock(t *testing.T) {
	c := config(engine.Kind)
	c.Generator = plan.Fortio
	for _, name := range []string{"circuit", "timeout"} {
		f := features.New("stock-"+name).WithLabel("suite", "stock")
		f.Assess("holds by a load of the stock image", func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			s, err := scenario.Load(filepath.Join(kind.root, "scenarios", name+".yaml"), scenario.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if r := runLoaded(ctx, t, c, s); r.Verdict != check.Pass {
				kind.agreed.fail(t, "%s: %s", r.Verdict, r.Reason)
			}
			return ctx
		})
		kind.env.Test(t, f.Feature())
	}
}
