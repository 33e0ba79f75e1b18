//go:build kind

package kind

import (
	"os"
	"path/filepath"
	"testing"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/scenario"
	"squall/internal/toolchain"
)

// TestUpstream takes upstream's own manifests of Bookinfo, as they lie in the source of the pinned Istio, for a fixture. Its images are
// pulled; SQUALL_IMAGES names others.
func TestUpstream(t *testing.T) {
	if why, ok := leftOut(os.Getenv("SQUALL_KIND_LEAVE_OUT"))["upstream"]; ok {
		kind.agreed.leaveOut(t, "upstream's manifests", why)
		return
	}
	source, err := toolchain.Source(t.Context(), kind.root, "istio.io/istio")
	if err != nil {
		t.Fatal(err)
	}
	opts := scenario.Options{Set: map[string]string{"bookinfo": filepath.Join(source, "samples/bookinfo/platform/kube/bookinfo.yaml")}}
	for _, file := range []string{"bookinfo/reviews-v3.yaml", "gatewayapi/route-header.yaml"} {
		s, err := scenario.Load(filepath.Join(kind.root, "scenarios", file), opts)
		if err != nil {
			t.Fatal(err)
		}
		if r := runLoaded(t.Context(), t, config(engine.Kind), s); r.Verdict != check.Pass {
			kind.agreed.fail(t, "%s on upstream's manifests: %s: %s", file, r.Verdict, r.Reason)
		}
	}
}
