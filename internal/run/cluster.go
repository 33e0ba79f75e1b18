package run

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

// Cluster is where a run is, when its mesh outlives it.
type Cluster struct {
	mesh.Target
	// UID is that of the cluster's namespace kube-system, by which it is told from another at the same address; "" is not known.
	UID       string `json:"uid,omitempty"`
	Namespace string `json:"namespace"` // of the scenario, where the copy of the journal is
}

// ClusterUID tells a cluster from all others.
func ClusterUID(ctx context.Context, o *mesh.Objects) (string, error) {
	u, err := o.Get(ctx, mesh.RefOf(mesh.Namespace("kube-system")))
	if err != nil || u == nil {
		return "", err
	}
	return string(u.GetUID()), nil
}

// Same is an error when the objects are those of another cluster.
func (c Cluster) Same(ctx context.Context, o *mesh.Objects) error {
	if c.UID == "" {
		return nil
	}
	uid, err := ClusterUID(ctx, o)
	if err != nil {
		return err
	}
	if uid != c.UID {
		return fmt.Errorf("this is another cluster than that of the run (%s at %s, uid %s; here it is %s): give its --kubeconfig and --context; "+
			"if it is gone, what the run changed is gone with it, and 'squall rollback --forget' says so", c.Context, c.Server, c.UID, uid)
	}
	return nil
}

// Undo does the open undos of a journal, the namespaces last and only when everything else is undone, and removes the journal's copy.
func (c Cluster) Undo(ctx context.Context, o *mesh.Objects, j *Journal, runID string) error {
	if err := j.Undo(ctx, o, func(e Entry) bool { return !isNamespace(e) }); err != nil {
		return err
	}
	if c.Namespace != "" {
		if err := Forget(ctx, o, runID, c.Namespace); err != nil {
			return err
		}
	}
	return j.Undo(ctx, o, isNamespace)
}

// notes notes what a run does on a mesh that outlives it.
type notes struct {
	*runner
	shared mesh.Shared
}

// Begin is called before anything is changed.
func (n notes) Begin(ctx context.Context, o *mesh.Objects) error {
	namespace := n.Plan.Scenario.Spec.Namespace
	n.journal.Run = n.shared.Stamp().Label()
	n.mirror = &mirror{objects: o, stamp: n.shared.Stamp(), namespace: namespace}
	if n.Options.Cluster == nil {
		return nil
	}
	uid, err := ClusterUID(ctx, o)
	if err != nil {
		return err
	}
	return n.writeOwner(&Cluster{Target: *n.Options.Cluster, UID: uid, Namespace: namespace})
}

// Note notes the undo of a fixture.
func (n notes) Note(ctx context.Context, ref mesh.Ref, before *unstructured.Unstructured) error {
	if n.shared.Keeps(ref) {
		return nil
	}
	return n.note(ctx, Entry{Phase: fixturesPhase, Step: "fixture", Ref: ref}, before)
}

// note notes an undo in the journal, and on a cluster in its copy there; it returns when it is safe.
func (r *runner) note(ctx context.Context, e Entry, before *unstructured.Unstructured) error {
	if err := r.journal.Add(e.Phase, e.Step, e.Ref, before); err != nil || r.mirror == nil {
		return err
	}
	return r.copyLast(ctx)
}

// noteDeed is note for what is no change of an object.
func (r *runner) noteDeed(ctx context.Context, phase string, x *acting, deed Deed) error {
	return r.noteDeedOf(ctx, phase, x.Step, x.ref(), deed)
}

func (r *runner) noteDeedOf(ctx context.Context, phase, step string, of mesh.Ref, deed Deed) error {
	if err := r.journal.AddDeed(phase, step, of, deed); err != nil || r.mirror == nil {
		return err
	}
	return r.copyLast(ctx)
}

// noteMade notes what a change made, in the journal and in its copy on a cluster.
func (r *runner) noteMade(ctx context.Context, stored *unstructured.Unstructured) error {
	made, err := r.journal.Made(stored)
	if err == nil && r.mirror != nil {
		err = r.mirror.add(ctx, made)
	}
	if err != nil {
		return fmt.Errorf("what was made of %s could not be noted: %w", mesh.RefOf(stored), err)
	}
	return nil
}

// copyLast adds the last entry of the journal to its copy on the cluster.
func (r *runner) copyLast(ctx context.Context) error {
	open := r.journal.Open()
	e := open[len(open)-1]
	if isNamespace(e) {
		r.mirror.queue(e) // its namespace may be the one that the copy is in; until then the namespace's own label says whose it is
		return nil
	}
	if err := r.mirror.add(ctx, e); err != nil {
		return fmt.Errorf("the undo of %s could not be noted on the cluster, so nothing was done: %w", e.Ref, err)
	}
	return nil
}

// settle brings the copy of the journal up to date with what was undone.
func (r *runner) settle(ctx context.Context) error {
	if r.mirror == nil {
		return nil
	}
	return r.mirror.settle(ctx, r.journal.Open())
}

// takeDown takes back what the fixtures brought to a mesh that outlives the run, the namespaces last and only when everything else is
// undone. It does not wait until pods are gone.
func (r *runner) takeDown(ctx context.Context) {
	if r.objects == nil {
		return
	}
	fail := func(err error) {
		if err != nil {
			r.man.Rollback.Errors = append(r.man.Rollback.Errors, "fixtures: "+err.Error())
		}
	}
	fixture := func(e Entry) bool { return e.Phase == fixturesPhase }
	fail(r.journal.Undo(ctx, r.objects, func(e Entry) bool { return fixture(e) && !isNamespace(e) }))
	fail(r.settle(ctx))
	for _, e := range r.journal.Open() {
		if !isNamespace(e) {
			return
		}
	}
	fail(r.journal.Undo(ctx, r.objects, fixture))
}
