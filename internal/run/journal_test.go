package run

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"istio.io/client-go/pkg/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"squall/internal/kubeapi"
	"squall/internal/kubeapi/kubeapitest"
	"squall/internal/mesh"
)

// api is an in-memory Kubernetes API and a foreign client of it.
type api struct {
	*mesh.Objects
	t     *testing.T
	istio versioned.Interface
}

func newAPI(t *testing.T) *api {
	t.Helper()
	cfg := &rest.Config{Host: kubeapitest.Serve(t, kubeapi.New(kubeapi.Options{})), QPS: -1}
	o, err := mesh.NewObjects(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &api{o, t, versioned.NewForConfigOrDie(cfg)}
}

func configMap(name, value string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "default"},
		"data": map[string]any{"a": value},
	}}
}

func destinationRule(version string, connections int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/" + version, "kind": "DestinationRule",
		"metadata": map[string]any{"name": "httpbin", "namespace": "default"},
		"spec": map[string]any{"host": "httpbin", "trafficPolicy": map[string]any{
			"connectionPool": map[string]any{"tcp": map[string]any{"maxConnections": connections}},
		}},
	}}
}

// apply makes an object as Squall.
func (a *api) apply(u *unstructured.Unstructured) *unstructured.Unstructured {
	a.t.Helper()
	got, err := a.Apply(a.t.Context(), u)
	if err != nil {
		a.t.Fatal(err)
	}
	return got
}

// value is what the config map holds, "" when there is none.
func (a *api) value(name string) string {
	a.t.Helper()
	u, err := a.Get(a.t.Context(), mesh.RefOf(configMap(name, "")))
	if err != nil {
		a.t.Fatal(err)
	}
	if u == nil {
		return ""
	}
	v, _, _ := unstructured.NestedString(u.Object, "data", "a")
	return v
}

// foreign patches a config map as somebody else.
func (a *api) foreign(name, patch string) {
	a.t.Helper()
	_, err := a.Kube.CoreV1().ConfigMaps("default").Patch(a.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "gitops"})
	if err != nil {
		a.t.Fatal(err)
	}
}

// journal opens the journal at path; it is closed with the test.
func journalAt(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil && !strings.Contains(err.Error(), "already closed") {
			t.Error(err)
		}
	})
	return j
}

// change notes the undo in the journal, makes the object, and notes it.
func (a *api) change(j *Journal, u *unstructured.Unstructured) {
	a.t.Helper()
	if _, err := j.Made(a.changeOnly(j, u)); err != nil {
		a.t.Fatal(err)
	}
}

// changeOnly is a change whose run was killed before it could note what it made.
func (a *api) changeOnly(j *Journal, u *unstructured.Unstructured) *unstructured.Unstructured {
	a.t.Helper()
	before, err := a.Get(a.t.Context(), mesh.RefOf(u))
	if err != nil {
		a.t.Fatal(err)
	}
	if err := j.Add("stage", "manifest", mesh.RefOf(u), before); err != nil {
		a.t.Fatal(err)
	}
	return a.apply(u)
}

func TestUndoRestoresAfterAReopen(t *testing.T) {
	a := newAPI(t)
	path := filepath.Join(t.TempDir(), "journal.ndjson")
	j := journalAt(t, path)
	a.apply(configMap("old", "1"))
	a.change(j, configMap("old", "2"))
	a.change(j, configMap("new", "x"))
	a.change(j, configMap("old", "3"))
	if err := j.Close(); err != nil { // as a killed run leaves it
		t.Fatal(err)
	}
	again := journalAt(t, path)
	originals := Originals(again.Open())
	if err := again.Undo(t.Context(), a.Objects, All); err != nil {
		t.Fatal(err)
	}
	if old, made := a.value("old"), a.value("new"); old != "1" || made != "" {
		t.Errorf("old is %q, new is %q", old, made)
	}
	left, err := Leftovers(t.Context(), a.Objects, originals)
	if err != nil || len(left) > 0 || len(originals) != 2 {
		t.Errorf("%d originals, left %q, %v", len(originals), left, err)
	}
	// What was undone is on disk as such: a third process has nothing to do, and overrules nobody.
	a.foreign("old", `{"data":{"a":"theirs"}}`)
	third := journalAt(t, path)
	if open := third.Open(); len(open) != 0 {
		t.Errorf("still open: %v", open)
	}
	if err := third.Undo(t.Context(), a.Objects, All); err != nil || a.value("old") != "theirs" {
		t.Errorf("%v, old is %q", err, a.value("old"))
	}
}

// An undo that failed is not tried again once the object is what it was before that: a fixture that was changed, and then deleted.
func TestUndoOfWhatIsNoMore(t *testing.T) {
	a := newAPI(t)
	j := journalAt(t, filepath.Join(t.TempDir(), "journal.ndjson"))
	a.change(j, configMap("fixture", "1"))
	a.change(j, configMap("other", "1"))
	a.change(j, configMap("fixture", "2"))
	if err := j.Undo(t.Context(), a.Objects, func(e Entry) bool { return e.Seq == 1 }); err != nil {
		t.Fatal(err)
	}
	if open := j.Open(); len(open) != 1 || open[0].Ref.Name != "other" {
		t.Errorf("open: %v", open)
	}
	if err := j.Undo(t.Context(), a.Objects, All); err != nil || a.value("fixture") != "" {
		t.Errorf("%v, the fixture is %q", err, a.value("fixture"))
	}
}

func TestUndoGoesOnAndASecondDoesOnlyTheRest(t *testing.T) {
	a := newAPI(t)
	path := filepath.Join(t.TempDir(), "journal.ndjson")
	j := journalAt(t, path)
	a.change(j, configMap("first", "1"))
	impossible := mesh.Ref{APIVersion: "example.com/v1", Kind: "Thing", Namespace: "default", Name: "x"}
	if err := j.Add("stage", "manifest", impossible, nil); err != nil {
		t.Fatal(err)
	}
	a.change(j, configMap("last", "1"))
	err := j.Undo(t.Context(), a.Objects, All)
	if err == nil || !strings.Contains(err.Error(), "Thing default/x: the API has no kind Thing") {
		t.Errorf("error: %v", err)
	}
	if first, last := a.value("first"), a.value("last"); first+last != "" {
		t.Errorf("left %q %q", first, last)
	}
	open := journalAt(t, path).Open()
	if len(open) != 1 || open[0].Ref != impossible {
		t.Errorf("open: %v", open)
	}
	if left, err := Leftovers(t.Context(), a.Objects, Originals(open)); err == nil {
		t.Errorf("what cannot be read is not as before: %q", left)
	}
}

func TestUndoIsInReverseOrder(t *testing.T) {
	a := newAPI(t)
	path := filepath.Join(t.TempDir(), "journal.ndjson")
	j := journalAt(t, path)
	for i := range 5 {
		a.change(j, configMap(fmt.Sprint("c", i%2), fmt.Sprint(i)))
	}
	if err := j.Undo(t.Context(), a.Objects, All); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var undone []int
	for line := range strings.Lines(string(b)) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Undone != 0 {
			undone = append(undone, e.Undone)
		}
	}
	if want := []int{5, 4, 3, 2, 1}; !reflect.DeepEqual(undone, want) {
		t.Errorf("undone %v, want %v", undone, want)
	}
}

func TestTornLastLineIsDropped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.ndjson")
	j := journalAt(t, path)
	ref := mesh.RefOf(configMap("a", ""))
	for range 2 {
		if err := j.Add("stage", "manifest", ref, nil); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	one := len(whole) / 2
	for cut := range whole {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		torn := journalAt(t, path)
		if got, want := len(torn.Open()), cut/one; got != want {
			t.Fatalf("cut at %d of %d: %d entries, want %d", cut, len(whole), got, want)
		}
		// The next entry begins on a line of its own.
		if err := torn.Add("later", "manifest", ref, nil); err != nil {
			t.Fatal(err)
		}
		if got, want := len(journalAt(t, path).Open()), cut/one+1; got != want {
			t.Fatalf("cut at %d of %d, then one more: %d entries, want %d", cut, len(whole), got, want)
		}
	}
}

func TestDamagedJournalIsAnError(t *testing.T) {
	const good = `{"seq":1,"phase":"p","step":"s","ref":{"apiVersion":"v1","kind":"ConfigMap","name":"a"},"before":null}` + "\n"
	for _, line := range []string{"nonsense", "{}", `{"seq":2}`, `{"seq":"2"}`, "", `{"seq":2,"ref":{"apiVersion":"v1","kind":"ConfigMap"}}`, "[1]"} {
		path := filepath.Join(t.TempDir(), "journal.ndjson")
		text := good + line + "\n" + good
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenJournal(path)
		if err == nil || !strings.HasPrefix(err.Error(), path+":2: the journal is damaged: ") {
			t.Errorf("%s: %v", line, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("%s: the file was changed to %q, %v", line, now, err)
		}
	}
}

func TestFailedWriteChangesNothing(t *testing.T) {
	a := newAPI(t)
	r := &runner{objects: a.Objects, journal: journalAt(t, filepath.Join(t.TempDir(), "journal.ndjson"))}
	if err := r.journal.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.applyOne(t.Context(), "stage", "manifest", configMap("a", "1"))
	if err == nil || !strings.Contains(err.Error(), "the undo of ConfigMap default/a could not be noted, so nothing was changed") {
		t.Errorf("error: %v", err)
	}
	if a.value("a") != "" || len(r.changed) > 0 || len(r.applied) > 0 {
		t.Errorf("a is %q, changed %v", a.value("a"), r.changed)
	}
}

// Where the rollback is told to overwrite, it is back whatever others did.
func TestRestoreWhateverHappenedMeanwhile(t *testing.T) {
	a := newAPI(t)
	maps := a.Kube.CoreV1().ConfigMaps("default")
	remove := func(name string) {
		if err := maps.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, meanwhile := range map[string]func(name string){
		"changed": func(name string) {
			a.foreign(name, `{"data":{"a":"theirs","b":"more"},"metadata":{"labels":{"x":"y"}}}`)
		},
		"deleted":   remove,
		"recreated": func(name string) { remove(name); a.apply(configMap(name, "again")) },
		"untouched": func(string) {},
	} {
		t.Run(name, func(t *testing.T) {
			j := journalAt(t, filepath.Join(t.TempDir(), "journal.ndjson"))
			j.Foreign = Overwrite
			a.apply(configMap(name, "1"))
			a.change(j, configMap(name, "2"))
			made := configMap(name+"-made", "1")
			a.change(j, made)
			meanwhile(name)
			meanwhile(name + "-made")
			originals, err := j.Targets(t.Context(), a.Objects, All)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Undo(t.Context(), a.Objects, All); err != nil {
				t.Fatal(err)
			}
			left, err := Leftovers(t.Context(), a.Objects, originals)
			if err != nil || len(left) > 0 {
				t.Errorf("left %q, %v", left, err)
			}
			if got, madeNow := a.value(name), a.value(name+"-made"); got != "1" || madeNow != "" {
				t.Errorf("is %q, and what was made %q", got, madeNow)
			}
		})
	}
}

func TestLeftoversSayWhatDiffers(t *testing.T) {
	a := newAPI(t)
	before := a.apply(configMap("a", "1"))
	a.apply(configMap("a", "2"))
	a.apply(configMap("b", "1"))
	gone := configMap("c", "1")
	left, err := Leftovers(t.Context(), a.Objects, map[mesh.Ref]*unstructured.Unstructured{
		mesh.RefOf(before): before, mesh.RefOf(configMap("b", "")): nil, mesh.RefOf(gone): gone,
	})
	want := []string{
		"ConfigMap default/a.data.a was 1, is 2", "ConfigMap default/b is still there", "ConfigMap default/c is gone",
	}
	if err != nil || !reflect.DeepEqual(left, want) {
		t.Errorf("%q, %v; want %q", left, err, want)
	}
}

// One object changed through two versions of Istio's API is one object, and its whole numbers survive the file.
func TestOriginalsAcrossVersions(t *testing.T) {
	a := newAPI(t)
	path := filepath.Join(t.TempDir(), "journal.ndjson")
	j := journalAt(t, path)
	a.apply(destinationRule("v1", 1_000_000))
	a.change(j, destinationRule("v1", 1))
	a.change(j, destinationRule("v1beta1", 2))
	again := journalAt(t, path)
	originals := Originals(again.Open())
	if len(originals) != 1 {
		t.Fatalf("originals: %v", originals)
	}
	if err := again.Undo(t.Context(), a.Objects, All); err != nil {
		t.Fatal(err)
	}
	left, err := Leftovers(t.Context(), a.Objects, originals)
	if err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
}
