package gatewayapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"squall/internal/fields"
	"squall/internal/toolchain"
)

var update = flag.Bool("update", false, "write the embedded CRDs again")

// moduleCRDs are the CRDs of the standard channel of the module that the pinned Istio uses.
func moduleCRDs(t *testing.T) map[string]map[string]any {
	t.Helper()
	dir, err := toolchain.Source(t.Context(), "../..", "sigs.k8s.io/gateway-api")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "config/crd/standard/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs in %s: %v", dir, err)
	}
	out := map[string]map[string]any{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range strings.Split("\n"+string(data), "\n---") {
			var crd map[string]any
			if err := yaml.Unmarshal([]byte(doc), &crd); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			if crd["kind"] == "CustomResourceDefinition" {
				delete(crd, "status")
				delete(mapOf(crd["metadata"]), "creationTimestamp")
				name, _ := mapOf(crd["metadata"])["name"].(string)
				out[name] = crd
			}
		}
	}
	return out
}

// TestEmbeddedCRDsAreTheModules makes the files in crds from the module.
func TestEmbeddedCRDsAreTheModules(t *testing.T) {
	for name, crd := range moduleCRDs(t) {
		var first any
		for i, version := range fields.Maps(mapOf(crd["spec"]), "versions") {
			switch {
			case i == 0:
				first = version["schema"]
			case reflect.DeepEqual(first, version["schema"]):
				delete(version, "schema")
			}
		}
		b, err := json.MarshalIndent(crd, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, '\n')
		if *update {
			if err := os.WriteFile("crds/"+name+".json", b, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !bytes.Equal(CRD(name), b) {
			t.Errorf("crds/%s.json differs from the module: run go test ./internal/gatewayapi -run EmbeddedCRDs -update", name)
		}
	}
}

// TestCRDsAreWhole compares what is applied to a cluster with the module, schema by schema.
func TestCRDsAreWhole(t *testing.T) {
	want := moduleCRDs(t)
	objects, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		name, _ := mapOf(o["metadata"])["name"].(string)
		a, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(want[name])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s is not the module's", name)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}
