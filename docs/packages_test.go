package docs_test

import (
	"fmt"
	"go/doc"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"squall/internal/scenario"
)

// flow is the order of the packages: from what the author writes to what a person reads, then what serves them.
func flow() []string {
	return []string{
		"cmd/squall", "cmd/squall-worker", "internal/engine", "internal/guard", "internal/scenario", "internal/step", "internal/rules", "internal/oracle", "internal/lint", "internal/plan",
		"internal/run", "internal/mesh", "internal/mesh/local",
		"internal/mesh/kube", "internal/kubeapi", "internal/gatewayapi", "internal/fields", "internal/sds", "internal/forward", "internal/relay", "internal/flowcontrol", "internal/flowcontrol/settings", "internal/kind", "internal/image", "internal/proc", "internal/toolchain",
		"internal/load", "internal/load/worker", "internal/load/fortiorest", "internal/record",
		"internal/traffic", "internal/traffic/store", "internal/traffic/sqlite", "internal/traffic/elastic", "internal/traffic/als", "internal/traffic/als/replay", "internal/traffic/collect", "internal/traffic/page", "internal/elasticsearch",
		"internal/check", "internal/parity", "internal/report", "internal/bench", "internal/browsertest", "internal/kubeapi/kubeapitest", "internal/traffic/traffictest", "internal/elasticsearch/elasticsearchtest", "internal/flowcontrol/flowcontroltest",
	}
}

// imported are the imports of a package's files, tests left out, and its package comment's first sentence.
func imported(t *testing.T, dir string, tests bool) (imports []string, synopsis string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") != tests {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			seen[strings.Trim(i.Path.Value, `"`)] = true
		}
		if f.Doc != nil && synopsis == "" {
			synopsis = new(doc.Package).Synopsis(f.Doc.Text())
		}
	}
	return slices.Sorted(maps.Keys(seen)), synopsis
}

// directories are the folders of the project that hold Go code.
func directories(t *testing.T) []string {
	t.Helper()
	seen := map[string]bool{}
	for _, root := range []string{"cmd", "internal", "fixtures", "suites", "scripts", "docs"} {
		err := filepath.WalkDir(filepath.Join("..", root), func(path string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") {
				seen[strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func packageTable(t *testing.T, _, _ string) string {
	t.Helper()
	for _, dir := range directories(t) {
		if (strings.HasPrefix(dir, "cmd/") || strings.HasPrefix(dir, "internal/")) && !slices.Contains(flow(), dir) {
			t.Errorf("%s has no place in the order of the packages: put it into flow of docs/packages_test.go", dir)
		}
	}
	var b strings.Builder
	b.WriteString("| package | what it is | imports of this module |\n|---|---|---|\n")
	for _, dir := range flow() {
		imports, synopsis := imported(t, dir, false)
		if synopsis == "" {
			t.Errorf("%s has no package comment", dir)
		}
		var own []string
		for _, i := range imports {
			if rest, ok := strings.CutPrefix(i, "squall/internal/"); ok {
				own = append(own, rest)
			}
		}
		_, rest, _ := strings.Cut(strings.TrimPrefix(synopsis, "Package "), " ")
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, "squall "), "bench ")
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.TrimPrefix(dir, "internal/"), rest, orDash(strings.Join(own, ", ")))
	}
	return b.String()
}

func orDash(s string) string {
	if s == "" {
		return "—"
	}
	return s
}

func dependencyTable(t *testing.T, _, _ string) string {
	t.Helper()
	code, tests := users(t)
	var b strings.Builder
	b.WriteString("| module | used by | used by tests of |\n|---|---|---|\n")
	for _, dep := range requirements(t) {
		if len(code[dep])+len(tests[dep]) == 0 {
			t.Errorf("nothing imports %s", dep)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", dep, orDash(strings.Join(code[dep], ", ")), orDash(strings.Join(tests[dep], ", ")))
	}
	return b.String()
}

// users are the packages whose code, and whose tests, import each required module.
func users(t *testing.T) (code, tests map[string][]string) {
	t.Helper()
	code, tests = map[string][]string{}, map[string][]string{}
	for _, dir := range directories(t) {
		for _, in := range []struct {
			tests bool
			into  map[string][]string
		}{{false, code}, {true, tests}} {
			imports, _ := imported(t, dir, in.tests)
			for _, dep := range requirements(t) {
				if slices.ContainsFunc(imports, func(i string) bool { return i == dep || strings.HasPrefix(i, dep+"/") }) {
					in.into[dep] = append(in.into[dep], strings.TrimPrefix(dir, "internal/"))
				}
			}
		}
	}
	return code, tests
}

func scenarioTable(t *testing.T, _, _ string) string {
	t.Helper()
	list, err := scenario.List("../scenarios")
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	var b strings.Builder
	b.WriteString("| scenario | hypothesis |\n|---|---|\n")
	for _, s := range list {
		if s.Err != nil {
			t.Fatal(s.Err)
		}
		fmt.Fprintf(&b, "| [`%s`](%s) | %s |\n", s.Name, strings.TrimPrefix(filepath.ToSlash(s.File), "../"), s.Hypothesis)
	}
	return b.String()
}
