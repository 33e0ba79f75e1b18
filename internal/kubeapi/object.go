package kubeapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

type objectKey struct{ namespace, name string }

// less orders keys as Kubernetes lists them.
func (k objectKey) compare(o objectKey) int {
	if c := strings.Compare(k.namespace, o.namespace); c != 0 {
		return c
	}
	return strings.Compare(k.name, o.name)
}

// object is one stored revision of an object. It is never changed once it is made: a write makes another one, so
// readers need no lock.
type object struct {
	res  *Resource
	key  objectKey
	rv   uint64
	data map[string]any // in the storage version
	raw  func() []byte  // data as JSON
}

// newObject takes data over and stamps it with the resource version.
func newObject(res *Resource, data map[string]any, rv uint64) *object {
	u := unstructured.Unstructured{Object: data}
	u.SetGroupVersionKind(res.gvk(res.storageVersion()))
	u.SetResourceVersion(strconv.FormatUint(rv, 10))
	return &object{
		res: res, key: objectKey{u.GetNamespace(), u.GetName()}, rv: rv, data: data,
		raw: sync.OnceValue(func() []byte { return mustJSON(data) }),
	}
}

// json is the object in one of its versions.
func (o *object) json(version string) []byte {
	if version == o.res.storageVersion() {
		return o.raw()
	}
	return mustJSON(o.in(version))
}

// in is the object's data in a version. It shares everything below the top with the object and must not be changed.
func (o *object) in(version string) map[string]any {
	c := maps.Clone(o.data)
	c["apiVersion"] = o.res.gvk(version).GroupVersion().String()
	return c
}

// copy is the object's data for changing.
func (o *object) copy() map[string]any { return runtime.DeepCopyJSON(o.data) }

// partial is the object as PartialObjectMetadata of meta.k8s.io in a version.
func (o *object) partial(metaVersion string) map[string]any {
	return map[string]any{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/" + metaVersion, "metadata": o.data["metadata"]}
}

func (o *object) uid() string { return text(o.data, "metadata", "uid") }

// at is the same object at another resource version: what a watch is told of a deletion.
func (o *object) at(rv uint64) *object {
	c := maps.Clone(o.data)
	m, _ := c["metadata"].(map[string]any)
	c["metadata"] = maps.Clone(m)
	return newObject(o.res, c, rv)
}

// mustJSON encodes what was decoded from JSON or built from plain maps, which cannot fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("kubeapi: encode %T: %v", v, err))
	}
	return b
}

// text is the string at a path, or "" where there is none.
func text(data map[string]any, path ...string) string {
	s, _ := lookup(data, path...).(string)
	return s
}

// lookup is the value at a path, or nil.
func lookup(data map[string]any, path ...string) any {
	var v any = data
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// setDefault sets a key that is absent.
func setDefault(m map[string]any, key string, value any) {
	if v, ok := m[key]; !ok || v == nil || v == "" {
		m[key] = value
	}
}

// list is the slice at a path, or nil.
func list(data map[string]any, path ...string) []any {
	l, _ := lookup(data, path...).([]any)
	return l
}

// selector is which objects of a resource a request is about.
type selector struct {
	namespace string // "" is all
	labels    labels.Selector
	fields    fields.Selector
}

// newSelector checks that every field that is selected on can be.
func newSelector(res *Resource, namespace string, l labels.Selector, f fields.Selector) (selector, error) {
	s := selector{namespace: namespace, labels: l, fields: f}
	if l == nil {
		s.labels = labels.Everything()
	}
	if f == nil {
		s.fields = fields.Everything()
	}
	for _, r := range s.fields.Requirements() {
		if _, ok := selectable(res, r.Field); !ok {
			return s, errors.NewBadRequest(fmt.Sprintf(
				"Unable to find %q that match label selector %q, field selector %q: field label not supported: %s",
				res.gvk(res.storageVersion()), s.labels, s.fields, r.Field))
		}
	}
	return s, nil
}

// selectable is the path that a field of a selector stands for.
func selectable(res *Resource, field string) ([]string, bool) {
	switch field {
	case "metadata.name", "metadata.namespace":
		return strings.Split(field, "."), true
	}
	for _, f := range res.Fields {
		if f != field {
			continue
		}
		if f == "source" {
			return []string{"source", "component"}, true
		}
		return strings.Split(f, "."), true
	}
	return nil, false
}

func (s selector) everything() bool { return s.labels.Empty() && s.fields.Empty() }

func (s selector) matches(o *object) bool {
	if o == nil || s.namespace != "" && s.namespace != o.key.namespace {
		return false
	}
	if !s.labels.Empty() && !s.labels.Matches(labelSet(o)) {
		return false
	}
	return s.fields.Empty() || s.fields.Matches(fieldSet{o})
}

func labelSet(o *object) labels.Set {
	m, _ := lookup(o.data, "metadata", "labels").(map[string]any)
	set := make(labels.Set, len(m))
	for k, v := range m {
		set[k], _ = v.(string)
	}
	return set
}

// fieldSet reads the fields of an object for a field selector.
type fieldSet struct{ o *object }

// Has implements fields.Fields.
func (f fieldSet) Has(field string) bool {
	_, ok := selectable(f.o.res, field)
	return ok
}

// Get implements fields.Fields. An absent field is the empty string, an absent boolean "false", as in Kubernetes.
func (f fieldSet) Get(field string) string {
	path, _ := selectable(f.o.res, field)
	switch v := lookup(f.o.data, path...).(type) {
	case nil:
		if field == "spec.unschedulable" || field == "spec.hostNetwork" {
			return "false"
		}
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}
