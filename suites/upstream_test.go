package suites

import (
	"context"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"squall/internal/check"
	"squall/internal/scenario"
	"squall/internal/toolchain"
)

// Upstream's own manifests of Bookinfo, as they lie in the source of the pinned Istio, are a fixture: scenarios name theirs by a variable.
var _ = Describe("upstream", func() {
	for _, file := range []string{"bookinfo/reviews-v3.yaml", "bookinfo/jason-sign-in.yaml", "gatewayapi/route-header.yaml"} {
		It(file+" holds on upstream's own manifests", Label("bookinfo", "upstream"), func(ctx context.Context) {
			source, err := toolchain.Source(ctx, root(), "istio.io/istio")
			Expect(err).NotTo(HaveOccurred())
			s, err := scenario.Load(filepath.Join("../scenarios", file), scenario.Options{Set: map[string]string{
				"bookinfo": filepath.Join(source, "samples/bookinfo/platform/kube/bookinfo.yaml"),
			}})
			Expect(err).NotTo(HaveOccurred())
			k, err := config("").Compile(s)
			Expect(err).NotTo(HaveOccurred())
			r := run(ctx, k)
			r.Scenario += " on upstream's manifests"
			note(r)
			Expect(r.Verdict).To(Equal(check.Pass), because(r))
		}, SpecTimeout(within))
	}
})
