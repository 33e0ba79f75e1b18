package kubeapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files and the embedded CRDs again")

// TestEmbeddedCRDsAreTheModules makes istio-crds.json from the module istio.io/api that the build uses.
func TestEmbeddedCRDsAreTheModules(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatalf("find istio.io/api: %v", err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kubernetes/customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{}
	for _, doc := range strings.Split(string(source), "\n---\n") {
		var crd map[string]any
		if err := yaml.Unmarshal([]byte(doc), &crd); err != nil {
			t.Fatal(err)
		}
		if crd == nil {
			continue
		}
		var first any
		for i, v := range list(crd, "spec", "versions") {
			version := v.(map[string]any)
			if i == 0 {
				first = version["schema"]
				continue
			}
			if !reflect.DeepEqual(first, version["schema"]) {
				t.Errorf("%s: the schema of %v is another: versions are no longer the same object", text(crd, "metadata", "name"), version["name"])
			}
			delete(version, "schema")
		}
		want[text(crd, "metadata", "name")] = crd
	}
	b, err := json.MarshalIndent(want, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.WriteFile("istio-crds.json", b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("istio-crds.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b) {
		t.Error("istio-crds.json differs from istio.io/api: run go test ./internal/kubeapi -run EmbeddedCRDs -update")
	}
}

func TestIstioResourcesAreTheCRDs(t *testing.T) {
	var crds map[string]struct {
		Spec struct {
			Group, Scope string
			Names        struct {
				Kind, Plural, Singular string
				ShortNames, Categories []string
			}
			Versions []struct {
				Name                     string
				Storage                  bool
				AdditionalPrinterColumns []struct{ Name, JSONPath string }
			}
		}
	}
	if err := json.Unmarshal(istioCRDs, &crds); err != nil {
		t.Fatal(err)
	}
	for _, r := range istioResources() {
		c, ok := crds[r.Plural+"."+r.Group]
		if !ok {
			t.Errorf("no CRD for %s.%s", r.Plural, r.Group)
			continue
		}
		delete(crds, r.Plural+"."+r.Group)
		n := c.Spec.Names
		if n.Kind != r.Kind || n.Singular != r.Singular || !slices.Equal(n.ShortNames, r.ShortNames) || !slices.Equal(n.Categories, r.Categories) {
			t.Errorf("%s: the row has other names than the CRD: %+v", r.Kind, n)
		}
		var versions, columns []string
		for _, v := range c.Spec.Versions {
			versions = append(versions, v.Name)
			columns = nil
			for _, p := range v.AdditionalPrinterColumns {
				columns = append(columns, p.Name+p.JSONPath)
			}
		}
		slices.Sort(versions)
		if got := slices.Sorted(slices.Values(r.Versions)); !slices.Equal(got, versions) {
			t.Errorf("%s: versions %v, the CRD has %v", r.Kind, got, versions)
		}
		if len(columns) == 0 {
			columns = []string{"Age.metadata.creationTimestamp"} // what Kubernetes prints for a CRD without columns
		}
		var have []string
		for _, p := range r.Columns {
			have = append(have, p.Name+"."+p.Path)
		}
		if !slices.Equal(have, columns) {
			t.Errorf("%s: columns %v, the CRD has %v", r.Kind, have, columns)
		}
	}
	for name := range crds {
		t.Errorf("CRD %s has no row in istioResources", name)
	}
}
