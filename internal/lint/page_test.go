package lint_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/lint"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/scenario"
)

const fixtures = "../../fixtures"

// objects reads manifests, all in the namespace default.
func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for doc := range strings.SplitSeq(text, "\n---\n") {
		u, err := parse(doc)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		out = append(out, u)
	}
	return out
}

func parse(text string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		return nil, err
	}
	if u.GetNamespace() == "" {
		u.SetNamespace("default")
	}
	return u, nil
}

// around are the pods that the page's examples stand beside.
func around(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, f := range []string{"httpbin", "bookinfo"} {
		out = append(out, objects(t, text(t, fixtures+"/"+f+"/"+f+".yaml"))...)
	}
	return out
}

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// block is the code of a language in a section, or "".
func block(section, lang string) string {
	_, rest, ok := strings.Cut(section, "```"+lang+"\n")
	code, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		return ""
	}
	return code
}

// found are the ids of what is found in a scenario or in objects beside around, each once.
func found(t *testing.T, code string) (ids []string, ignored int) {
	t.Helper()
	if !strings.Contains(code, "kind: Scenario\n") {
		list, n := lint.Objects(append(around(t), objects(t, code)...))
		for _, f := range list {
			ids = append(ids, f.ID)
		}
		return slices.Compact(ids), n
	}
	s, err := scenario.Parse("../../scenarios/example.yaml", []byte(code), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Build(s, plan.Options{FixturesDir: fixtures, Marker: "squall-0a1b2c", LoadImage: local.LoadImage})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range p.Findings {
		ids = append(ids, f.ID)
	}
	return slices.Compact(ids), p.Ignored
}

// TestPage holds docs/lint.md to have a section for each check, whose example is found by that check and by no other.
func TestPage(t *testing.T) {
	page := text(t, "../../docs/lint.md")
	var want []string
	for _, c := range append(lint.Checks(), lint.ScenarioChecks()...) {
		want = append(want, c.ID)
	}
	slices.Sort(want)
	var have []string
	for _, m := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(page, -1) {
		have = append(have, m[1])
	}
	sorted := slices.Sorted(slices.Values(have))
	if !slices.Equal(sorted, want) {
		t.Fatalf("the page has sections for\n%v\nand the checks are\n%v", sorted, want)
	}
	for i, id := range have {
		t.Run(id, func(t *testing.T) {
			_, section, _ := strings.Cut(page, "\n### "+id+"\n")
			if i+1 < len(have) {
				section, _, _ = strings.Cut(section, "\n### ")
			}
			code := block(section, "yaml")
			if code == "" || !strings.Contains(section, "\nInstead: ") {
				t.Fatal("the section needs an example, and what to write instead")
			}
			if ids, _ := found(t, code); !slices.Equal(ids, []string{id}) {
				t.Errorf("in its example %v are found", ids)
			}
		})
	}
}

func TestIgnoredExample(t *testing.T) {
	code := block(text(t, "../../docs/lint.md"), "ignored")
	if ids, ignored := found(t, code); len(ids) > 0 || ignored != 1 {
		t.Errorf("found %v, ignored %d", ids, ignored)
	}
	bare := regexp.MustCompile(`(?m)^  annotations: .*\n`).ReplaceAllString(code, "")
	if ids, ignored := found(t, bare); !slices.Equal(ids, []string{"percent-zero"}) || ignored != 0 {
		t.Errorf("without the annotation: found %v, ignored %d", ids, ignored)
	}
}

// TestScenariosHaveNoFindings plans all scenarios of the project: what is found in one is ignored there, with a reason.
func TestScenariosHaveNoFindings(t *testing.T) {
	list, err := scenario.List("../../scenarios")
	if err != nil || len(list) < 20 {
		t.Fatalf("%d scenarios, %v", len(list), err)
	}
	for _, l := range list {
		s, err := scenario.Load(l.File, scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Build(s, plan.Options{FixturesDir: fixtures, Marker: "squall-0a1b2c", LoadImage: local.LoadImage})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Findings {
			t.Errorf("%s", f)
		}
	}
}
