package run

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"squall/internal/mesh"
)

func TestDrift(t *testing.T) {
	a := newAPI(t)
	ref := mesh.RefOf(destinationRule("v1", 1))
	patch := func(patches ...string) func() {
		return func() {
			for _, p := range patches {
				_, err := a.istio.NetworkingV1().DestinationRules(ref.Namespace).Patch(t.Context(), ref.Name, types.MergePatchType, []byte(p), metav1.PatchOptions{FieldManager: "gitops"})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	remove := func() {
		if err := a.Delete(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	const maxConnections = `{"spec":{"trafficPolicy":{"connectionPool":{"tcp":{"maxConnections":%d}}}}}`
	for name, c := range map[string]struct {
		do   func()
		want string // "" is no drift
	}{
		"untouched":          {func() {}, ""},
		"labelled by others": {patch(`{"metadata":{"labels":{"team":"a"},"annotations":{"note":"b"}}}`), ""},
		"reverted": {patch(strings.Replace(maxConnections, "%d", "100", 1)),
			"reverted by gitops during the stage: DestinationRule default/httpbin.spec.trafficPolicy.connectionPool.tcp.maxConnections was 1, is 100"},
		"added to": {patch(`{"spec":{"trafficPolicy":{"outlierDetection":{"interval":"1s"}}}}`),
			"reverted by gitops during the stage: DestinationRule default/httpbin.spec.trafficPolicy.outlierDetection is new"},
		"our label removed": {patch(`{"metadata":{"labels":{"ours":null}}}`), "reverted by somebody during the stage: DestinationRule default/httpbin.metadata"},
		"changed for a time": {patch(strings.Replace(maxConnections, "%d", "100", 1), strings.Replace(maxConnections, "%d", "1", 1)),
			"reverted for a time by gitops during the stage: DestinationRule default/httpbin is in generation 3, not 1"},
		"deleted":   {remove, "reverted during the stage: somebody deleted DestinationRule default/httpbin"},
		"recreated": {func() { remove(); a.apply(labelled()) }, "reverted for a time during the stage: DestinationRule default/httpbin was deleted and made again"},
	} {
		t.Run(name, func(t *testing.T) {
			remove()
			stored := a.apply(labelled())
			c.do()
			r := &runner{objects: a.Objects}
			r.remember(stored)
			err := r.unchanged(t.Context())
			switch {
			case c.want == "" && err != nil:
				t.Errorf("unexpected: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// labelled is a DestinationRule with a label that a stage gives it.
func labelled() *unstructured.Unstructured {
	u := destinationRule("v1", 1)
	u.SetLabels(map[string]string{"ours": "yes"})
	return u
}

func TestDriftIsAboutTheLatestChange(t *testing.T) {
	a := newAPI(t)
	r := &runner{objects: a.Objects}
	r.remember(a.apply(destinationRule("v1", 1)))
	r.remember(a.apply(configMap("a", "1")))
	r.remember(a.apply(destinationRule("v1beta1", 2)))
	if err := r.unchanged(t.Context()); err != nil {
		t.Error(err)
	}
	a.foreign("a", `{"data":{"a":"2"}}`)
	if err := r.unchanged(t.Context()); err == nil || !strings.Contains(err.Error(), "ConfigMap default/a.data.a was 1, is 2") {
		t.Errorf("an object of an earlier stage: %v", err)
	}
}
