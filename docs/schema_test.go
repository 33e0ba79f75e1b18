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
	files, err := filepath.Glob("../scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("scenarios: %v, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(b, []byte("# yaml-language-server: $schema=../docs/schema/scenario.json\n")) {
			t.Errorf("%s does not name its schema in the first line", f)
		}
	}
}
