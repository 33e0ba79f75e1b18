package plan_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/scenario"
)

var update = flag.Bool("update", false, "write the golden files")

// build plans a scenario for a local mesh.
func build(file, fixtures string) (*plan.Plan, error) { return buildFor(file, fixtures, false) }

func buildFor(file, fixtures string, cluster bool) (*plan.Plan, error) {
	s, err := scenario.Load(file, scenario.Options{})
	if err != nil {
		return nil, err
	}
	facts := local.Facts{Images: []string{"elasticsearch/elasticsearch", "fortio/fortio", "mccutchen/go-httpbin", "squall/load", "squall/bookinfo"}, FirstPort: 1024}
	return plan.Build(s, plan.Options{
		FixturesDir: fixtures, Marker: "squall-test", LoadImage: local.LoadImage, Cluster: cluster,
		Honour: func(objects []*unstructured.Unstructured) []plan.Unhonoured {
			var out []plan.Unhonoured
			if cluster {
				return nil
			}
			plain := make([]map[string]any, len(objects))
			for i, o := range objects {
				plain[i] = o.Object
			}
			for _, p := range local.Check(plain, facts) {
				out = append(out, plan.Unhonoured{Index: p.Index, Path: p.Path, What: p.What, Hint: p.Hint})
			}
			return out
		},
	})
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	out, err := filepath.Glob(pattern)
	if err != nil || len(out) == 0 {
		t.Fatalf("%s: %q, %v", pattern, out, err)
	}
	return out
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := strings.TrimSuffix(file, ".yaml") + ".txt"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%v; got\n%s\nwant\n%s", err, got, want)
	}
}

func TestPlans(t *testing.T) {
	for _, f := range files(t, "testdata/good/*.yaml") {
		t.Run(filepath.Base(f), func(t *testing.T) {
			p, err := build(f, "testdata/fixtures")
			if err != nil {
				t.Fatal(err)
			}
			text := p.Document().String()
			golden(t, f, text)
			again, err := build(f, "testdata/fixtures")
			if err != nil || again.Document().String() != text {
				t.Errorf("planned again, %v:\n%s", err, again.Document().String())
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for _, f := range files(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(f), func(t *testing.T) {
			_, err := build(f, "testdata/fixtures")
			if err == nil {
				t.Fatal("it was planned")
			}
			golden(t, f, err.Error()+"\n")
		})
	}
}

// Every scenario that Squall comes with can be planned, and what it changes is what its rollback restores.
func TestAllScenariosCanBePlanned(t *testing.T) {
	const clusters = "../../suites/testdata/cluster"
	list := slices.Concat(files(t, "../../scenarios/*.yaml"), files(t, "../../scenarios/faults/*.yaml"), files(t, "../../suites/testdata/mutations/*.yaml"),
		files(t, clusters+"/*.yaml"))
	for _, f := range list {
		t.Run(filepath.Base(f), func(t *testing.T) {
			p, err := buildFor(f, "../../fixtures", filepath.Dir(f) == clusters)
			if err != nil {
				t.Fatal(err)
			}
			d := p.Document()
			changed := map[string]bool{}
			for i, ph := range p.Phases {
				if ph.Name != p.Spec.Phases[i].Name || ph.Load.URL == "" {
					t.Errorf("phase %d is %q with a load at %q, and judged as %q", i, ph.Name, ph.Load.URL, p.Spec.Phases[i].Name)
				}
				for _, c := range ph.Changes {
					changed[mesh.RefOf(c.After).String()] = true
				}
				for _, c := range ph.Settings {
					changed["settings of flow control at "+c.At.String()] = true
				}
			}
			for _, o := range d.Restored {
				if !changed[o.Object] {
					t.Errorf("%s is restored and never changed", o.Object)
				}
				delete(changed, o.Object)
			}
			if len(changed) > 0 {
				t.Errorf("never restored: %v", changed)
			}
		})
	}
}
