package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

// Decision is what a rollback does with an object that somebody else has changed since the run did.
type Decision int

// What can be decided.
const (
	Leave     Decision = iota // leave it as it is, a *ForeignError; its undo stays open
	Overwrite                 // make it what it was before the run all the same
	Keep                      // leave it as it is for good, without Squall's labels
)

func (d Decision) String() string { return [...]string{"leave", "overwrite", "keep"}[d] }

// ForeignError is an object that somebody else has changed since the run did, so that the rollback left it alone.
type ForeignError struct {
	Ref mesh.Ref
	Why string // who changed what
}

// Error names the object, who changed it, and which fields.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s is not what the run made of it (%s): it is left as it is", e.Ref, e.Why)
}

// HowToDecide says what a user does about a run with a *ForeignError.
func HowToDecide(runID string) string {
	return fmt.Sprintf("'squall rollback %s' with --force overwrites what others have changed, with --keep it stays", runID)
}

// Made notes what the API stored of the change that was noted last; it returns when it is on disk. A rollback tells by it what others
// have changed since.
func (j *Journal) Made(stored *unstructured.Unstructured) (Entry, error) {
	id := identify(mesh.RefOf(stored))
	for _, e := range slices.Backward(j.open) {
		if e.Deed == nil && identify(e.Ref) == id {
			made := Entry{Made: e.Seq, Left: stored.Object}
			return made, j.write(made)
		}
	}
	return Entry{}, fmt.Errorf("no change of %s was noted", mesh.RefOf(stored))
}

// left is what the run left of the object, nil when that is not known.
func (e Entry) left() *unstructured.Unstructured {
	if e.Left == nil {
		return nil
	}
	return &unstructured.Unstructured{Object: e.Left}
}

// foreign is a *ForeignError when somebody else has changed the object since the run did. What others added to its labels and annotations is
// none, nor is what is as before the run already. made says that the run made the object: then it goes, unless it is another's by now.
func (e Entry) foreign(live *unstructured.Unstructured, made bool) error {
	before, left := e.object(), e.left()
	switch {
	case made && live == nil:
		return nil
	case made:
		return e.taken(live)
	case live == nil:
		return &ForeignError{e.Ref, "somebody deleted it"}
	case len(changed(before, live)) == 0:
		return nil
	case left == nil && len(writers(before, live)) == 0:
		return nil
	case left == nil:
		left = before
	}
	if fields := changed(left, live); len(fields) > 0 {
		return &ForeignError{e.Ref, fmt.Sprintf("%s changed %s", others(left, live), strings.Join(mesh.Few(fields), ", "))}
	}
	return nil
}

// taken is a *ForeignError when an object that the run made, or was about to make, is somebody else's. What the run left is not known of a
// fixture, nor when the run was killed between a change and its note: then the run's label tells.
func (e Entry) taken(live *unstructured.Unstructured) error {
	left := e.left()
	if left == nil {
		left = &unstructured.Unstructured{}
	}
	if left.GetUID() != "" && left.GetUID() != live.GetUID() {
		return &ForeignError{e.Ref, "somebody deleted it and made it anew"}
	}
	if c := metav1.GetControllerOf(live); c != nil && metav1.GetControllerOf(left) == nil {
		return &ForeignError{e.Ref, fmt.Sprintf("%s %s controls it", c.Kind, c.Name)}
	}
	if mesh.MadeBySquall(left) && !mesh.MadeBySquall(live) {
		return &ForeignError{e.Ref, fmt.Sprintf("%s took the label %s from it", others(left, live), mesh.ManagedByLabel)}
	}
	switch run := live.GetLabels()[mesh.RunIDLabel]; {
	case e.Run == "" || run == e.Run:
		return nil
	case run == "":
		return &ForeignError{e.Ref, fmt.Sprintf("it has no label %s: somebody made it, or made it anew", mesh.RunIDLabel)}
	default:
		return &ForeignError{e.Ref, "the run " + run + " has it now"}
	}
}

// changed are the fields that others have changed since, but for labels and annotations that they added, and for the replicas that an
// autoscaler sets.
func changed(since, live *unstructured.Unstructured) []string {
	scaled := slices.ContainsFunc(live.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == "kube-controller-manager" && m.Subresource == "scale"
	})
	return slices.DeleteFunc(mesh.Changed(tolerant(since, live), live), func(f string) bool { return scaled && f == "spec.replicas" })
}

// tolerant is an object with the metadata of now, but for its own labels and annotations.
func tolerant(since, now *unstructured.Unstructured) *unstructured.Unstructured {
	want := since.DeepCopy()
	want.Object["metadata"] = now.DeepCopy().Object["metadata"]
	want.SetLabels(over(now.GetLabels(), since.GetLabels()))
	want.SetAnnotations(over(now.GetAnnotations(), since.GetAnnotations()))
	return want
}

// target is what the undo makes of the object: what it was before, with the labels and annotations that others have added since.
func (e Entry) target(live *unstructured.Unstructured) *unstructured.Unstructured {
	u, left := e.object(), e.left()
	if u == nil || live == nil || left == nil {
		return u
	}
	u.SetLabels(over(u.GetLabels(), added(live.GetLabels(), u.GetLabels(), left.GetLabels())))
	u.SetAnnotations(over(u.GetAnnotations(), added(live.GetAnnotations(), u.GetAnnotations(), left.GetAnnotations())))
	return u
}

// added are those of now that are in neither of the others, nor of a run.
func added(now, before, left map[string]string) map[string]string {
	out := maps.Clone(now)
	maps.DeleteFunc(out, func(k, _ string) bool {
		_, was := before[k]
		_, ours := left[k]
		return was || ours || k == mesh.RunIDLabel || k == mesh.ExpiresAnnotation
	})
	return out
}

// Targets are what the open undos that are asked for will make of their objects: what these were before the run, as Originals has it, with
// the labels and annotations that others have added since.
func (j *Journal) Targets(ctx context.Context, o *mesh.Objects, which func(Entry) bool) (map[mesh.Ref]*unstructured.Unstructured, error) {
	live, err := j.live(ctx, o, which)
	return j.targets(live, which), err
}

// live are the objects of the open undos that are asked for as they are now, nil for one that is not there.
func (j *Journal) live(ctx context.Context, o *mesh.Objects, which func(Entry) bool) (map[mesh.Ref]*unstructured.Unstructured, error) {
	out := Originals(j.asked(which))
	var errs []error
	for ref := range out {
		now, err := o.Get(ctx, ref)
		errs = append(errs, err)
		out[ref] = now
	}
	return out, errors.Join(errs...)
}

// targets are Targets of objects that are now as given.
func (j *Journal) targets(live map[mesh.Ref]*unstructured.Unstructured, which func(Entry) bool) map[mesh.Ref]*unstructured.Unstructured {
	open := j.asked(which)
	out := Originals(open)
	for ref, before := range out {
		if before == nil {
			continue
		}
		last := Entry{Before: before.Object}
		for _, e := range open {
			if e.Deed == nil && identify(e.Ref) == identify(ref) && e.Left != nil {
				last.Left = e.Left
			}
		}
		out[ref] = last.target(live[ref])
	}
	return out
}

// asked are the open undos that are asked for.
func (j *Journal) asked(which func(Entry) bool) []Entry {
	return slices.DeleteFunc(j.Open(), func(e Entry) bool { return !which(e) })
}

// Kept are the objects that were decided to be kept as they are.
func (j *Journal) Kept() []string {
	var out []string
	for id := range j.kept {
		out = append(out, mesh.Ref{Kind: id.kind, Namespace: id.namespace, Name: id.name}.String())
	}
	slices.Sort(out)
	return out
}

// Decided are the targets without the objects that were decided to be kept as they are.
func (j *Journal) Decided(targets map[mesh.Ref]*unstructured.Unstructured) map[mesh.Ref]*unstructured.Unstructured {
	out := maps.Clone(targets)
	maps.DeleteFunc(out, func(ref mesh.Ref, _ *unstructured.Unstructured) bool { return j.kept[identify(ref)] })
	return out
}

// restore makes the object what it was before the entry's change, unless somebody else has changed it since and nothing is decided.
func (j *Journal) restore(ctx context.Context, o *mesh.Objects, e Entry) error {
	if j.kept[identify(e.Ref)] {
		return nil
	}
	live, err := o.Get(ctx, e.Ref)
	if err != nil {
		return err
	}
	made := e.Before == nil
	for _, earlier := range j.open {
		if earlier.Seq >= e.Seq || earlier.Deed != nil || identify(earlier.Ref) != identify(e.Ref) {
			continue
		}
		made = made || earlier.Before == nil
		if live != nil && earlier.Before != nil && len(changed(earlier.object(), live)) == 0 {
			return nil // it is what that undo makes of it: a rollback that was killed was further than its notes, or others put it back
		}
	}
	switch err := e.foreign(live, made); {
	case err == nil || j.Foreign == Overwrite:
		return o.Restore(ctx, e.Ref, e.target(live))
	case j.Foreign == Leave:
		return err
	}
	if err := o.Disown(ctx, e.Ref); err != nil {
		return err
	}
	j.keep(e.Ref)
	return nil
}
