package kubeapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

const (
	refPrefix     = "#/components/schemas/"
	preserveField = "x-kubernetes-preserve-unknown-fields"
	gvkField      = "x-kubernetes-group-version-kind"
)

// schemas describes every served kind: built-in kinds as their Go types do, Istio's as its CRDs do.
type schemas struct {
	builtIn func() builtIns
	// custom has the Istio kinds by plural and group.
	custom map[string]func() *spec.Schema
}

type builtIns struct {
	definitions map[string]*spec.Schema // by model name
	kinds       map[string]string       // group/version/kind to model name
}

func newSchemas(resources []Resource, crds map[string]json.RawMessage) *schemas {
	s := &schemas{custom: map[string]func() *spec.Schema{}}
	s.builtIn = sync.OnceValue(func() builtIns { return reflectKinds(resources) })
	for name, raw := range crds {
		s.custom[name] = sync.OnceValue(func() *spec.Schema { return crdSchema(name, raw) })
	}
	return s
}

// isCustom says whether the kind is described by a CRD, and not by a Go type.
func (s *schemas) isCustom(r *Resource) bool { return s.custom[r.Plural+"."+r.Group] != nil }

// of is the schema of a kind, without a reference at its top, or nil for a kind whose fields are not known.
func (s *schemas) of(r *Resource) *spec.Schema {
	if f := s.custom[r.Plural+"."+r.Group]; f != nil {
		return f()
	}
	b := s.builtIn()
	return b.definitions[b.kinds[kindKey(r, r.storageVersion())]]
}

// resolve follows a reference to a definition.
func (s *schemas) resolve(sc *spec.Schema) *spec.Schema {
	if len(sc.AllOf) == 1 && sc.AllOf[0].Ref.String() != "" {
		sc = &sc.AllOf[0]
	}
	ref := sc.Ref.String()
	if ref == "" {
		return sc
	}
	return s.builtIn().definitions[strings.TrimPrefix(ref, refPrefix)]
}

// prune removes from an object the fields that its kind does not have, and nulls, and returns the paths of the fields
// that it did not know.
func (s *schemas) prune(r *Resource, data map[string]any) []string {
	sc := s.of(r)
	if sc == nil {
		return nil
	}
	var unknown []string
	s.pruneMap(sc, data, "", &unknown)
	if s.isCustom(r) {
		if m, ok := data["metadata"].(map[string]any); ok {
			s.pruneMap(s.builtIn().definitions[metav1.ObjectMeta{}.OpenAPIModelName()], m, "metadata", &unknown)
		}
	}
	slices.Sort(unknown)
	return unknown
}

func (s *schemas) pruneValue(sc *spec.Schema, v any, path string, unknown *[]string) {
	sc = s.resolve(sc)
	if sc == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		s.pruneMap(sc, v, path, unknown)
	case []any:
		if sc.Items != nil && sc.Items.Schema != nil {
			for i, e := range v {
				s.pruneValue(sc.Items.Schema, e, path+"["+strconv.Itoa(i)+"]", unknown)
			}
		}
	}
}

func (s *schemas) pruneMap(sc *spec.Schema, m map[string]any, path string, unknown *[]string) {
	preserve, _ := sc.Extensions[preserveField].(bool)
	for k, v := range m {
		at := k
		if path != "" {
			at = path + "." + k
		}
		prop, known := sc.Properties[k]
		extra := sc.AdditionalProperties
		switch {
		case path == "" && (k == "apiVersion" || k == "kind" || k == "metadata"):
			if known {
				s.pruneValue(&prop, v, at, unknown)
			}
		case known && v == nil && !preserve, v == nil && extra == nil && !preserve:
			delete(m, k)
		case known:
			s.pruneValue(&prop, v, at, unknown)
		case extra != nil && extra.Schema != nil:
			s.pruneValue(extra.Schema, v, at, unknown)
		case extra != nil && extra.Allows, preserve, !describes(sc):
		default:
			*unknown = append(*unknown, at)
			delete(m, k)
		}
	}
}

// setDefaults gives fields that are not there the defaults of their schemas, as a CRD does.
func (s *schemas) setDefaults(sc *spec.Schema, v any) {
	if sc == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for name, prop := range sc.Properties {
			if _, ok := v[name]; !ok && prop.Default != nil {
				v[name] = wholeNumbers(prop.Default)
			}
			if value, ok := v[name]; ok {
				s.setDefaults(&prop, value)
			}
		}
		if extra := sc.AdditionalProperties; extra != nil && extra.Schema != nil {
			for name, value := range v {
				if _, known := sc.Properties[name]; !known {
					s.setDefaults(extra.Schema, value)
				}
			}
		}
	case []any:
		if sc.Items != nil {
			for _, e := range v {
				s.setDefaults(sc.Items.Schema, e)
			}
		}
	}
}

// wholeNumbers is a copy of a value with the whole numbers in it as objects have them.
func wholeNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = wholeNumbers(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = wholeNumbers(e)
		}
		return out
	case float64:
		if v == math.Trunc(v) {
			return int64(v)
		}
	}
	return v
}

// describes says whether a schema says anything of the fields of an object.
func describes(sc *spec.Schema) bool { return len(sc.Properties) > 0 || sc.Type.Contains("object") }

// crdSchema reads the schema of a CRD's first version. The CRDs are embedded in the program and tested.
func crdSchema(name string, raw json.RawMessage) *spec.Schema {
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema *spec.Schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &crd); err != nil {
		panic(fmt.Sprintf("kubeapi: embedded CRD %s: %v", name, err))
	}
	sc := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	delete(sc.Properties, "metadata") // some CRDs name it; what is in it is the same for all kinds
	return sc
}

func kindKey(r *Resource, version string) string { return r.gvk(version).String() }

// reflectKinds describes the kinds that client-go has Go types for.
func reflectKinds(resources []Resource) builtIns {
	b := builtIns{definitions: map[string]*spec.Schema{}, kinds: map[string]string{}}
	b.define(reflect.TypeFor[metav1.ObjectMeta]())
	b.define(reflect.TypeFor[metav1.DeleteOptions]())
	for i := range resources {
		r := &resources[i]
		for _, v := range r.Versions {
			o, err := scheme.Scheme.New(r.gvk(v))
			if err != nil {
				continue // a kind that client-go does not know
			}
			name := b.define(reflect.TypeOf(o).Elem())
			b.kinds[kindKey(r, v)] = name
			b.definitions[name].AddExtension(gvkField, []any{map[string]any{"group": r.Group, "version": v, "kind": r.Kind}})
		}
	}
	return b
}

// modelName is the name that Kubernetes gives the type in its OpenAPI documents.
func modelName(t reflect.Type) string {
	if n, ok := reflect.Zero(t).Interface().(interface{ OpenAPIModelName() string }); ok {
		return n.OpenAPIModelName()
	}
	return strings.ReplaceAll(t.PkgPath(), "/", ".") + "." + t.Name()
}

// define adds the definition of a struct and of every struct in it, and returns its name.
func (b *builtIns) define(t reflect.Type) string {
	name := modelName(t)
	if b.definitions[name] != nil {
		return name
	}
	sc := &spec.Schema{}
	b.definitions[name] = sc // before the fields: types refer to themselves
	docs := map[string]string{}
	if d, ok := reflect.Zero(t).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
		docs = d.SwaggerDoc()
	}
	sc.Type = spec.StringOrArray{"object"}
	sc.Description = docs[""]
	sc.Properties = map[string]spec.Schema{}
	b.fields(t, docs, sc.Properties)
	return name
}

func (b *builtIns) fields(t reflect.Type, docs map[string]string, into map[string]spec.Schema) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous && (tag == "" || strings.Contains(options, "inline")) {
			b.fields(f.Type, docs, into)
			continue
		}
		p := b.value(f.Type)
		if p.Ref.String() != "" && docs[tag] != "" {
			p = spec.Schema{SchemaProps: spec.SchemaProps{AllOf: []spec.Schema{p}}}
		}
		p.Description = docs[tag]
		if s := f.Tag.Get("patchStrategy"); s != "" {
			p.AddExtension("x-kubernetes-patch-strategy", s)
		}
		if k := f.Tag.Get("patchMergeKey"); k != "" {
			p.AddExtension("x-kubernetes-patch-merge-key", k)
		}
		into[tag] = p
	}
}

func (b *builtIns) value(t reflect.Type) spec.Schema {
	if s, ok := leaf(t); ok {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		return b.value(t.Elem())
	case reflect.Struct:
		return *spec.RefSchema(refPrefix + b.define(t))
	case reflect.Map:
		e := b.value(t.Elem())
		return *spec.MapProperty(&e)
	case reflect.Slice:
		e := b.value(t.Elem())
		return *spec.ArrayProperty(&e)
	case reflect.Bool:
		return *spec.BooleanProperty()
	case reflect.String:
		return *spec.StringProperty()
	case reflect.Int32, reflect.Uint8:
		return *spec.Int32Property()
	case reflect.Float64, reflect.Float32:
		return *spec.Float64Property()
	default:
		return *spec.Int64Property()
	}
}

// leaf describes the types that encode themselves.
func leaf(t reflect.Type) (spec.Schema, bool) {
	switch t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return *spec.DateTimeProperty(), true
	case reflect.TypeFor[metav1.Duration](), reflect.TypeFor[resource.Quantity]():
		return *spec.StringProperty(), true
	case reflect.TypeFor[[]byte]():
		return *spec.StrFmtProperty("byte"), true
	case reflect.TypeFor[intstr.IntOrString]():
		return *spec.StrFmtProperty("int-or-string"), true
	case reflect.TypeFor[runtime.RawExtension](), reflect.TypeFor[metav1.FieldsV1]():
		s := *spec.MapProperty(nil)
		s.AdditionalProperties = nil
		s.AddExtension(preserveField, true)
		return s, true
	}
	return spec.Schema{}, false
}

// components are the definitions that the kinds of a group version need, for its OpenAPI document.
func (s *schemas) components(resources []*Resource, version string) map[string]*spec.Schema {
	out := map[string]*spec.Schema{}
	b := s.builtIn()
	for _, r := range resources {
		if !s.isCustom(r) {
			if name := b.kinds[kindKey(r, version)]; name != "" {
				b.reach(name, out)
			}
			continue
		}
		sc := *s.of(r)
		sc.Properties, sc.Extensions = maps.Clone(sc.Properties), maps.Clone(sc.Extensions)
		sc.Properties["apiVersion"], sc.Properties["kind"] = *spec.StringProperty(), *spec.StringProperty()
		sc.Properties["metadata"] = *spec.RefSchema(refPrefix + metav1.ObjectMeta{}.OpenAPIModelName())
		sc.AddExtension(gvkField, []any{map[string]any{"group": r.Group, "version": version, "kind": r.Kind}})
		out[strings.Join(append(reversed(r.Group), version, r.Kind), ".")] = &sc
	}
	b.reach(metav1.ObjectMeta{}.OpenAPIModelName(), out)
	return out
}

func reversed(group string) []string {
	parts := strings.Split(group, ".")
	slices.Reverse(parts)
	return parts
}

// reach copies a definition and all that it refers to.
func (b *builtIns) reach(name string, out map[string]*spec.Schema) {
	sc := b.definitions[name]
	if sc == nil || out[name] != nil {
		return
	}
	out[name] = sc
	for _, p := range sc.Properties {
		b.reachValue(&p, out)
	}
}

func (b *builtIns) reachValue(sc *spec.Schema, out map[string]*spec.Schema) {
	if ref := sc.Ref.String(); ref != "" {
		b.reach(strings.TrimPrefix(ref, refPrefix), out)
	}
	for i := range sc.AllOf {
		b.reachValue(&sc.AllOf[i], out)
	}
	if sc.Items != nil && sc.Items.Schema != nil {
		b.reachValue(sc.Items.Schema, out)
	}
	if sc.AdditionalProperties != nil && sc.AdditionalProperties.Schema != nil {
		b.reachValue(sc.AdditionalProperties.Schema, out)
	}
}
