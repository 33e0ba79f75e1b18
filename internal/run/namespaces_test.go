package run

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
	"squall/internal/plan"
)

// sharedMesh is a cluster for what is made on it.
type sharedMesh struct {
	keeps bool
	run   string
}

func (s sharedMesh) Instruments([]string) []*unstructured.Unstructured { return nil }
func (s sharedMesh) Stamp() mesh.Stamp                                 { return mesh.Stamp{RunID: s.run} }
func (s sharedMesh) Prepare(*unstructured.Unstructured) error          { return nil }
func (s sharedMesh) Keeps(mesh.Ref) bool                               { return s.keeps }

func given(labels map[string]string) *unstructured.Unstructured {
	u := mesh.Namespace("shop")
	u.SetLabels(labels)
	return u
}

// TestNamespaces makes the namespace shop for a run on a cluster that has it or has not.
func TestNamespaces(t *testing.T) {
	injected := map[string]string{"istio-injection": "enabled"}
	team := map[string]string{"istio-injection": "enabled", "team": "a"}
	stamp := map[string]string{mesh.ManagedByLabel: mesh.FieldManager, mesh.RunIDLabel: "circuit-1"}
	with := func(a, b map[string]string) map[string]string {
		a = maps.Clone(a)
		maps.Copy(a, b)
		return a
	}
	for name, c := range map[string]struct {
		there   map[string]string // labels of the one that is there; nil is none
		by      string            // the run that made it, "" is a person
		fixture map[string]string // labels of that of the fixtures; nil is none
		kept    bool              // what the run makes stays
		want    map[string]string
		says    string
	}{
		"made":                           {want: with(injected, stamp)},
		"made, and stays":                {kept: true, want: injected},
		"there":                          {there: map[string]string{"team": "b"}, want: map[string]string{"team": "b"}},
		"of another run":                 {there: injected, by: "other-2", says: "Namespace shop is of run other-2"},
		"of a fixture":                   {fixture: team, want: with(team, stamp)},
		"of a fixture, and stays":        {fixture: team, kept: true, want: team},
		"of a fixture, there":            {there: map[string]string{"x": "y"}, fixture: team, want: with(team, map[string]string{"x": "y", mesh.RunIDLabel: "circuit-1"})},
		"of a fixture, of another run":   {there: injected, by: "other-2", fixture: team, says: "Namespace shop is of run other-2"},
		"of a fixture, a person differs": {there: map[string]string{"team": "b"}, fixture: team, says: "a person with kubectl owns metadata.labels.team"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			if c.there != nil {
				u := given(c.there)
				if c.by != "" {
					mesh.Stamp{RunID: c.by}.Put(u, nil)
				}
				ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: u.GetLabels()}}
				if _, err := a.Kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{FieldManager: "kubectl-edit"}); err != nil {
					t.Fatal(err)
				}
			}
			p := &plan.Plan{Namespaces: []string{"shop"}}
			if c.fixture != nil {
				p.Fixtures = append(p.Fixtures, given(c.fixture))
			}
			d := &deployment{objects: a.Objects, shared: sharedMesh{c.kept, "circuit-1"}}
			list := namespaces(p)
			if len(list) != 1 {
				t.Fatalf("%d namespaces", len(list))
			}
			err := d.ownNamespace(t.Context(), list[0])
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v", err)
				}
				return
			}
			if err == nil {
				err = d.makeNamespace(t.Context(), list[0])
			}
			if err != nil {
				t.Fatal(err)
			}
			now, err := a.Get(t.Context(), mesh.RefOf(list[0].object))
			if err != nil {
				t.Fatal(err)
			}
			labels := now.GetLabels()
			delete(labels, "kubernetes.io/metadata.name")
			if !maps.Equal(labels, c.want) {
				t.Errorf("labels %v\nwant   %v", labels, c.want)
			}
		})
	}
}

// Of two runs that find no namespace at the same moment one makes it.
func TestNamespaceIsMadeOnce(t *testing.T) {
	a := newAPI(t)
	u := mesh.Namespace("shop")
	if _, err := a.Create(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Create(t.Context(), u); err == nil || !strings.Contains(err.Error(), "create Namespace shop") {
		t.Errorf("%v", err)
	}
}
