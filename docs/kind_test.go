package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"squall/internal/kind"
	"squall/internal/toolchain"
)

// TestKind holds kind.md to the code: its variables are those that are read, its patch can be merged, its values are of the version that
// is installed.
func TestKind(t *testing.T) {
	p := read(t, "kind.md")
	table := p.section("## Variables")
	var o kind.Options
	n := 0
	o.FromEnvironment(func(name string) string {
		n++
		if !strings.Contains(table, "| `"+name+"` | `--") {
			t.Errorf("the variable %s is not in the table", name)
		}
		return ""
	})
	if got := strings.Count(table, "\n| `"); got != n {
		t.Errorf("the table has %d variables, %d are read", got, n)
	}
	examples := map[string]string{}
	for _, c := range p.blocks("yaml") {
		title, text, _ := strings.Cut(c.text, "\n")
		examples[title] = text
	}
	patch := filepath.Join(t.TempDir(), "patch.yaml")
	if err := os.WriteFile(patch, []byte(examples["# kind-config patch"]), 0o644); err != nil {
		t.Fatal(err)
	}
	merged, err := kind.Merge("../kind-config.yaml", patch)
	if err != nil || !strings.Contains(string(merged), "hostPort: 8080") || !strings.Contains(string(merged), "apiServerAddress: 127.0.0.1") {
		t.Errorf("%v:\n%s", err, merged)
	}
	var values struct{ Spec struct{ Hub, Tag string } }
	if err := yaml.Unmarshal([]byte(examples["# Istio values"]), &values); err != nil || values.Spec.Tag != toolchain.IstioVersion || values.Spec.Hub == "" {
		t.Errorf("values: %+v, %v; Istio is %s", values, err, toolchain.IstioVersion)
	}
}
