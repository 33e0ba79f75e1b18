// Package suites runs the scenarios as Ginkgo specs: each on a mesh of its own, through the same engine as the command line.
// Run them with go test ./suites, or in parallel with go tool ginkgo -p ./suites; labels are the features.
package suites

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/load"
	"squall/internal/scenario"
	"squall/internal/toolchain"
)

// within bounds one scenario: some start an Elasticsearch, which takes a minute on a busy machine.
const within = 4 * time.Minute

func TestScenarios(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "scenarios")
}

var _ = Describe("scenarios", func() {
	for _, s := range list("../scenarios") {
		It(s.Name+" holds", Label(labels(s)...), alone(s), func(ctx context.Context) {
			r := execute(ctx, s.File)
			Expect(r.Verdict).To(Equal(check.Pass), because(r))
			Expect(r.ExitCode).To(BeZero())
		}, SpecTimeout(within))
	}
})

// A mutation is a scenario with something broken on purpose: if it passed, Squall would show a false green.
var _ = Describe("mutations", func() {
	for _, s := range list("testdata/mutations") {
		It(s.Name+" does not pass", Label(append(labels(s), "mutation")...), func(ctx context.Context) {
			r := execute(ctx, s.File)
			Expect(r.Verdict).To(BeElementOf(check.Fail, check.Inconclusive), because(r))
			Expect(r.Verdict.String()).To(Equal(s.Labels["verdict"]), because(r))
			Expect(r.ExitCode).NotTo(BeZero())
		}, SpecTimeout(within))
	}
})

// A scenario that passes without one of its steps does not notice whether the step is there.
var _ = Describe("falsified", func() {
	for _, s := range list("../scenarios") {
		loaded, err := scenario.Load(s.File, scenario.Options{})
		if err != nil {
			continue // its spec above says so
		}
		doubts, err := config("").Doubts(loaded)
		if err != nil {
			continue
		}
		for _, d := range doubts {
			It(fmt.Sprintf("%s does not pass without %s in %s", s.Name, d.Step, d.Stage), Label(append(labels(s), "falsified")...), alone(s), func(ctx context.Context) {
				if d.Err != nil {
					return // it cannot even be planned
				}
				r := run(ctx, d.Compiled)
				r.Scenario += " without " + d.Step
				note(r)
				Expect(r.Verdict).To(BeElementOf(check.Fail, check.Inconclusive, check.Halted), because(r))
				Expect(r.Rollback.Verdict).NotTo(Equal(check.Fail), because(r))
			}, SpecTimeout(within))
		}
	}
})

// because is the run's reason as an annotation: a function, since a string would be read as a format.
func because(r check.Result) func() string { return func() string { return r.Reason } }

func list(dir string) []scenario.Listed {
	all, err := scenario.List(dir)
	if err != nil {
		panic(err) // the tree of specs cannot be made
	}
	return all
}

// alone keeps other specs from running beside a scenario that measures the machine.
func alone(s scenario.Listed) any {
	if s.Labels[scenario.AloneLabel] == "true" {
		return Serial
	}
	return []any{}
}

func labels(s scenario.Listed) []string {
	var out []string
	for _, k := range []string{"suite", "feature"} {
		if v := s.Labels[k]; v != "" {
			out = append(out, v)
		}
	}
	return out
}

func execute(ctx context.Context, file string) check.Result {
	GinkgoHelper()
	s, err := scenario.Load(file, scenario.Options{})
	Expect(err).NotTo(HaveOccurred())
	k, err := config("").Compile(s)
	Expect(err).NotTo(HaveOccurred())
	r := run(ctx, k)
	note(r)
	return r
}

func run(ctx context.Context, k *engine.Compiled) check.Result {
	GinkgoHelper()
	reports := filepath.Join(root(), "reports")
	if os.Getenv("CI") != "" {
		reports = GinkgoT().TempDir()
	}
	c := config(reports)
	var err error
	c.Tools, err = toolchain.Ensure(ctx, toolchain.Options{Root: root(), Progress: toolchain.Lines(GinkgoWriter)})
	Expect(err).NotTo(HaveOccurred())
	out, err := c.Run(ctx, k, narrator{})
	Expect(err).NotTo(HaveOccurred())
	return out.Result
}

func config(reports string) engine.Config {
	return engine.Config{Fixtures: filepath.Join(root(), "fixtures"), Reports: reports, Env: "local"}
}

func root() string {
	dir, err := toolchain.FindRoot(".")
	if err != nil {
		panic(err) // the tests do not lie in the project
	}
	return dir
}

// narrator writes what happens to the spec's output, which Ginkgo shows when the spec fails.
type narrator struct{}

func (narrator) Phase(name string)              { GinkgoWriter.Println("phase", name) }
func (narrator) Say(format string, args ...any) { GinkgoWriter.Printf(format+"\n", args...) }
func (narrator) Load(phase string, elapsed time.Duration, asked int64, s load.Snapshot) {
	GinkgoWriter.Printf("%s: %d of %d after %s: %v\n", phase, s.Count, asked, elapsed.Round(time.Millisecond), s.Codes)
}
