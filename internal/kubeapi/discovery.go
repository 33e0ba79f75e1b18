package kubeapi

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// document is what a path that describes the API answers.
func (s *Server) document(r *http.Request) (any, bool) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	aggregated := parseAccept(r.Header.Get("Accept")).as == "APIGroupDiscoveryList"
	switch {
	case r.URL.Path == "/version":
		return serverVersion(), true
	case parts[0] == "openapi":
		return s.openAPI(parts)
	case len(parts) == 1 && (parts[0] == "api" || parts[0] == "apis") && aggregated:
		return s.aggregated(parts[0] == "api"), true
	case len(parts) == 1 && parts[0] == "api":
		return metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions", APIVersion: "v1"}, Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: r.Host}}}, true
	case len(parts) == 1 && parts[0] == "apis":
		l := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for _, g := range s.groups() {
			l.Groups = append(l.Groups, s.group(g))
		}
		return l, true
	case len(parts) == 2 && parts[0] == "apis" && slices.Contains(s.groups(), parts[1]):
		g := s.group(parts[1])
		g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
		return g, true
	case len(parts) == 2 && parts[0] == "api":
		return s.resourceList(schema.GroupVersion{Version: parts[1]})
	case len(parts) == 3 && parts[0] == "apis":
		return s.resourceList(schema.GroupVersion{Group: parts[1], Version: parts[2]})
	}
	return nil, false
}

// serverVersion says which Kubernetes this API follows: the one of the libraries that it is made with.
func serverVersion() version.Info {
	return version.Info{Major: "1", Minor: "37", GitVersion: "v1.37.0+squall", GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH}
}

// groups are the served groups but the core one, in the order of the table.
func (s *Server) groups() []string {
	var out []string
	for i := range s.resources {
		if g := s.resources[i].Group; g != "" && !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

// versions are the served versions of a group, the preferred first.
func (s *Server) versions(group string) []string {
	var out []string
	for i := range s.resources {
		for _, v := range s.resources[i].Versions {
			if s.resources[i].Group == group && !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return out
}

// in are the resources of a group version.
func (s *Server) in(gv schema.GroupVersion) []*Resource {
	var out []*Resource
	for i := range s.resources {
		if r := &s.resources[i]; r.Group == gv.Group && r.serves(gv.Version) {
			out = append(out, r)
		}
	}
	return out
}

func (s *Server) group(name string) metav1.APIGroup {
	g := metav1.APIGroup{Name: name}
	for _, v := range s.versions(name) {
		gv := schema.GroupVersion{Group: name, Version: v}
		g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: v})
	}
	g.PreferredVersion = g.Versions[0]
	return g
}

func (r *Resource) verbs() []string {
	if r.CreateOnly {
		return []string{"create"}
	}
	return []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}

// subresourceKind is the kind that a subresource reads and writes.
func (r *Resource) subresourceKind(name, version string) schema.GroupVersionKind {
	if name == "scale" {
		return schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}
	}
	return r.gvk(version)
}

func subresourceVerbs() []string { return []string{"get", "patch", "update"} }

func (s *Server) resourceList(gv schema.GroupVersion) (any, bool) {
	resources := s.in(gv)
	if len(resources) == 0 {
		return nil, false
	}
	l := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	for _, r := range resources {
		l.APIResources = append(l.APIResources, metav1.APIResource{Name: r.Plural, SingularName: r.Singular, Namespaced: !r.ClusterScoped,
			Kind: r.Kind, Verbs: r.verbs(), ShortNames: r.ShortNames, Categories: r.Categories})
		for _, sub := range r.subresources() {
			k := r.subresourceKind(sub, gv.Version)
			a := metav1.APIResource{Name: r.Plural + "/" + sub, Namespaced: !r.ClusterScoped, Kind: k.Kind, Verbs: subresourceVerbs()}
			if k.GroupVersion() != gv {
				a.Group, a.Version = k.Group, k.Version
			}
			l.APIResources = append(l.APIResources, a)
		}
	}
	return l, true
}

func (s *Server) aggregated(core bool) apidiscovery.APIGroupDiscoveryList {
	l := apidiscovery.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"}}
	groups := s.groups()
	if core {
		groups = []string{""}
	}
	for _, g := range groups {
		d := apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g}}
		for _, v := range s.versions(g) {
			vd := apidiscovery.APIVersionDiscovery{Version: v, Freshness: apidiscovery.DiscoveryFreshnessCurrent}
			for _, r := range s.in(schema.GroupVersion{Group: g, Version: v}) {
				vd.Resources = append(vd.Resources, r.discovery(v))
			}
			d.Versions = append(d.Versions, vd)
		}
		l.Items = append(l.Items, d)
	}
	return l
}

func (r *Resource) discovery(version string) apidiscovery.APIResourceDiscovery {
	kind := metav1.GroupVersionKind(r.gvk(version))
	d := apidiscovery.APIResourceDiscovery{Resource: r.Plural, ResponseKind: &kind, Scope: apidiscovery.ScopeNamespace,
		SingularResource: r.Singular, Verbs: r.verbs(), ShortNames: r.ShortNames, Categories: r.Categories}
	if r.ClusterScoped {
		d.Scope = apidiscovery.ScopeCluster
	}
	for _, sub := range r.subresources() {
		k := metav1.GroupVersionKind(r.subresourceKind(sub, version))
		d.Subresources = append(d.Subresources, apidiscovery.APISubresourceDiscovery{Subresource: sub, ResponseKind: &k, Verbs: subresourceVerbs()})
	}
	return d
}

// openAPI answers /openapi/v3 and /openapi/v3/PATH. Version 2 is not served: no client needs it where there is version 3.
func (s *Server) openAPI(parts []string) (any, bool) {
	if len(parts) < 2 || parts[1] != "v3" {
		return nil, false
	}
	groups := append([]string{""}, s.groups()...)
	paths := map[string]any{}
	for _, g := range groups {
		for _, v := range s.versions(g) {
			gv := schema.GroupVersion{Group: g, Version: v}
			path := strings.TrimPrefix(rootPath(gv), "/")
			if strings.Join(parts[2:], "/") == path {
				return s.openAPIOf(gv), true
			}
			paths[path] = map[string]any{"serverRelativeURL": "/openapi/v3/" + path}
		}
	}
	return map[string]any{"paths": paths}, len(parts) == 2
}

func rootPath(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

// openAPIOf is the OpenAPI document of a group version: the schemas of its kinds, and of its paths as much as kubectl
// reads, which is whether a write can validate fields and be a dry run.
func (s *Server) openAPIOf(gv schema.GroupVersion) any {
	query := func(name string) any {
		return map[string]any{"name": name, "in": "query", "schema": map[string]any{"type": "string"}}
	}
	paths := map[string]any{}
	for _, r := range s.in(gv) {
		path := fmt.Sprintf("%s/%s/{name}", rootPath(gv), r.Plural)
		if !r.ClusterScoped {
			path = fmt.Sprintf("%s/namespaces/{namespace}/%s/{name}", rootPath(gv), r.Plural)
		}
		k := r.gvk(gv.Version)
		operation := func(action string) any {
			return map[string]any{
				"x-kubernetes-action":             action,
				"x-kubernetes-group-version-kind": map[string]any{"group": k.Group, "version": k.Version, "kind": k.Kind},
				"parameters":                      []any{query("dryRun"), query("fieldManager"), query("fieldValidation")},
				"responses":                       map[string]any{"200": map[string]any{"description": "OK"}},
			}
		}
		paths[path] = map[string]any{"get": operation("get"), "put": operation("put"), "patch": operation("patch")}
	}
	return map[string]any{
		"openapi": "3.0.0",
		"info":    map[string]any{"title": "Kubernetes", "version": serverVersion().GitVersion},
		"paths":   paths, "components": map[string]any{"schemas": s.schemas.components(s.in(gv), gv.Version)},
	}
}
