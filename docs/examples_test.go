package docs_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"squall/internal/check"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/record"
	"squall/internal/scenario"
)

func services() []string { return []string{"httpbin", "httpbin-v1", "httpbin-v2", "reviews"} }

// build compiles a scenario as if it stood in the folder of scenarios.
func build(t *testing.T, text string) (*plan.Plan, error) { return buildFor(t, text, false) }

// buildFor is build for the local mesh, or for a cluster.
func buildFor(t *testing.T, text string, cluster bool) (*plan.Plan, error) {
	t.Helper()
	s, err := scenario.Parse("../scenarios/example.yaml", []byte(text), scenario.Options{})
	if err != nil {
		return nil, err
	}
	return plan.Build(s, plan.Options{FixturesDir: "../fixtures", Marker: "squall-0a1b2c", LoadImage: local.LoadImage, Cluster: cluster})
}

func TestScenarioExamplesCompile(t *testing.T) {
	n := 0
	for _, p := range pages(t) {
		for _, c := range p.blocks("yaml") {
			if !strings.Contains(c.text, "kind: Scenario\n") {
				continue
			}
			n++
			if _, err := build(t, c.text); err != nil {
				t.Errorf("%s:%d: %v", p.path, c.line, err)
			}
		}
	}
	if n < 2 {
		t.Errorf("only %d examples were found", n)
	}
}

// withSteps is a scenario whose only stage applies the steps.
func withSteps(steps string) string {
	return `apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: example}
spec:
  hypothesis: It compiles.
  fixtures: [httpbin, httpbin-v2, es-flowcontrol]
  baseline:
    load: {url: "http://httpbin:8000/get", requests: 10}
    checks: [count() > 0]
  stages:
  - name: one
    checks: [count() > 0]
    apply:
    ` + strings.ReplaceAll(strings.TrimSpace(steps), "\n", "\n    ")
}

// planned is what the steps above the part come to: objects, actions and proofs. The argument cluster compiles them for one.
func planned(t *testing.T, argument, above string) string {
	t.Helper()
	all := page{text: above}.blocks("yaml")
	if len(all) == 0 {
		t.Fatal("there is no example above")
	}
	p, err := buildFor(t, withSteps(all[len(all)-1].text), argument == "cluster")
	if err != nil {
		t.Fatalf("%s\n%v", all[len(all)-1].text, err)
	}
	phase := p.Document().Phases[1]
	var objects []string
	for _, o := range phase.Objects {
		if strings.HasPrefix(o.Object, "Deployment ") {
			objects = append(objects, "# "+o.Action+" "+o.Object+"\n"+changedIn(t, o.Before, o.After))
			continue
		}
		y, err := yaml.Marshal(o.After)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, "# "+o.Action+" "+o.Object+"\n"+string(y))
	}
	var b strings.Builder
	if len(objects) > 0 {
		fmt.Fprintf(&b, "```yaml\n%s```\n\n", strings.Join(objects, "---\n"))
	}
	for _, does := range phase.Actions {
		fmt.Fprintf(&b, "It %s.\n\n", does)
	}
	for _, sets := range phase.Settings {
		fmt.Fprintf(&b, "%s.\n\n", sets)
	}
	for _, why := range phase.Unproven {
		fmt.Fprintf(&b, "Not proven: %s.\n\n", why)
	}
	if len(phase.Proofs) == 0 {
		b.WriteString("No proof.\n")
		return b.String()
	}
	for _, proof := range phase.Proofs {
		fmt.Fprintf(&b, "Proof: %s.\n\n```check\n%s\n```\n", proof.Text, proof.Expr)
	}
	return b.String()
}

// changedIn is as YAML what of an object of before is otherwise after; lists that differ are whole.
func changedIn(t *testing.T, before, after map[string]any) string {
	t.Helper()
	var changed func(a, b map[string]any) map[string]any
	changed = func(a, b map[string]any) map[string]any {
		out := map[string]any{}
		for k, v := range b {
			inner, isMap := v.(map[string]any)
			old, wasMap := a[k].(map[string]any)
			switch {
			case reflect.DeepEqual(a[k], v):
			case isMap && wasMap:
				out[k] = changed(old, inner)
			default:
				out[k] = v
			}
		}
		return out
	}
	y, err := yaml.Marshal(changed(before, after))
	if err != nil {
		t.Fatal(err)
	}
	return string(y)
}

func TestEveryStepHasAnExample(t *testing.T) {
	p := read(t, "steps.md")
	for kind := range scenario.Kinds() {
		section := p.section("## " + kind)
		if !strings.Contains(section, "- "+kind+":") || !strings.Contains(section, "<!-- generated: plan") {
			t.Errorf("steps.md has no section %q with an example and its plan", kind)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^- (\w+):`).FindAllStringSubmatch(p.text, -1) {
		if _, ok := scenario.Kinds()[m[1]]; !ok && !strings.HasPrefix(m[0], "- http") {
			t.Errorf("steps.md has an example of %q, which is no kind of step", m[1])
		}
	}
}

// statements are the lines of the page's blocks of a language, with their numbers.
func statements(p page, lang string) map[int]string {
	out := map[int]string{}
	for _, c := range p.blocks(lang) {
		for i, line := range strings.Split(strings.TrimSpace(c.text), "\n") {
			out[c.line+i] = line
		}
	}
	return out
}

func TestCheckExamplesCompile(t *testing.T) {
	for _, p := range pages(t) {
		for n, line := range statements(p, "check") {
			if _, err := check.Compile(line, services()); err != nil {
				t.Errorf("%s:%d: %s: %v", p.path, n, line, err)
			}
		}
		for n, line := range statements(p, "halt") {
			if _, err := check.CompileHalt(line, services()); err != nil {
				t.Errorf("%s:%d: %s: %v", p.path, n, line, err)
			}
		}
	}
}

// TestRefusedExamplesAreRefused reads lines of the form STATEMENT // what is wrong with it.
func TestRefusedExamplesAreRefused(t *testing.T) {
	all := statements(read(t, "checks.md"), "refused")
	if len(all) < 5 {
		t.Fatalf("only %d examples were found", len(all))
	}
	for n, line := range all {
		stmt, want, ok := strings.Cut(line, " // ")
		_, err := check.Compile(stmt, services())
		var syntax *check.SyntaxError
		switch {
		case !ok || !errors.As(err, &syntax):
			t.Errorf("checks.md:%d: %s: got the error %v", n, line, err)
		case !strings.Contains(syntax.Msg, want):
			t.Errorf("checks.md:%d: %s: got %q", n, stmt, syntax.Msg)
		}
	}
}

// words are the texts in functions of a package's source.
func words(t *testing.T, file string, functions ...string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || !slices.Contains(functions, fn.Name.Name) {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			if kv, ok := n.(*ast.KeyValueExpr); ok { // of maps the keys alone are words of the language
				if lit, ok := kv.Key.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					out = append(out, unquote(t, lit.Value))
				}
				return false
			}
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				out = append(out, unquote(t, lit.Value))
			}
			return true
		})
	}
	if len(out) == 0 {
		t.Fatalf("%s has no %v", file, functions)
	}
	return out
}

func unquote(t *testing.T, s string) string {
	t.Helper()
	out, err := strconv.Unquote(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestVocabularyIsShown holds checks.md to use each word of the language in an example that compiles, or to list it.
func TestVocabularyIsShown(t *testing.T) {
	p := read(t, "checks.md")
	examples := strings.Join(slices.Collect(maps.Values(statements(p, "check"))), "\n")
	for _, w := range words(t, "../internal/check/measure.go", "measureNames", "percentileNames", "hostStats", "faultStats", "loadFields") {
		if !regexp.MustCompile(`\b` + w + `\b`).MatchString(examples) {
			t.Errorf("no example in checks.md uses %s", w)
		}
	}
	for _, of := range []struct{ statement, heading string }{
		{"count(1 == 1) > 0", "### Variables of requests"}, {"access(1 == 1).count > 0", "### Variables of access log entries"},
	} {
		_, err := check.Compile(of.statement, services())
		var syntax *check.SyntaxError
		if !errors.As(err, &syntax) {
			t.Fatalf("%s: %v", of.statement, err)
		}
		section := p.section(of.heading)
		for _, name := range strings.Split(strings.TrimPrefix(syntax.Hint, "use "), ", ") {
			if !strings.Contains(section, "| `"+name) {
				t.Errorf("checks.md has no row for %s under %s", name, of.heading)
			}
		}
	}
	for _, w := range words(t, "../internal/check/vocabulary.go", "responseFlags", "errorKinds") {
		if !strings.Contains(p.text, "`"+w+"`") {
			t.Errorf("checks.md does not list %s", w)
		}
	}
}

// TestEffectsAreShown does the same for what steps do to workloads.
func TestEffectsAreShown(t *testing.T) {
	p := read(t, "checks.md")
	for _, w := range []string{record.Replaced, record.Stopped, record.Partitioned, record.Stuck, record.Cordoned} {
		if !strings.Contains(p.text, "| `"+w+"(") {
			t.Errorf("checks.md has no row for %s", w)
		}
	}
}

func TestManifestExamplesAreHonoured(t *testing.T) {
	facts, err := local.ReadFacts(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range read(t, "local.md").blocks("yaml") {
		var objects []map[string]any
		for _, doc := range strings.Split(c.text, "---\n") {
			var o map[string]any
			if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
				t.Fatalf("local.md:%d: %v", c.line, err)
			}
			objects = append(objects, o)
			n++
		}
		for _, p := range local.Check(objects, facts) {
			t.Errorf("local.md:%d: %s: %s", c.line, p.Path, p.What)
		}
	}
	if n < 3 {
		t.Errorf("only %d objects were found", n)
	}
}

func TestFilesOfARunAreListed(t *testing.T) {
	text := read(t, "results.md").text
	for _, name := range []string{
		record.ManifestFile, record.SpecFile, record.PlanFile, record.JournalFile, record.EventsFile, record.ProxiesFile, record.ResultFile,
		record.JUnitFile, record.ReportFile,
	} {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("results.md does not list %s", name)
		}
	}
}

// TestErrorsExist holds troubleshooting.md's headings, such as `no scenario "…" in …`, to texts of the source.
func TestErrorsExist(t *testing.T) {
	source := sources(t)
	headings := regexp.MustCompile("(?m)^### `(.*)`$").FindAllStringSubmatch(read(t, "troubleshooting.md").text, -1)
	if len(headings) < 15 {
		t.Errorf("only %d errors were found", len(headings))
	}
	for _, h := range headings {
		for _, part := range strings.Split(h[1], "…") {
			part = strings.Trim(part, ` ":`)
			if len(part) > 5 && !strings.Contains(source, part) {
				t.Errorf("troubleshooting.md: the source has no error with %q", part)
			}
		}
	}
}

// sources is the project's Go code without its tests.
func sources(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, root := range []string{"../internal", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			b.Write(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}
