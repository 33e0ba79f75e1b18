package run

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
	"squall/internal/record"
)

// holder notes what it lets go on.
type holder struct {
	released []string
	err      error
}

func (*holder) Hold(string, string) error         { return nil }
func (*holder) Held(string, string) (bool, error) { return true, nil }
func (h *holder) Release(pod, part string) error {
	h.released = append(h.released, pod+" "+part)
	return h.err
}

func TestDeedsAreUndoneByTheirOwnUndo(t *testing.T) {
	a := newAPI(t)
	path := filepath.Join(t.TempDir(), "journal.ndjson")
	j := journalAt(t, path)
	ref := mesh.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "default", Name: "gone"}
	_, err := a.Kube.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{Unschedulable: true}},
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.change(j, configMap("new", "x"))
	for _, d := range []Deed{
		{Action: Killed, Target: "p-0", UID: "u"}, {Action: Held, Target: "p-1", Part: record.App}, {Action: Held, Target: "p-2", Part: record.Sidecar},
		{Action: Cordoned, Target: "n"},
	} {
		if err := j.AddDeed("stage", "step", ref, d); err != nil {
			t.Fatal(err)
		}
	}
	if originals := Originals(j.Open()); len(originals) != 1 {
		t.Errorf("what deeds are about is taken for what they changed: %v", originals)
	}
	if err := j.Close(); err != nil { // as a killed run leaves it
		t.Fatal(err)
	}
	again := journalAt(t, path)
	err = again.Undo(t.Context(), a.Objects, All)
	if err == nil || strings.Count(err.Error(), "the environment cannot let it go on") != 2 {
		t.Errorf("without who could let them go on: %v", err)
	}
	if open := again.Open(); len(open) != 2 || a.value("new") != "" {
		t.Errorf("left: %v", open)
	}
	h := &holder{err: errors.New("it will not")}
	again.Holder = h
	if err := again.Undo(t.Context(), a.Objects, All); err == nil || len(again.Open()) != 2 {
		t.Errorf("%v, left: %v", err, again.Open())
	}
	h.err, h.released = nil, nil
	if err := again.Undo(t.Context(), a.Objects, All); err != nil || len(again.Open()) != 0 {
		t.Errorf("%v, left: %v", err, again.Open())
	}
	if got := strings.Join(h.released, ", "); got != "p-2 proxy, p-1 app" {
		t.Errorf("released %s, want the last first", got)
	}
	if _, open, err := a.Nodes(t.Context()); err != nil || len(open) != 1 {
		t.Errorf("nodes that take pods: %v, %v", open, err)
	}
}
