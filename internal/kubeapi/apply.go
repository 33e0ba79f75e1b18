package kubeapi

import (
	stderrors "errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"squall/internal/fields"
)

// fieldManagers keep track of who set which field, with the code that Kubernetes uses. They are used under the
// store's lock.
type fieldManagers struct {
	schemas *schemas
	typed   func() managedfields.TypeConverter
	made    map[managerKey]*managedfields.FieldManager
}

type managerKey struct {
	kind        schema.GroupVersionKind
	subresource string
}

func newFieldManagers(s *schemas) *fieldManagers {
	return &fieldManagers{schemas: s, made: map[managerKey]*managedfields.FieldManager{},
		typed: sync.OnceValue(func() managedfields.TypeConverter { return applyconfigurations.NewTypeConverter(scheme.Scheme) })}
}

// warm reads the schemas of the built-in kinds, so that the first write need not.
func (f *fieldManagers) warm() {
	f.typed()
	f.schemas.builtIn()
}

func (f *fieldManagers) of(q *request) (*managedfields.FieldManager, error) {
	key := managerKey{q.res.gvk(q.version), q.subresource}
	if m := f.made[key]; m != nil {
		return m, nil
	}
	// Each of the object and its status ignores the fields of the other.
	ignored := fieldpath.NewSet()
	switch {
	case q.subresource == "status":
		ignored.Insert(fieldpath.MakePathOrDie("spec"))
		ignored.Insert(fieldpath.MakePathOrDie("metadata", "labels"))
		ignored.Insert(fieldpath.MakePathOrDie("metadata", "annotations"))
	case q.res.Status:
		ignored.Insert(fieldpath.MakePathOrDie("status"))
	}
	reset := map[fieldpath.APIVersion]*fieldpath.Set{}
	for _, v := range q.res.Versions {
		reset[fieldpath.APIVersion(q.res.gvk(v).GroupVersion().String())] = ignored
	}
	filters := fieldpath.NewExcludeFilterSetMap(reset)
	hub := q.res.gvk(q.res.storageVersion()).GroupVersion()
	var m *managedfields.FieldManager
	var err error
	if !f.schemas.isCustom(q.res) && scheme.Scheme.Recognizes(key.kind) {
		m, err = managedfields.NewDefaultFieldManager(f.typed(), versions{}, versions{}, versions{}, key.kind, hub, q.subresource, filters)
	} else {
		m, err = managedfields.NewDefaultCRDFieldManager(managedfields.NewDeducedTypeConverter(), versions{}, versions{}, versions{}, key.kind, hub, q.subresource, filters)
	}
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", key.kind, err)
	}
	f.made[key] = m
	return m, nil
}

// update notes in data who owns the fields in which it differs from live, which is nil for a new object.
func (f *fieldManagers) update(q *request, live *object, data map[string]any) error {
	m, err := f.of(q)
	if err != nil {
		return err
	}
	before := f.empty(q)
	if live != nil {
		before.Object = live.copy()
	}
	out, err := m.Update(before, &unstructured.Unstructured{Object: data}, q.manager)
	if err != nil {
		return fmt.Errorf("track the fields of %s %s: %w", q.res.Kind, text(data, "metadata", "name"), err)
	}
	u, ok := out.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("track the fields of %s: got a %T", q.res.Kind, out)
	}
	meta := fields.Child(data, "metadata")
	if v, ok := fields.Child(u.Object, "metadata")["managedFields"]; ok {
		meta["managedFields"] = v
	} else {
		delete(meta, "managedFields")
	}
	return nil
}

// apply merges an applied configuration into live, which is nil for a new object. The result is the whole object.
func (f *fieldManagers) apply(q *request, live *object, applied map[string]any) (map[string]any, error) {
	m, err := f.of(q)
	if err != nil {
		return nil, err
	}
	before := f.empty(q)
	if live != nil {
		before.Object = live.copy()
	}
	out, err := m.Apply(before, &unstructured.Unstructured{Object: applied}, q.manager, q.force)
	if err != nil {
		var status errors.APIStatus
		if stderrors.As(err, &status) {
			return nil, err
		}
		return nil, errors.NewBadRequest(fmt.Sprintf("apply %s %s: %v", q.res.Kind, q.name, err))
	}
	u, ok := out.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("apply %s %s: got a %T", q.res.Kind, q.name, out)
	}
	return runtime.DeepCopyJSON(u.Object), nil
}

func (f *fieldManagers) empty(q *request) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(q.res.gvk(q.version))
	return u
}

// versions converts between the versions of a kind, which differ in their apiVersion only.
type versions struct{}

// Convert implements runtime.ObjectConvertor. Nothing here converts in place.
func (versions) Convert(in, out, _ any) error { return fmt.Errorf("cannot convert %T to %T", in, out) }

// ConvertToVersion implements runtime.ObjectConvertor.
func (versions) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("cannot convert a %T", in)
	}
	gvk, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{u.GroupVersionKind()})
	if !ok {
		return nil, fmt.Errorf("cannot convert %s to %v", u.GroupVersionKind(), target)
	}
	c := &unstructured.Unstructured{Object: shallow(u.Object)}
	c.SetGroupVersionKind(gvk)
	return c, nil
}

// ConvertFieldLabel implements runtime.ObjectConvertor.
func (versions) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// New implements runtime.ObjectCreater.
func (versions) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u, nil
}

// Default implements runtime.ObjectDefaulter. Defaults are set after the merge, so that nobody owns them.
func (versions) Default(runtime.Object) {}
