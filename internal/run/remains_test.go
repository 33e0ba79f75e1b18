package run

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

var ends = time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)

// killed is a run that has changed and created objects on the API, and was killed.
func (a *api) killed(id string) *mirror {
	a.t.Helper()
	m := &mirror{objects: a.Objects, stamp: mesh.Stamp{RunID: id, Expires: ends}, namespace: "default"}
	seq := 0
	change := func(step string, u *unstructured.Unstructured) {
		a.t.Helper()
		before, err := a.Get(a.t.Context(), mesh.RefOf(u))
		if err != nil {
			a.t.Fatal(err)
		}
		seq++
		e := Entry{Seq: seq, Phase: "stage", Step: step, Ref: mesh.RefOf(u)}
		if before != nil {
			e.Before = before.Object
		}
		if isNamespace(e) {
			m.queue(e)
		} else if err := m.add(a.t.Context(), e); err != nil {
			a.t.Fatal(err)
		}
		m.stamp.Put(u, before)
		a.apply(u)
	}
	change("namespace", mesh.Namespace("made"))
	change("fixture", configMap("new", "1"))
	inMade := configMap("inside", "1")
	inMade.SetNamespace("made")
	change("fixture", inMade)
	change("rule", outlierRule())
	change("again", configMap("new", "2"))
	return m
}

// state is all that there is in the namespaces, less what the API counts itself.
func (a *api) state() string {
	a.t.Helper()
	var out []string
	for _, r := range []mesh.Ref{
		mesh.RefOf(mesh.Namespace("made")), mesh.RefOf(configMap("new", "")), mesh.RefOf(configMap("old", "")), mesh.RefOf(outlierRule()),
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: "made", Name: "inside"},
	} {
		u, err := a.Get(a.t.Context(), r)
		if err != nil {
			a.t.Fatal(err)
		}
		if u == nil || u.GetDeletionTimestamp() != nil {
			continue
		}
		out = append(out, fmt.Sprint(mesh.Authored(u).Object, u.GetManagedFields()))
	}
	list, err := a.Kube.CoreV1().Secrets("").List(a.t.Context(), metav1.ListOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Join(append(out, fmt.Sprintf("%d secrets", len(list.Items))), "\n")
}

func (a *api) remains() []*Remains {
	a.t.Helper()
	all, hidden, err := FindRemains(a.t.Context(), a.Objects, "")
	if err != nil || len(hidden) > 0 {
		a.t.Fatal(hidden, err)
	}
	return all
}

// What a run left is found and taken back without its folder.
func TestRemains(t *testing.T) {
	a := newAPI(t)
	if _, err := a.create(destinationRule("v1", 1)); err != nil {
		t.Fatal(err)
	}
	a.apply(configMap("old", "1"))
	before := a.state()
	if left := a.remains(); len(left) != 0 {
		t.Fatalf("%+v", left)
	}
	a.killed("circuit-1")
	if a.state() == before {
		t.Fatal("nothing was changed")
	}
	left := a.remains()
	if len(left) != 1 || left[0].Run != "circuit-1" || !left[0].Expires.Equal(ends) {
		t.Fatalf("%+v", left)
	}
	done, err := left[0].Undo(t.Context(), a.Objects)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"restored ConfigMap default/new (again)", "restored DestinationRule default/httpbin (rule)", "deleted ConfigMap made/inside (fixture)",
		"deleted ConfigMap default/new (fixture)", "deleted Namespace made",
	}
	if !slices.Equal(done, want) {
		t.Errorf("%q", done)
	}
	if after := a.state(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if left := a.remains(); len(left) != 0 {
		t.Errorf("%+v", left)
	}
}

// Without the journal what was created goes, and what was changed is said to be unknown.
func TestRemainsWithoutJournal(t *testing.T) {
	a := newAPI(t)
	if _, err := a.create(destinationRule("v1", 1)); err != nil {
		t.Fatal(err)
	}
	m := a.killed("circuit-1")
	if err := m.remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	done, err := a.remains()[0].Undo(t.Context(), a.Objects)
	if err == nil || !strings.Contains(err.Error(), "has changed DestinationRule default/httpbin, and what it was before is not known here") {
		t.Error(err)
	}
	if !slices.Contains(done, "deleted ConfigMap default/new") || slices.Contains(done, "deleted Namespace made") {
		t.Errorf("%q", done)
	}
}

// A journal that is larger than a Secret is in several, and one of which a part is missing or damaged is not taken for whole.
func TestMirrorInParts(t *testing.T) {
	a := newAPI(t)
	m := &mirror{objects: a.Objects, stamp: mesh.Stamp{RunID: "circuit-1", Expires: ends}, namespace: "default"}
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte('0' + rand.IntN(64))
	}
	var want []Entry
	for i := range 8 {
		e := Entry{Seq: i + 1, Phase: "stage", Step: "x", Ref: mesh.RefOf(configMap(fmt.Sprint(i), "")), Before: configMap("x", string(noise)).Object}
		if err := m.add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		want = append(want, e)
	}
	if m.part < 2 {
		t.Fatalf("%d part", m.part)
	}
	if err := m.settle(t.Context(), want[:5]); err != nil {
		t.Fatal(err)
	}
	parts := a.remains()[0].journal
	slices.Reverse(parts)
	j, err := unpackMirror(parts)
	if err != nil {
		t.Fatal(err)
	}
	if open := j.Open(); len(open) != 5 || open[4].Before == nil {
		t.Fatalf("%d open", len(open))
	}
	if _, err := unpackMirror(parts[:len(parts)-1]); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Error(err)
	}
	damaged := parts[0].DeepCopy()
	_ = unstructured.SetNestedField(damaged.Object, "AAAA", "data", mirrorKey)
	if _, err := unpackMirror(append(slices.Clone(parts[1:]), damaged)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
	if err := m.settle(t.Context(), nil); err != nil || len(a.remains()) != 0 {
		t.Errorf("%v, %+v", err, a.remains())
	}
	large := Entry{Seq: 9, Ref: mesh.RefOf(configMap("x", "")), Before: configMap("x", strings.Repeat(string(noise), 5)).Object}
	if err := m.add(t.Context(), large); err == nil || !strings.Contains(err.Error(), "a Secret holds only 1 MiB") {
		t.Error(err)
	}
}

// A rollback on another cluster than the run's changes nothing.
func TestSameCluster(t *testing.T) {
	a := newAPI(t)
	if _, err := a.Apply(t.Context(), mesh.Namespace("kube-system")); err != nil {
		t.Fatal(err)
	}
	uid, err := ClusterUID(t.Context(), a.Objects)
	if err != nil || uid == "" {
		t.Fatal(uid, err)
	}
	for _, c := range []struct {
		uid  string
		same bool
	}{{uid, true}, {"", true}, {"another", false}} {
		err := Cluster{UID: c.uid, Target: mesh.Target{Context: "kind-x"}}.Same(t.Context(), a.Objects)
		if (err == nil) != c.same || err != nil && !strings.Contains(err.Error(), "another cluster than that of the run (kind-x") {
			t.Errorf("%q: %v", c.uid, err)
		}
	}
}
