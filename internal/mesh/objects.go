package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// Objects reads and changes the objects of one API.
type Objects struct {
	Kube    kubernetes.Interface
	dynamic dynamic.Interface
	mapper  meta.RESTMapper
	reached atomic.Bool // the API answered, and was not given up since
}

// restoreTries is how often an object is restored that others change at the same moment.
const restoreTries = 10

// restorePause is the first pause before the next try; each is longer by as much.
const restorePause = 20 * time.Millisecond

// NewObjects makes the clients for cfg. Nothing is sent yet.
func NewObjects(cfg *rest.Config) (*Objects, error) {
	o := &Objects{}
	retrying := rest.CopyConfig(cfg)
	retrying.Wrap(func(next http.RoundTripper) http.RoundTripper { return retrier{next, o} })
	kube, err := kubernetes.NewForConfig(retrying)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("kubernetes dynamic client: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("kubernetes discovery client: %w", err)
	}
	o.Kube, o.dynamic = kube, dyn
	o.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))
	return o, nil
}

// Ref names one object.
type Ref struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

// RefOf names u.
func RefOf(u *unstructured.Unstructured) Ref {
	return Ref{APIVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
}

// IsNamespace reports whether it is a namespace.
func (r Ref) IsNamespace() bool { return r.Kind == "Namespace" && r.APIVersion == "v1" }

func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Resource is what the API calls the objects of r's kind; known is false when it has no such kind.
func (o *Objects) Resource(ctx context.Context, r Ref) (resource schema.GroupResource, known bool, err error) {
	m, err := o.mapping(ctx, r)
	if meta.IsNoMatchError(err) {
		return resource, false, nil
	}
	if err != nil {
		return resource, false, fmt.Errorf("%s: %w", r, err)
	}
	return m.Resource.GroupResource(), true, nil
}

func (o *Objects) mapping(ctx context.Context, r Ref) (*meta.RESTMapping, error) {
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil {
		return nil, err
	}
	find := func() (*meta.RESTMapping, error) {
		return o.mapper.RESTMapping(schema.GroupKind{Group: gv.Group, Kind: r.Kind}, gv.Version)
	}
	m, err := find() // mostly it is known already, which says nothing about the API
	if Unavailable(err) {
		m, err = again(ctx, o, find)
	}
	return m, err
}

func (o *Objects) resource(ctx context.Context, r Ref) (dynamic.ResourceInterface, error) {
	m, err := o.mapping(ctx, r)
	if err != nil {
		if meta.IsNoMatchError(err) {
			return nil, fmt.Errorf("%s: the API has no kind %s in %s; is its CRD installed?", r, r.Kind, r.APIVersion)
		}
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return o.dynamic.Resource(m.Resource).Namespace(r.Namespace), nil
	}
	if r.Namespace != "" { // the API would clear it, and what was allowed for a namespace would be for the whole cluster
		return nil, fmt.Errorf("%s: the API has %s in no namespace, for the whole cluster: leave it out", r, m.Resource.GroupResource())
	}
	return o.dynamic.Resource(m.Resource), nil
}

// Get reads an object; nil without an error when there is none.
func (o *Objects) Get(ctx context.Context, r Ref) (*unstructured.Unstructured, error) {
	c, err := o.resource(ctx, r)
	if err != nil {
		return nil, err
	}
	u, err := again(ctx, o, func() (*unstructured.Unstructured, error) { return c.Get(ctx, r.Name, metav1.GetOptions{}) })
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", r, err)
	}
	return u, nil
}

// Apply server-side applies u as FieldManager and returns the object as stored. An object whose fields another manager
// owns is a conflict, an error that names the manager; it is never overruled. A field that the kind does not have is an error.
func (o *Objects) Apply(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return o.apply(ctx, u, metav1.PatchOptions{})
}

// Try asks the API whether Apply would succeed, and changes nothing.
func (o *Objects) Try(ctx context.Context, u *unstructured.Unstructured) error {
	_, err := o.apply(ctx, u, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// Create makes an object that is not there; one that is there meanwhile is an error.
func (o *Objects) Create(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	r := RefOf(u)
	c, err := o.resource(ctx, r)
	if err != nil {
		return nil, err
	}
	got, err := again(ctx, o, func() (*unstructured.Unstructured, error) {
		return c.Create(ctx, u, metav1.CreateOptions{FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict})
	})
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", r, err)
	}
	return got, nil
}

func (o *Objects) apply(ctx context.Context, u *unstructured.Unstructured, opts metav1.PatchOptions) (*unstructured.Unstructured, error) {
	r := RefOf(u)
	c, err := o.resource(ctx, r)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(Authored(u))
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", r, err)
	}
	opts.FieldManager, opts.FieldValidation = FieldManager, metav1.FieldValidationStrict
	got, err := again(ctx, o, func() (*unstructured.Unstructured, error) {
		return c.Patch(ctx, r.Name, types.ApplyPatchType, body, opts)
	})
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", r, err)
	}
	return got, nil
}

// Restore makes the object r be before again: the exact object where there was one (created anew if somebody deleted it
// meanwhile), deleted where there was none.
func (o *Objects) Restore(ctx context.Context, r Ref, before *unstructured.Unstructured) error {
	c, err := o.resource(ctx, r)
	if err != nil {
		return err
	}
	if before == nil {
		background := metav1.DeletePropagationBackground // the API's default leaves the pods of a Job running
		_, err := again(ctx, o, func() (any, error) {
			return nil, c.Delete(ctx, r.Name, metav1.DeleteOptions{PropagationPolicy: &background})
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s: %w", r, err)
		}
		return nil
	}
	if _, err := again(ctx, o, func() (any, error) { return nil, putBack(ctx, c, before) }); err != nil {
		return fmt.Errorf("restore %s: %w", r, err)
	}
	return nil
}

// putBack makes an object what it was, its fields' owners included. What is there is read first: the API takes no update of a custom
// resource that does not name its version.
func putBack(ctx context.Context, c dynamic.ResourceInterface, before *unstructured.Unstructured) error {
	for try := 1; ; try++ {
		u := before.DeepCopy()
		live, err := c.Get(ctx, u.GetName(), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			u.SetResourceVersion("")
			u.SetUID("")
			live, err = c.Create(ctx, u, metav1.CreateOptions{FieldManager: FieldManager})
		case err == nil:
			u.SetResourceVersion(live.GetResourceVersion())
			u.SetUID(live.GetUID()) // somebody may have made the object anew
			live, err = c.Update(ctx, u, metav1.UpdateOptions{FieldManager: FieldManager})
		}
		if err == nil && !reflect.DeepEqual(live.GetManagedFields(), u.GetManagedFields()) {
			// Who updates a field owns it. An update that changes nothing else gives the fields back to those who owned them.
			u.SetResourceVersion(live.GetResourceVersion())
			u.SetUID(live.GetUID())
			_, err = c.Update(ctx, u, metav1.UpdateOptions{FieldManager: FieldManager})
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) || try == restoreTries {
			return err
		}
		if err := Pause(ctx, time.Duration(try)*restorePause); err != nil { // a controller that follows the change writes its status
			return err
		}
	}
}

// Delete deletes an object; one that is not there is no error.
func (o *Objects) Delete(ctx context.Context, r Ref) error { return o.Restore(ctx, r, nil) }

// Difference says how the object r differs from before, "" when it is the same: every field but those the API server
// counts itself (resourceVersion, generation, time stamps of field managers, status).
func (o *Objects) Difference(ctx context.Context, r Ref, before *unstructured.Unstructured) (string, error) {
	now, err := o.Get(ctx, r)
	if err != nil {
		return "", err
	}
	return Difference(r, before, now), nil
}

// Difference says how the object r, now, differs from before, as Objects.Difference does; nil is no object.
func Difference(r Ref, before, now *unstructured.Unstructured) string {
	switch {
	case before == nil && now == nil:
		return ""
	case before == nil && now.GetDeletionTimestamp() != nil:
		return "" // it is being deleted
	case before == nil:
		return r.String() + " is still there"
	case now == nil:
		return r.String() + " is gone"
	}
	return firstDifference(r.String(), Authored(before).Object, Authored(now).Object)
}

// Authored is a copy of an object without what the API server keeps of it by itself: its version, identity and times, who
// owns its fields, and its status.
func Authored(u *unstructured.Unstructured) *unstructured.Unstructured {
	c := u.DeepCopy()
	c.SetManagedFields(nil)
	for _, f := range []string{"resourceVersion", "generation", "uid", "creationTimestamp"} {
		unstructured.RemoveNestedField(c.Object, "metadata", f)
	}
	unstructured.RemoveNestedField(c.Object, "status")
	if a := c.GetAnnotations(); a[revisionAnnotation] != "" { // the controller of Deployments counts them
		delete(a, revisionAnnotation)
		if len(a) == 0 {
			a = nil
		}
		c.SetAnnotations(a)
	}
	return c
}

func firstDifference(path string, a, b any) string {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		for k := range x {
			if _, ok := y[k]; !ok {
				return path + "." + k + " is gone"
			}
		}
		for k := range y {
			if _, ok := x[k]; !ok {
				return path + "." + k + " is new"
			}
			if d := firstDifference(path+"."+k, x[k], y[k]); d != "" {
				return d
			}
		}
		return ""
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			break
		}
		for i := range x {
			if d := firstDifference(fmt.Sprintf("%s[%d]", path, i), x[i], y[i]); d != "" {
				return d
			}
		}
		return ""
	}
	if reflect.DeepEqual(number(a), number(b)) {
		return ""
	}
	return fmt.Sprintf("%s was %v, is %v", path, a, b)
}

// number gives whole numbers one type, however the object was decoded.
func number(v any) any {
	switch n := v.(type) {
	case int:
		return float64(n)
	case int64:
		return float64(n)
	case json.Number:
		if f, err := n.Float64(); err == nil {
			return f
		}
	}
	return v
}

// Namespace is a namespace with sidecar injection on.
func Namespace(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": name, "labels": map[string]any{"istio-injection": "enabled"}},
	}}
}
