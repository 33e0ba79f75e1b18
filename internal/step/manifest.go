package step

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/gatewayapi"
	"squall/internal/scenario"
)

// source is an object of a manifest with a way to report what is wrong with it.
type source struct {
	object  map[string]any
	problem func(path, what, hint string) scenario.Problem
}

func manifest(c *compiler, s scenario.Step) {
	sources, ok := c.sources(s)
	if !ok {
		return
	}
	for _, src := range sources {
		c.manifestObject(src)
	}
}

// sources reads the objects of the step; ok is false when mistakes were reported.
func (c *compiler) sources(s scenario.Step) (out []source, ok bool) {
	spec := s.Spec.(*scenario.Manifest)
	inline := func(field string, object map[string]any) {
		out = append(out, source{object, func(path, what, hint string) scenario.Problem {
			return s.Problem(field+"."+path, what, hint)
		}})
	}
	if spec.Object != nil {
		inline("object", spec.Object)
	}
	for i, object := range spec.Objects {
		inline(fmt.Sprintf("objects[%d]", i), object)
	}
	if spec.File == "" {
		return out, true
	}
	objects, err := scenario.LoadManifests(s.Resolve("file", spec.File))
	var problems scenario.Problems
	if errors.As(err, &problems) {
		c.problems = append(c.problems, problems...)
		return nil, false
	}
	if err != nil {
		c.problem("file", err.Error(), "paths are relative to the file that names them")
		return nil, false
	}
	for _, o := range objects {
		out = append(out, source{o.Object, o.Problem})
	}
	return out, true
}

func (c *compiler) manifestObject(src source) {
	u := (&unstructured.Unstructured{Object: src.object}).DeepCopy()
	report := func(path, what, hint string) { c.problems = append(c.problems, src.problem(path, what, hint)) }
	gvk := u.GroupVersionKind()
	if u.GetName() == "" || gvk.Kind == "" || gvk.Version == "" {
		report("metadata.name", "the object has no apiVersion, kind or metadata.name", "")
		return
	}
	if isVersion := regexp.MustCompile(`^v[0-9]+((alpha|beta)[0-9]+)?$`); !isVersion.MatchString(gvk.Version) {
		report("apiVersion", fmt.Sprintf("%q is not an apiVersion", u.GetAPIVersion()), "write for instance networking.istio.io/v1")
		return
	}
	if strings.HasSuffix(gvk.Group, ".istio.io") || gatewayapi.IsRoute(u) {
		refused := Refuse(u)
		for _, r := range refused {
			report(r.Path, r.What, r.Hint)
		}
		if len(refused) > 0 {
			return
		}
	}
	if u.GetNamespace() == "" && !scenario.ClusterScoped(gvk.Kind) {
		u.SetNamespace(c.opts.Namespace)
	}
	if change, ok := c.changes[keyOf(u)]; ok {
		report("metadata.name", fmt.Sprintf("%s %s is given twice, first by %s", gvk.Kind, u.GetName(), change.Step), "")
		return
	}
	c.replace(u)
}

// replace makes the object be u, but keeps labels, annotations and what the API server owns of the one that exists.
func (c *compiler) replace(u *unstructured.Unstructured) {
	host := c.manifestHost(u)
	old := c.base.objects[keyOf(u)]
	if old == nil {
		c.edit(u, host)
		return
	}
	after := c.edit(old, host)
	metadata := laid(fields.Child(after.Object, "metadata"), fields.Child(u.Object, "metadata"))
	status, hasStatus := after.Object["status"]
	after.Object = u.Object
	after.Object["metadata"] = metadata
	if hasStatus {
		after.Object["status"] = status
	}
}

// manifestHost is the full name of the host whose callers a rule concerns, or "".
func (c *compiler) manifestHost(u *unstructured.Unstructured) string {
	if services := gatewayapi.Parents(u); gatewayapi.IsRoute(u) && len(services) > 0 {
		if h, ok := c.set.Resolve(services[0].Host, c.opts.Namespace); ok {
			return h.FQDN
		}
		return ""
	}
	hosts := hostsOf(u)
	if u.GetKind() == "DestinationRule" {
		host, _, _ := unstructured.NestedString(u.Object, "spec", "host")
		hosts = []string{host}
	} else if u.GetKind() != "VirtualService" || isForGateways(u) {
		return ""
	}
	if u.GroupVersionKind().Group != networking || len(hosts) != 1 {
		return ""
	}
	h, ok := c.set.Resolve(istioName(hosts[0], u.GetNamespace()), c.opts.Namespace)
	if !ok {
		return ""
	}
	return h.FQDN
}
