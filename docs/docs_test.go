// Package docs_test holds the pages to the code: what can be generated is, every example is read by the code that it is about,
// and every link leads somewhere. go test ./docs -update writes the generated parts anew.
package docs_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of the pages")

// page is a Markdown file of the project.
type page struct{ path, text string }

func read(t *testing.T, path string) page {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return page{path, string(b)}
}

// pages are all that a person reads.
func pages(t *testing.T) []page {
	t.Helper()
	list, err := filepath.Glob("*.md")
	if err != nil || len(list) < 7 {
		t.Fatalf("pages: %v, %v", list, err)
	}
	var out []page
	for _, path := range append(list, "../README.md", "../RATIONALE.md", "../reports/README.md") {
		out = append(out, read(t, path))
	}
	return out
}

// code is a fenced block.
type code struct {
	lang, text string
	line       int
}

// blocks are the page's fenced blocks of a language.
func (p page) blocks(lang string) []code {
	var out []code
	var open *code
	for i, line := range strings.Split(p.text, "\n") {
		fence, ok := strings.CutPrefix(line, "```")
		switch {
		case ok && open == nil:
			open = &code{lang: fence, line: i + 2}
		case ok:
			if open.lang == lang {
				out = append(out, *open)
			}
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return out
}

// section is the text under a heading, as far as the next heading of its rank or above.
func (p page) section(heading string) string {
	_, rest, ok := strings.Cut(p.text, "\n"+heading+"\n")
	if !ok {
		return ""
	}
	rank, _, _ := strings.Cut(heading, " ")
	var out strings.Builder
	for _, line := range strings.SplitAfter(rest, "\n") {
		hashes, _, isHeading := strings.Cut(line, " ")
		if isHeading && strings.Trim(hashes, "#") == "" && hashes != "" && len(hashes) <= len(rank) {
			break
		}
		out.WriteString(line)
	}
	return out.String()
}

// generators make the parts of pages between <!-- generated: NAME ARGUMENT --> and <!-- end -->. above is the page before the part.
func generators() map[string]func(t *testing.T, argument, above string) string {
	return map[string]func(*testing.T, string, string) string{
		"fields":       scenarioFields,
		"result":       resultFields,
		"plan":         planned,
		"images":       imageTable,
		"accepted":     acceptedTable,
		"refused":      refusedTable,
		"losses":       lossTable,
		"unsupported":  unsupportedTable,
		"scenarios":    scenarioTable,
		"packages":     packageTable,
		"otel":         otelLabels,
		"dependencies": dependencyTable,
	}
}

func generated() *regexp.Regexp {
	return regexp.MustCompile(`(?s)(<!-- generated: (\w+) ?([^\n]*?) ?-->\n)(.*?)(<!-- end -->)`)
}

func TestGeneratedParts(t *testing.T) {
	used := map[string]bool{}
	for _, p := range pages(t) {
		var out strings.Builder
		last := 0
		for _, m := range generated().FindAllStringSubmatchIndex(p.text, -1) {
			name, argument := p.text[m[4]:m[5]], p.text[m[6]:m[7]]
			generate, ok := generators()[name]
			if !ok {
				t.Fatalf("%s: nothing generates %q", p.path, name)
			}
			used[name] = true
			out.WriteString(p.text[last:m[8]])
			out.WriteString(generate(t, argument, p.text[:m[0]]))
			last = m[9]
		}
		out.WriteString(p.text[last:])
		if out.String() == p.text {
			continue
		}
		if !*update {
			t.Errorf("%s is not what the code says; write it with: go test ./docs -update\n%s", p.path, firstDifference(p.text, out.String()))
			continue
		}
		if err := os.WriteFile(p.path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name := range generators() {
		if !used[name] {
			t.Errorf("no page has a part %q", name)
		}
	}
}

func firstDifference(page, code string) string {
	a, b := strings.Split(page, "\n"), strings.Split(code, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "page: " + a[i] + "\ncode: " + b[i]
		}
	}
	return "one of them is longer"
}

func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`(?:\]\(|src="|srcset="|href=")([^)"#\s]*)(#[^)"\s]*)?[)"]`)
	n := 0
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(p.text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			target := filepath.Join(filepath.Dir(p.path), m[1])
			if m[1] == "" {
				target = p.path
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", p.path, m[1])
				continue
			}
			if m[2] != "" && !hasAnchor(read(t, target).text, m[2][1:]) {
				t.Errorf("%s: %s has no heading %s", p.path, target, m[2])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d links were found", n)
	}
}

// hasAnchor says whether a heading of the page has that anchor, as GitHub makes them.
func hasAnchor(text, anchor string) bool {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		got := strings.ToLower(m[1])
		got = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(got, "")
		if strings.ReplaceAll(got, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// TestDependenciesHaveReasons holds RATIONALE.md to go.mod: each direct dependency has its reason.
func TestDependenciesHaveReasons(t *testing.T) {
	why := read(t, "../RATIONALE.md").text
	deps := requirements(t)
	if len(deps) < 10 {
		t.Fatalf("go.mod: %v", deps)
	}
	for _, d := range deps {
		if !strings.Contains(why, "`"+d+"`") {
			t.Errorf("RATIONALE.md does not say why %s", d)
		}
	}
}

// requirements are the modules that go.mod requires directly.
func requirements(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, line := range strings.Split(read(t, "../go.mod").text, "\n") {
		if m := regexp.MustCompile(`^\t(\S+) v\S+$`).FindStringSubmatch(line); m != nil {
			out = append(out, m[1])
		}
	}
	return out
}
