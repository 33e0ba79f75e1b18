package kubeapi

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"squall/internal/fields"
)

func (s *Server) serveCreate(w http.ResponseWriter, r *http.Request, q *request) error {
	data, err := s.readObject(w, r, q)
	if err != nil {
		return err
	}
	if text(data, "metadata", "resourceVersion") != "" {
		return errors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	o, err := s.locked(func() (*object, error) { return s.insert(q, data, true) })
	if err != nil {
		return err
	}
	s.writeObject(w, http.StatusCreated, q, o)
	return nil
}

func (s *Server) serveUpdate(w http.ResponseWriter, r *http.Request, q *request) error {
	if q.subresource == "scale" {
		return s.serveScale(w, r, q)
	}
	data, err := s.readObject(w, r, q)
	if err != nil {
		return err
	}
	o, err := s.locked(func() (*object, error) {
		return s.edit(q, func(live *object) (map[string]any, error) { return data, checkNamed(q, live, data) })
	})
	if err != nil {
		return err
	}
	s.writeObject(w, http.StatusOK, q, o)
	return nil
}

// locked runs a write under the store's lock. A panic in a merge library, which the HTTP server survives, must not
// leave it locked.
func (s *Server) locked(write func() (*object, error)) (*object, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return write()
}

// insert stores a new object. With track, the request's manager owns what is in it. The caller holds the store's lock.
func (s *Server) insert(q *request, data map[string]any, track bool) (*object, error) {
	u := unstructured.Unstructured{Object: data}
	if err := s.nameNew(q, &u); err != nil {
		return nil, err
	}
	if q.table.objects[objectKey{q.namespace, u.GetName()}] != nil {
		return nil, errors.NewAlreadyExists(q.res.groupResource(), u.GetName())
	}
	u.SetUID(types.UID(newUID()))
	u.SetCreationTimestamp(metav1.NewTime(s.now()))
	u.SetDeletionTimestamp(nil)
	u.SetDeletionGracePeriodSeconds(nil)
	u.SetResourceVersion("")
	u.SetSelfLink("")
	u.SetGeneration(0)
	if q.res.Generation {
		u.SetGeneration(1)
	}
	if q.res.Status && !q.res.KeepStatus {
		delete(data, "status")
	}
	if err := s.fill(q.res, data, nil); err != nil {
		return nil, err
	}
	if track {
		if err := s.managers.update(q, nil, data); err != nil {
			return nil, err
		}
	}
	if errs := s.validate(q, data, nil); len(errs) > 0 {
		return nil, errors.NewInvalid(q.res.groupKind(), u.GetName(), errs)
	}
	if q.dryRun {
		return newObject(q.res, data, s.store.rv), nil
	}
	o := s.store.put(q.table, data)
	s.afterCreate(o)
	return o, nil
}

// nameNew gives an object with generateName its name, and checks that its namespace can hold it.
func (s *Server) nameNew(q *request, u *unstructured.Unstructured) error {
	if u.GetName() == "" && u.GetGenerateName() != "" {
		prefix := u.GetGenerateName()
		u.SetName(prefix[:min(len(prefix), 58)] + rand.String(5))
	}
	if q.res.groupKind().String() == "CustomResourceDefinition.apiextensions.k8s.io" {
		return errors.NewForbidden(q.res.groupResource(), u.GetName(), fmt.Errorf(
			"this API serves a fixed set of kinds, and this is not one of them; use a cluster for other kinds"))
	}
	if q.res.ClusterScoped {
		return nil
	}
	namespaces := s.store.tables[namespaceResource()]
	ns := namespaces.objects[objectKey{name: q.namespace}]
	if ns == nil {
		return errors.NewNotFound(namespaceResource(), q.namespace)
	}
	if text(ns.data, "metadata", "deletionTimestamp") != "" {
		return errors.NewForbidden(q.res.groupResource(), u.GetName(), fmt.Errorf(
			"unable to create new content in namespace %s because it is being terminated", q.namespace))
	}
	return nil
}

// edit changes the object that the request names into what change returns, which gets the stored object and must not
// change it. The caller holds the store's lock.
func (s *Server) edit(q *request, change func(live *object) (map[string]any, error)) (*object, error) {
	live := q.table.objects[q.key()]
	if live == nil {
		return nil, q.notFound()
	}
	data, err := change(live)
	if err != nil {
		return nil, err
	}
	return s.replace(q, live, data, true)
}

// replace stores data as the next revision of live, unless it says nothing new. The caller holds the store's lock.
func (s *Server) replace(q *request, live *object, data map[string]any, track bool) (*object, error) {
	if err := checkRevision(q, live, data); err != nil {
		return nil, err
	}
	data = q.carry(live, data)
	if err := s.fill(q.res, data, live); err != nil {
		return nil, err
	}
	if track {
		if err := s.managers.update(q, live, data); err != nil {
			return nil, err
		}
	}
	data["apiVersion"] = q.res.gvk(q.res.storageVersion()).GroupVersion().String()
	if sameObject(live.data, data) {
		return live, nil
	}
	if q.res.Generation && !sameSpec(live.data, data) {
		fields.Child(data, "metadata")["generation"] = number(live.data, "metadata", "generation") + 1
	}
	if errs := s.validate(q, data, live); len(errs) > 0 {
		return nil, errors.NewInvalid(q.res.groupKind(), live.key.name, errs)
	}
	if q.dryRun {
		return newObject(q.res, data, live.rv), nil
	}
	o := s.store.put(q.table, data)
	if text(data, "metadata", "deletionTimestamp") != "" && len(list(data, "metadata", "finalizers")) == 0 {
		return s.finishDelete(q.table, o), nil
	}
	return o, nil
}

// checkRevision refuses an update that was made from an older revision or from another object of that name.
func checkRevision(q *request, live *object, data map[string]any) error {
	if rv := text(data, "metadata", "resourceVersion"); rv != "" && rv != "0" && rv != strconv.FormatUint(live.rv, 10) {
		return errors.NewConflict(q.res.groupResource(), live.key.name, fmt.Errorf(
			"the object has been modified; please apply your changes to the latest version and try again"))
	}
	if uid := text(data, "metadata", "uid"); uid != "" && uid != live.uid() {
		return errors.NewConflict(q.res.groupResource(), live.key.name, fmt.Errorf(
			"Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, live.uid()))
	}
	return nil
}

// checkNamed refuses an update of a custom resource that does not say which revision it is made from.
func checkNamed(q *request, live *object, data map[string]any) error {
	if !q.res.Custom || text(data, "metadata", "resourceVersion") != "" {
		return nil
	}
	return errors.NewInvalid(q.res.groupKind(), live.key.name, field.ErrorList{
		field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update"),
	})
}

// carry completes data with what a client cannot change: the server's own metadata, and the status on a write of the
// object, or everything but the status on a write of the status.
func (q *request) carry(live *object, data map[string]any) map[string]any {
	if q.subresource == "status" {
		whole := live.copy()
		delete(whole, "status")
		if v, ok := data["status"]; ok {
			whole["status"] = v
		}
		if v, ok := lookup(data, "metadata", "managedFields").([]any); ok {
			fields.Child(whole, "metadata")["managedFields"] = v
		}
		return whole
	}
	meta, liveMeta := fields.Child(data, "metadata"), fields.Child(live.copy(), "metadata")
	for _, k := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName"} {
		delete(meta, k)
		if v, ok := liveMeta[k]; ok {
			meta[k] = v
		}
	}
	if q.res.Status {
		delete(data, "status")
		if v, ok := live.data["status"]; ok {
			data["status"] = runtime.DeepCopyJSONValue(v)
		}
	}
	return data
}

// sameObject says whether two revisions differ in nothing but when fields were last written.
func sameObject(a, b map[string]any) bool { return reflect.DeepEqual(withoutTimes(a), withoutTimes(b)) }

// withoutTimes is the object without the times of its managed fields and without its resource version.
func withoutTimes(data map[string]any) map[string]any {
	c := shallow(data, "metadata")
	meta := c["metadata"].(map[string]any)
	delete(meta, "resourceVersion")
	entries := mapsOf(list(meta, "managedFields"))
	if len(entries) == 0 {
		delete(meta, "managedFields")
		return c
	}
	bare := make([]any, len(entries))
	for i, e := range entries {
		e = shallow(e)
		delete(e, "time")
		bare[i] = e
	}
	meta["managedFields"] = bare
	return c
}

// sameSpec says whether two revisions have the same desired state: all but metadata and status.
func sameSpec(a, b map[string]any) bool {
	a, b = shallow(a), shallow(b)
	for _, k := range []string{"apiVersion", "metadata", "status"} {
		delete(a, k)
		delete(b, k)
	}
	return reflect.DeepEqual(a, b)
}

// shallow copies a map, and the maps at some keys in it, one level deep.
func shallow(m map[string]any, keys ...string) map[string]any {
	c := make(map[string]any, len(m))
	for k, v := range m {
		c[k] = v
	}
	for _, k := range keys {
		inner, _ := m[k].(map[string]any)
		c[k] = shallow(inner)
	}
	return c
}

// timestamp is a time as Kubernetes writes it.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
