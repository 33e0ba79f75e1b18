package kubeapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"

	"squall/internal/fields"
)

func namespaceResource() schema.GroupResource { return schema.GroupResource{Resource: "namespaces"} }

func (s *Server) serveDelete(w http.ResponseWriter, r *http.Request, q *request) error {
	opts, err := deleteOptions(w, r, q)
	if err != nil {
		return err
	}
	if q.name == "" {
		return s.deleteCollection(w, q, opts)
	}
	gone := false
	o, err := s.locked(func() (o *object, err error) {
		o, gone, err = s.deleteOne(q, opts)
		return o, err
	})
	if err != nil {
		return err
	}
	if !gone {
		s.writeObject(w, http.StatusOK, q, o)
		return nil
	}
	writeJSON(w, http.StatusOK, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: q.name, Group: q.group, Kind: q.res.Plural, UID: uidOf(o)},
	})
	return nil
}

// deleteOptions reads the options from the body, or from the query if there is no body.
func deleteOptions(w http.ResponseWriter, r *http.Request, q *request) (*metav1.DeleteOptions, error) {
	b, media, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	opts := &metav1.DeleteOptions{}
	if len(b) == 0 {
		if err := scheme.ParameterCodec.DecodeParameters(r.URL.Query(), schema.GroupVersion{Version: "v1"}, opts); err != nil {
			return nil, errors.NewBadRequest(err.Error())
		}
		return opts, nil
	}
	if b, _, err = asJSON(q.res, b, media); err != nil {
		return nil, err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(b, opts); err != nil {
		return nil, errors.NewBadRequest(fmt.Sprintf("read the DeleteOptions: %v", err))
	}
	if opts.Kind != "" && opts.Kind != "DeleteOptions" {
		return nil, errors.NewBadRequest(fmt.Sprintf("the body of a delete must be DeleteOptions, not %s", opts.Kind))
	}
	q.dryRun = q.dryRun || slices.Contains(opts.DryRun, metav1.DryRunAll)
	return opts, nil
}

func (s *Server) deleteCollection(w http.ResponseWriter, q *request, opts *metav1.DeleteOptions) error {
	s.store.mu.Lock()
	objects := q.table.list(q.sel)
	for i, o := range objects {
		if q.dryRun || q.table.objects[o.key] != o {
			continue // deleted with its owner
		}
		objects[i], _ = s.delete(q.table, o, opts)
	}
	rv := s.store.rv
	s.store.mu.Unlock()
	s.writeList(w, q, objects, metav1.ListMeta{ResourceVersion: strconv.FormatUint(rv, 10)})
	return nil
}

// deleteOne deletes the object that the request names if the preconditions hold. The caller holds the store's lock.
func (s *Server) deleteOne(q *request, opts *metav1.DeleteOptions) (o *object, gone bool, err error) {
	o = q.table.objects[q.key()]
	if o == nil {
		return nil, false, q.notFound()
	}
	if p := opts.Preconditions; p != nil {
		if p.UID != nil && string(*p.UID) != o.uid() {
			return nil, false, errors.NewConflict(q.res.groupResource(), q.name, fmt.Errorf(
				"Precondition failed: UID in precondition: %s, UID in object meta: %s", *p.UID, o.uid()))
		}
		if p.ResourceVersion != nil && *p.ResourceVersion != strconv.FormatUint(o.rv, 10) {
			return nil, false, errors.NewConflict(q.res.groupResource(), q.name, fmt.Errorf(
				"Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %d", *p.ResourceVersion, o.rv))
		}
	}
	if q.dryRun {
		return o, true, nil
	}
	o, gone = s.delete(q.table, o, opts)
	return o, gone, nil
}

// delete deletes an object, or marks it if it has finalizers or is a namespace that something is left in. It returns
// the object as it is now, or was at last, and whether it is gone. The caller holds the store's lock.
func (s *Server) delete(t *table, o *object, opts *metav1.DeleteOptions) (*object, bool) {
	policy := opts.PropagationPolicy
	if policy != nil && *policy == metav1.DeletePropagationForeground {
		s.deleteDependents(o, false)
	}
	if t.res.groupResource() == namespaceResource() {
		s.empty(o.key.name)
	}
	last := o
	if o = t.objects[o.key]; o == nil {
		return last, true // it was among its own dependents, or a namespace that waited for what was in it
	}
	if len(list(o.data, "metadata", "finalizers")) > 0 || t.res.groupResource() == namespaceResource() && s.holdsObjects(o.key.name) {
		return s.markDeleted(t, o, graceOf(t, o, opts)), false
	}
	gone := s.finishDelete(t, o)
	s.deleteDependents(o, policy != nil && *policy == metav1.DeletePropagationOrphan)
	return gone, true
}

// podGrace is the time to end that Kubernetes gives a pod that does not say how much it takes.
const podGrace = 30

// graceOf is how many seconds an object has to end: as the request says, else as a pod says, and none for all others.
func graceOf(t *table, o *object, opts *metav1.DeleteOptions) int64 {
	switch {
	case t.res.groupResource() != (schema.GroupResource{Resource: "pods"}):
		return 0
	case opts.GracePeriodSeconds != nil:
		return max(0, *opts.GracePeriodSeconds)
	}
	spec, _ := o.data["spec"].(map[string]any)
	if _, given := spec["terminationGracePeriodSeconds"]; given {
		return number(spec, "terminationGracePeriodSeconds")
	}
	return podGrace
}

// markDeleted gives an object its deletion time, if it has none or one with more grace.
func (s *Server) markDeleted(t *table, o *object, grace int64) *object {
	if text(o.data, "metadata", "deletionTimestamp") != "" && number(o.data, "metadata", "deletionGracePeriodSeconds") <= grace {
		return o
	}
	data := o.copy()
	meta := fields.Child(data, "metadata")
	meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = timestamp(s.now()), grace
	if t.res.Generation {
		meta["generation"] = number(data, "metadata", "generation") + 1
	}
	if t.res.groupResource() == namespaceResource() {
		fields.Child(data, "status")["phase"] = "Terminating"
	}
	return s.store.put(t, data)
}

// finishDelete removes an object, and the namespace that waited only for it.
func (s *Server) finishDelete(t *table, o *object) *object {
	gone := s.store.remove(t, o)
	if o.key.namespace == "" {
		return gone
	}
	namespaces := s.store.tables[namespaceResource()]
	ns := namespaces.objects[objectKey{name: o.key.namespace}]
	if ns != nil && text(ns.data, "metadata", "deletionTimestamp") != "" &&
		len(list(ns.data, "metadata", "finalizers")) == 0 && !s.holdsObjects(ns.key.name) {
		s.store.remove(namespaces, ns)
	}
	return gone
}

// tables are the tables in the order of their resources' names.
func (s *Server) tables() []*table {
	out := make([]*table, 0, len(s.store.tables))
	for _, t := range s.store.tables {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *table) int {
		return strings.Compare(a.res.groupResource().String(), b.res.groupResource().String())
	})
	return out
}

// empty deletes what is in a namespace.
func (s *Server) empty(namespace string) {
	for _, t := range s.tables() {
		if t.res.ClusterScoped {
			continue
		}
		in, _ := newSelector(t.res, namespace, nil, nil) // without requirements it cannot fail
		for _, o := range t.list(in) {
			if t.objects[o.key] == o {
				s.delete(t, o, &metav1.DeleteOptions{})
			}
		}
	}
}

func (s *Server) holdsObjects(namespace string) bool {
	for _, t := range s.store.tables {
		for k := range t.objects {
			if k.namespace == namespace {
				return true
			}
		}
	}
	return false
}

// deleteDependents deletes what only this owner owns, and takes the reference to it out of what others own too, or
// out of everything with orphan.
func (s *Server) deleteDependents(owner *object, orphan bool) {
	uid := owner.uid()
	for _, t := range s.tables() {
		everything, _ := newSelector(t.res, "", nil, nil) // without requirements it cannot fail
		for _, o := range t.list(everything) {
			refs := list(o.data, "metadata", "ownerReferences")
			others := slices.DeleteFunc(slices.Clone(refs), func(v any) bool {
				m, _ := v.(map[string]any)
				return m["uid"] == uid
			})
			if len(others) == len(refs) || t.objects[o.key] != o {
				continue
			}
			if len(others) == 0 && !orphan {
				s.delete(t, o, &metav1.DeleteOptions{})
				continue
			}
			s.setOwners(t, o, others)
		}
	}
}

func (s *Server) setOwners(t *table, o *object, refs []any) {
	data := o.copy()
	if len(refs) == 0 {
		delete(fields.Child(data, "metadata"), "ownerReferences")
	} else {
		fields.Child(data, "metadata")["ownerReferences"] = slices.Clone(refs)
	}
	s.store.put(t, data)
}
