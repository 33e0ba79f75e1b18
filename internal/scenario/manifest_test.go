package scenario

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseManifests(t *testing.T) {
	objects, err := ParseManifests("m.yaml", []byte(`# comment
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  ports:
  - {port: 8000, share: 0.5}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: b
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 2 {
		t.Fatalf("got %d objects", len(objects))
	}
	want := map[string]any{"ports": []any{map[string]any{"port": int64(8000), "share": 0.5}}}
	if got := objects[0].Object["spec"]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
	for got, want := range map[Pos]Pos{
		objects[0].At("spec.ports[0].port"): {"m.yaml", 7, 12},
		objects[0].At(""):                   {"m.yaml", 2, 1},
		objects[1].At("metadata.name"):      {"m.yaml", 15, 11},
		objects[1].At(""):                   {"m.yaml", 12, 3},
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestParseManifestsReportsAllProblems(t *testing.T) {
	_, err := ParseManifests("m.yaml", []byte("kind: Service\nkind: B\nmetadata: {name: 7}\n---\n- a\n"))
	want := `m.yaml:1:1: apiVersion: is missing
m.yaml:2:1: the key "kind" is given twice (first on line 1)
m.yaml:3:18: metadata.name: is missing (give the object a name, in quotes if it is a number)
m.yaml:5:1: is not a Kubernetes object (write apiVersion, kind and metadata)`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	_, err = ParseManifests("m.yaml", []byte("a: 1\n---\n# nothing\n---\nb: 1\n"))
	want = "m.yaml:5:1: what begins here cannot be read (remove the empty document (---) before it)"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("what follows an empty document is lost: %v", err)
	}
	if _, err := ParseManifests("m.yaml", nil); err == nil {
		t.Error("an empty file is accepted")
	}
}
