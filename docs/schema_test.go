package docs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"squall/internal/report"
	"squall/internal/scenario"
)

// TestSchemas holds the published schemas to the code. The scenarios name the first for editors.
func TestSchemas(t *testing.T) {
	for name, schema := range map[string]func() ([]byte, error){"scenario.json": scenario.Schema, "result.json": report.Schema} {
		want, err := schema()
		if err != nil {
			t.Fatal(err)
		}
		want = append(bytes.TrimSpace(want), '\n')
		path := filepath.Join("schema", name)
		if *update {
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/%s is not what the code says; write it with: go test ./docs -update", path)
		}
	}
	list, err := scenario.List("../scenarios")
	if err != nil || len(list) == 0 {
		t.Fatalf("scenarios: %v, %v", list, err)
	}
	for _, s := range list {
		b, err := os.ReadFile(s.File)
		if err != nil {
			t.Fatal(err)
		}
		schema, err := filepath.Rel(filepath.Dir(s.File), "../docs/schema/scenario.json")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(b, []byte("# yaml-language-server: $schema="+filepath.ToSlash(schema)+"\n")) {
			t.Errorf("%s does not name its schema, %s, in the first line", s.File, schema)
		}
	}
}
