package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

// remember keeps what the API stored of a change, in place of what an earlier stage made of the same object.
func (r *runner) remember(stored *unstructured.Unstructured) {
	id := identify(mesh.RefOf(stored))
	i := slices.IndexFunc(r.applied, func(u *unstructured.Unstructured) bool { return identify(mesh.RefOf(u)) == id })
	if i < 0 {
		r.applied = append(r.applied, stored)
		return
	}
	r.applied[i] = stored
}

// unchanged is an error when somebody else changed an object of the stages so far while the load ran: then what was measured is
// not what the scenario says.
func (r *runner) unchanged(ctx context.Context) error {
	var errs []error
	for _, stored := range r.applied {
		errs = append(errs, drift(ctx, r.objects, stored))
	}
	return errors.Join(errs...)
}

// revertedError is a change that somebody else took back while the run needed it.
type revertedError struct{ text string }

func (e *revertedError) Error() string { return e.text }

func reverted(format string, args ...any) error { return &revertedError{fmt.Sprintf(format, args...)} }

// drift is an error when the object is not what was stored. Labels and annotations that others add are no drift.
func drift(ctx context.Context, o *mesh.Objects, stored *unstructured.Unstructured) error {
	ref := mesh.RefOf(stored)
	now, err := o.Get(ctx, ref)
	if err != nil {
		return err
	}
	if now == nil {
		return reverted("the change was reverted during the stage: somebody deleted %s", ref)
	}
	diff := mesh.Difference(ref, tolerant(stored, now), now)
	switch {
	case diff != "":
		return reverted("the change was reverted by %s during the stage: %s", others(stored, now), diff)
	case stored.GetUID() != now.GetUID():
		return reverted("the change was reverted for a time during the stage: %s was deleted and made again", ref)
	case stored.GetGeneration() != now.GetGeneration():
		return reverted("the change was reverted for a time by %s during the stage: %s is in generation %d, not %d",
			others(stored, now), ref, now.GetGeneration(), stored.GetGeneration())
	}
	return nil
}

func over(base, on map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range []map[string]string{base, on} {
		for k, v := range m {
			out[k] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// writers are the field managers that wrote the object since it was stored, but for its status.
func writers(stored, now *unstructured.Unstructured) (out []string) {
	for _, e := range now.GetManagedFields() {
		known := slices.ContainsFunc(stored.GetManagedFields(), func(s metav1.ManagedFieldsEntry) bool {
			return s.Manager == e.Manager && s.Operation == e.Operation && s.Subresource == e.Subresource && s.Time.Equal(e.Time) &&
				s.FieldsV1.String() == e.FieldsV1.String()
		})
		name := managerName(e.Manager)
		if !known && e.Manager != mesh.FieldManager && e.Subresource != "status" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// others names the field managers that wrote the object since it was stored.
func others(stored, now *unstructured.Unstructured) string {
	out := writers(stored, now)
	if len(out) == 0 {
		return "somebody"
	}
	return strings.Join(out, ", ")
}

// managerName is a field manager, and who that is where it is known.
func managerName(manager string) string {
	if who := mesh.ManagerName(manager); who != manager {
		return fmt.Sprintf("%s (%s)", who, manager)
	}
	return manager
}
