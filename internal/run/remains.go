package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

// Remains are what a run has left on a cluster, as the cluster tells.
type Remains struct {
	Run     string // its id, as the label has it
	Expires time.Time
	objects []*unstructured.Unstructured // that it created or changed, but for the copy of its journal
	journal []*unstructured.Unstructured
	// Foreign is what Undo does with objects that others have changed since the run did.
	Foreign Decision
	// Flow asks the flow control of services of the cluster, nil for none.
	Flow Flow
}

// FindRemains looks for what runs have left in a namespace, or in all when it is empty. A run that is under way has left something too,
// until its time is over. Of the kinds in hidden this user may list none.
func FindRemains(ctx context.Context, o *mesh.Objects, namespace string) (all []*Remains, hidden []string, err error) {
	found, hidden, err := o.Labelled(ctx, mesh.RunIDLabel, namespace)
	if err != nil {
		return nil, nil, err
	}
	byRun := map[string]*Remains{}
	for _, u := range found {
		end, err := time.Parse(time.RFC3339, u.GetAnnotations()[mesh.ExpiresAnnotation])
		if err != nil || u.GetDeletionTimestamp() != nil {
			continue // it is a copy of labels, as of a Service's to its Endpoints; or it is on its way
		}
		id := u.GetLabels()[mesh.RunIDLabel]
		r := byRun[id]
		if r == nil {
			r = &Remains{Run: id}
			byRun[id] = r
		}
		if end.After(r.Expires) {
			r.Expires = end
		}
		if u.GetKind() == "Secret" && u.GetLabels()[partLabel] != "" {
			r.journal = append(r.journal, u)
		} else {
			r.objects = append(r.objects, u)
		}
	}
	return slices.SortedFunc(maps.Values(byRun), func(a, b *Remains) int { return cmp.Compare(a.Run, b.Run) }), hidden, nil
}

// Undo makes every object that the run changed what it was before, by the copy of the journal, and deletes what the run created. It goes
// on after an error; done are what was taken back. The namespaces, and with them the journal, stay when something could not be.
func (r *Remains) Undo(ctx context.Context, o *mesh.Objects) (done []string, err error) {
	journal, err := unpackMirror(r.journal)
	if err != nil {
		return nil, err
	}
	journal.Foreign, journal.Flow = r.Foreign, r.Flow
	open := journal.Open()
	targets, err := journal.Targets(ctx, o, func(e Entry) bool { return !isNamespace(e) })
	errs := []error{err}
	covered := map[identity]bool{}
	for _, e := range open {
		if e.Deed == nil {
			covered[identify(e.Ref)] = true
		}
	}
	errs = append(errs, journal.Undo(ctx, o, func(e Entry) bool { return !isNamespace(e) }))
	done = journal.Done(open)
	var namespaces []mesh.Ref
	for _, u := range r.objects {
		ref := mesh.RefOf(u)
		switch {
		case ref.IsNamespace() && mesh.MadeBySquall(u):
			namespaces = append(namespaces, ref)
		case covered[identify(ref)]:
		case !mesh.MadeBySquall(u):
			errs = append(errs, fmt.Errorf("the run has changed %s, and what it was before is not known here: the run's folder has it, on the machine that ran it", ref))
		default:
			errs = append(errs, o.Delete(ctx, ref))
			done = append(done, "deleted "+ref.String())
		}
	}
	left, err := Leftovers(ctx, o, journal.Decided(targets))
	errs = append(errs, err)
	for _, l := range left {
		errs = append(errs, errors.New(l))
	}
	if err := errors.Join(errs...); err != nil {
		return done, err
	}
	for _, u := range r.journal {
		errs = append(errs, o.Delete(ctx, mesh.RefOf(u)))
	}
	for _, ref := range namespaces {
		errs = append(errs, o.Delete(ctx, ref))
		done = append(done, "deleted "+ref.String())
	}
	return done, errors.Join(errs...)
}

// Done says what the undo of an entry did.
func (e Entry) Done() string {
	switch {
	case e.Deed != nil && e.Deed.Settings != nil:
		return fmt.Sprintf("restored the settings of flow control of %s (%s)", e.Deed.Target, e.Step)
	case e.Deed != nil:
		return fmt.Sprintf("%s %s: made up for (%s)", e.Deed.Target, e.Deed.Action, e.Step)
	case e.Before == nil:
		return fmt.Sprintf("deleted %s (%s)", e.Ref, e.Step)
	}
	return fmt.Sprintf("restored %s (%s)", e.Ref, e.Step)
}

// Forget removes the copy of a run's journal from its cluster, when all of it is undone.
func Forget(ctx context.Context, o *mesh.Objects, runID, namespace string) error {
	m := &mirror{objects: o, stamp: mesh.Stamp{RunID: runID}, namespace: namespace}
	for {
		had, err := o.Get(ctx, mesh.Ref{APIVersion: "v1", Kind: "Secret", Namespace: namespace, Name: m.name(m.part + 1)})
		if err != nil {
			return err
		}
		if had == nil {
			return m.remove(ctx)
		}
		m.part++
	}
}
