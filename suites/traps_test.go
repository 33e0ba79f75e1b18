package suites

import (
	"context"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"squall/internal/check"
	"squall/internal/lint"
	"squall/internal/scenario"
)

// refused is the label verdict of a trap that the local mesh does not even start.
const refused = "refused"

// A trap is a scenario that lint finds something in, and whose check says what its author takes for granted. If it passed, what lint
// says would not be so.
var _ = Describe("traps", func() {
	It("are there for every check of lint", Label("trap", "lint"), func() {
		var want, have []string
		for _, c := range slices.Concat(lint.Checks(), lint.ScenarioChecks()) {
			want = append(want, c.ID)
		}
		for _, s := range list("testdata/traps") {
			have = append(have, s.Labels["trap"])
		}
		slices.Sort(have)
		Expect(slices.Compact(have)).To(ConsistOf(want))
	})
	for _, s := range list("testdata/traps") {
		if s.Labels["verdict"] == refused {
			It(s.Name+" is refused", Label("trap"), func() {
				loaded, err := scenario.Load(s.File, scenario.Options{})
				Expect(err).NotTo(HaveOccurred())
				_, err = config("").Compile(loaded)
				Expect(err).To(HaveOccurred())
			})
			continue
		}
		It(s.Name+" does not pass", Label(append(labels(s), "trap")...), func(ctx context.Context) {
			r := execute(ctx, s.File)
			Expect(r.Verdict).To(BeElementOf(check.Fail, check.Inconclusive), because(r))
			Expect(r.Verdict.String()).To(Equal(s.Labels["verdict"]), because(r))
			Expect(r.Rollback.Verdict).NotTo(Equal(check.Fail), because(r))
		}, SpecTimeout(within))
		It(s.Name+" is found", Label("trap", "lint"), func() {
			loaded, err := scenario.Load(s.File, scenario.Options{})
			Expect(err).NotTo(HaveOccurred())
			k, err := config("").Compile(loaded)
			Expect(err).NotTo(HaveOccurred())
			Expect(k.Plan.Findings).NotTo(BeEmpty())
			for _, f := range k.Plan.Findings {
				Expect(f.ID).To(Equal(s.Labels["trap"]), f.String)
			}
		})
	}
})
