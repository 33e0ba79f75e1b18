package run

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"squall/internal/mesh"
)

// changed is a rule of a person's with 100 connections, that a run has changed to 1, and then to 2, as it does.
func (a *api) changed(path string) (before *unstructured.Unstructured) {
	a.t.Helper()
	before, err := a.create(rule(100))
	if err != nil {
		a.t.Fatal(err)
	}
	j := journalAt(a.t, path)
	a.change(j, outlier("1s"))
	a.change(j, outlier("2s"))
	a.change(j, configMap("made", "1"))
	return before
}

func rule(connections int64) *unstructured.Unstructured { return destinationRule("v1", connections) }

func outlier(interval string) *unstructured.Unstructured {
	u := outlierRule()
	u.Object["spec"].(map[string]any)["trafficPolicy"] = map[string]any{"outlierDetection": map[string]any{"interval": interval}}
	return u
}

// patch changes the rule as somebody else.
func (a *api) patch(manager, patch string) {
	a.t.Helper()
	_, err := a.istio.NetworkingV1().DestinationRules("default").Patch(a.t.Context(), "httpbin", types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: manager})
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *api) spec() string {
	a.t.Helper()
	u, err := a.Get(a.t.Context(), mesh.RefOf(rule(1)))
	if err != nil {
		a.t.Fatal(err)
	}
	if u == nil {
		return "gone"
	}
	return fmt.Sprint(u.Object["spec"], u.GetLabels(), u.GetAnnotations())
}

// TestForeign changes a rule that a run has changed, and rolls the run back from its journal, as after a kill. What somebody else decided
// stays, and is said; what is none of that does not stand in the way.
func TestForeign(t *testing.T) {
	const original = "map[host:httpbin trafficPolicy:map[connectionPool:map[tcp:map[maxConnections:100]]]] map[] map[]"
	for name, c := range map[string]struct {
		do   func(a *api, before *unstructured.Unstructured)
		want string   // the spec, labels and annotations afterwards
		says []string // nil is no conflict
	}{
		"untouched": {func(*api, *unstructured.Unstructured) {}, original, nil},
		"our field": {func(a *api, _ *unstructured.Unstructured) {
			a.patch("flagger", `{"spec":{"trafficPolicy":{"outlierDetection":{"interval":"7s"}}}}`)
		}, strings.Replace(original, "tcp:map[maxConnections:100]]", "tcp:map[maxConnections:100]] outlierDetection:map[interval:7s]", 1),
			[]string{"DestinationRule default/httpbin", "flagger", "spec.trafficPolicy.outlierDetection.interval", "left as it is"}},
		"another field": {func(a *api, _ *unstructured.Unstructured) {
			a.patch("kubectl-patch", `{"spec":{"trafficPolicy":{"connectionPool":{"tcp":{"maxConnections":50}}}}}`)
		}, "map[host:httpbin trafficPolicy:map[connectionPool:map[tcp:map[maxConnections:50]] outlierDetection:map[interval:2s]]] map[] map[]",
			[]string{"a person with kubectl (kubectl-patch)", "spec.trafficPolicy.connectionPool.tcp.maxConnections"}},
		"put back": {func(a *api, _ *unstructured.Unstructured) {
			a.patch("argocd-controller", `{"spec":{"trafficPolicy":{"outlierDetection":null}}}`)
		}, original, nil},
		"labelled": {func(a *api, _ *unstructured.Unstructured) {
			a.patch("kiali", `{"metadata":{"labels":{"seen":"yes"},"annotations":{"note":"b"}}}`)
		}, strings.Replace(original, "map[] map[]", "map[seen:yes] map[note:b]", 1), nil},
		"deleted": {func(a *api, before *unstructured.Unstructured) {
			if err := a.Delete(a.t.Context(), mesh.RefOf(before)); err != nil {
				a.t.Fatal(err)
			}
		}, "gone", []string{"somebody deleted it"}},
		"undone by a rollback that was killed": {func(a *api, before *unstructured.Unstructured) {
			if err := a.Restore(a.t.Context(), mesh.RefOf(before), before); err != nil {
				a.t.Fatal(err)
			}
		}, original, nil},
		"half undone by one": {func(a *api, _ *unstructured.Unstructured) { a.apply(outlier("1s")) }, original, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			path := filepath.Join(t.TempDir(), "journal.ndjson")
			before := a.changed(path)
			c.do(a, before)
			j := journalAt(t, path)
			targets, err := j.Targets(t.Context(), a.Objects, All)
			if err != nil {
				t.Fatal(err)
			}
			err = j.Undo(t.Context(), a.Objects, All)
			var foreign *ForeignError
			if errors.As(err, &foreign) != (c.says != nil) || err != nil && c.says == nil {
				t.Fatalf("%v", err)
			}
			for _, text := range c.says {
				if !strings.Contains(err.Error(), text) || strings.Count(err.Error(), "left as it is") != 1 {
					t.Errorf("%q is missing in, or said twice: %v", text, err)
				}
			}
			if got := a.spec(); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			if a.value("made") != "" {
				t.Error("the rest is not rolled back")
			}
			left, err := Leftovers(t.Context(), a.Objects, targets)
			if (len(left) > 0) != (c.says != nil) || err != nil {
				t.Errorf("left %q, %v", left, err)
			}
			if c.says != nil && len(j.Open()) != 2 {
				t.Errorf("open: %v", j.Open())
			}
		})
	}
}

// A conflict is decided by a second rollback: the change of the other goes, or stays without a trace of Squall.
func TestForeignIsDecided(t *testing.T) {
	for decision, want := range map[Decision]string{
		Overwrite: "map[host:httpbin trafficPolicy:map[connectionPool:map[tcp:map[maxConnections:100]]]] map[] map[]",
		Keep:      "map[host:httpbin trafficPolicy:map[connectionPool:map[tcp:map[maxConnections:100]] outlierDetection:map[interval:7s]]] map[] map[]",
	} {
		t.Run(fmt.Sprint(decision), func(t *testing.T) {
			a := newAPI(t)
			path := filepath.Join(t.TempDir(), "journal.ndjson")
			a.changed(path)
			a.patch("flagger", `{"metadata":{"labels":{"`+mesh.RunIDLabel+`":"circuit-1"}},"spec":{"trafficPolicy":{"outlierDetection":{"interval":"7s"}}}}`)
			j := journalAt(t, path)
			if err := j.Undo(t.Context(), a.Objects, All); err == nil {
				t.Fatal("no conflict")
			}
			j.Foreign = decision
			targets, err := j.Targets(t.Context(), a.Objects, All)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Undo(t.Context(), a.Objects, All); err != nil || len(j.Open()) > 0 {
				t.Fatal(err, j.Open())
			}
			if got := strings.Replace(a.spec(), mesh.RunIDLabel+":circuit-1", "", 1); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
			if left, err := Leftovers(t.Context(), a.Objects, j.Decided(targets)); len(left) > 0 || err != nil {
				t.Error(left, err)
			}
			u, err := a.Get(t.Context(), mesh.RefOf(rule(1)))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range u.GetManagedFields() {
				if m.Manager == mesh.FieldManager {
					t.Errorf("Squall owns fields of it: %v", m)
				}
			}
		})
	}
}

// What a run has made is deleted whatever others did to it, unless it is theirs by now.
func TestForeignOfWhatWasMade(t *testing.T) {
	yes := true
	for name, c := range map[string]struct {
		do    func(a *api)
		stays string // why, "" is that it does not
	}{
		"edited": {func(a *api) { a.foreign("made", `{"data":{"a":"2"}}`) }, ""},
		"made anew": {func(a *api) {
			if err := a.Delete(a.t.Context(), mesh.RefOf(configMap("made", ""))); err != nil {
				a.t.Fatal(err)
			}
			a.apply(configMap("made", "3"))
		}, "somebody deleted it and made it anew"},
		"adopted": {func(a *api) {
			u, err := a.Kube.CoreV1().ConfigMaps("default").Get(a.t.Context(), "made", metav1.GetOptions{})
			if err != nil {
				a.t.Fatal(err)
			}
			u.OwnerReferences = []metav1.OwnerReference{{APIVersion: "flagger.app/v1beta1", Kind: "Canary", Name: "shop", UID: "1", Controller: &yes}}
			if _, err := a.Kube.CoreV1().ConfigMaps("default").Update(a.t.Context(), u, metav1.UpdateOptions{FieldManager: "flagger"}); err != nil {
				a.t.Fatal(err)
			}
		}, "Canary shop controls it"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			path := filepath.Join(t.TempDir(), "journal.ndjson")
			a.changed(path)
			c.do(a)
			err := journalAt(t, path).Undo(t.Context(), a.Objects, All)
			if c.stays == "" && err != nil || c.stays != "" && (err == nil || !strings.Contains(err.Error(), c.stays)) {
				t.Error(err)
			}
			if (a.value("made") != "") != (c.stays != "") {
				t.Errorf("it is %q", a.value("made"))
			}
		})
	}
}

// A run that was killed between a change and the note of what it made knows of others only that they wrote since.
func TestForeignWithoutNote(t *testing.T) {
	for name, touch := range map[string]bool{"touched": true, "untouched": false} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			if _, err := a.create(rule(100)); err != nil {
				t.Fatal(err)
			}
			j := journalAt(t, filepath.Join(t.TempDir(), "journal.ndjson"))
			a.changeOnly(j, outlier("1s"))
			if touch {
				a.patch("flagger", `{"spec":{"trafficPolicy":{"outlierDetection":{"interval":"7s"}}}}`)
			}
			err := j.Undo(t.Context(), a.Objects, All)
			if touch != (err != nil && strings.Contains(err.Error(), "flagger")) {
				t.Error(err)
			}
		})
	}
}

// Of a fixture, and of a change that a run was killed before, it is not known what the run made: the run's label tells whose it is.
func TestForeignByLabel(t *testing.T) {
	yes := true
	for name, c := range map[string]struct {
		made  func(*unstructured.Unstructured) // what is there when the run is rolled back; nil is nothing
		stays string                           // why, "" is that it does not
	}{
		"never made":  {},
		"of this run": {made: func(u *unstructured.Unstructured) { mesh.Stamp{RunID: "circuit-1"}.Put(u, nil) }},
		"somebody's":  {made: func(*unstructured.Unstructured) {}, stays: "somebody made it"},
		"of another run": {made: func(u *unstructured.Unstructured) { mesh.Stamp{RunID: "other-2"}.Put(u, nil) },
			stays: "the run other-2 has it now"},
		"adopted": {made: func(u *unstructured.Unstructured) {
			mesh.Stamp{RunID: "circuit-1"}.Put(u, nil)
			u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "flagger.app/v1beta1", Kind: "Canary", Name: "shop", UID: "1", Controller: &yes}})
		}, stays: "Canary shop controls it"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			path := filepath.Join(t.TempDir(), "journal.ndjson")
			j := journalAt(t, path)
			j.Run = "circuit-1"
			u := configMap("made", "1")
			if err := j.Add(fixturesPhase, "fixture", mesh.RefOf(u), nil); err != nil {
				t.Fatal(err)
			}
			if c.made != nil {
				c.made(u)
				a.apply(u)
			}
			err := journalAt(t, path).Undo(t.Context(), a.Objects, All)
			if c.stays == "" && err != nil || c.stays != "" && (err == nil || !strings.Contains(err.Error(), c.stays)) {
				t.Error(err)
			}
			if (a.value("made") != "") != (c.stays != "") {
				t.Errorf("it is %q", a.value("made"))
			}
		})
	}
}
