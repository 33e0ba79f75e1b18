package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
)

// Permission is one thing that a run does on the cluster.
type Permission struct{ Verb, Group, Resource, Subresource, Namespace string }

// String is such as "create pods/portforward in squall".
func (p Permission) String() string {
	out := p.Verb + " " + p.Resource
	if p.Subresource != "" {
		out += "/" + p.Subresource
	}
	if p.Group != "" {
		out += "." + p.Group
	}
	if p.Namespace != "" {
		out += " in " + p.Namespace
	}
	return out
}

// toApply are the verbs for an object that a run applies, and restores.
func toApply() []string { return []string{"get", "patch", "create", "update", "delete"} }

// Permissions are all that a run needs, but for objects of kinds that are not named here.
func (m *Mesh) Permissions() []Permission {
	out := []Permission{{Verb: "get", Resource: "namespaces"}}
	add := func(ns, group, resource, sub string, verbs ...string) {
		for _, v := range verbs {
			out = append(out, Permission{v, group, resource, sub, ns})
		}
	}
	for _, ns := range m.watched() {
		add(ns, "", "pods", "", "get", "list", "watch")
		add(ns, "", "pods", "portforward", "get", "create") // by WebSocket, and by SPDY
		if !slices.Contains(m.opts.Namespaces, ns) {
			continue
		}
		add(ns, "", "pods", "log", "get")
		add(ns, "", "services", "", "list")
		for _, r := range []string{"services", "serviceaccounts", "configmaps", "secrets"} {
			add(ns, "", r, "", toApply()...)
		}
		add(ns, "discovery.k8s.io", "endpointslices", "", "list", "watch")
		add(ns, "apps", "deployments", "", append(toApply(), "list", "watch")...)
		add(ns, "apps", "replicasets", "", "list")
		add(ns, "apps", "statefulsets", "", "list", "watch")
		add(ns, "apps", "daemonsets", "", "list", "watch")
		for _, r := range []string{"virtualservices", "destinationrules", "gateways", "envoyfilters", "sidecars", "serviceentries"} {
			add(ns, "networking.istio.io", r, "", toApply()...)
		}
		for _, r := range []string{"peerauthentications", "requestauthentications", "authorizationpolicies"} {
			add(ns, "security.istio.io", r, "", toApply()...)
		}
	}
	return append(out, m.forActions()...)
}

// forActions are what steps on pods need beyond what every run does. Which of the run's namespaces they are about is not told apart.
func (m *Mesh) forActions() []Permission {
	var out []Permission
	for _, ns := range m.opts.Namespaces {
		if ns == mesh.RootNamespace || len(m.opts.Actions) == 0 {
			continue
		}
		for _, kind := range m.opts.Actions {
			switch kind {
			case "kill":
				out = append(out, Permission{"delete", "", "pods", "", ns})
			case "evict":
				out = append(out, Permission{"create", "", "pods", "eviction", ns})
			case "partition":
				for _, verb := range toApply() {
					out = append(out, Permission{verb, "networking.k8s.io", "networkpolicies", "", ns})
				}
			}
		}
	}
	for _, kind := range m.opts.Actions {
		switch kind {
		case "cordon":
			out = append(out, Permission{Verb: "list", Resource: "nodes"}, Permission{Verb: "patch", Resource: "nodes"})
		case "evict":
			out = append(out, Permission{Verb: "list", Resource: "nodes"})
		}
	}
	return out
}

// forObjects are the permissions for the objects of the run that are of other kinds than Permissions names. Those of a kind that the API
// does not have, which a fixture may bring, are left out.
func (m *Mesh) forObjects(ctx context.Context, named []Permission) ([]Permission, error) {
	var out []Permission
	for _, r := range m.opts.Objects {
		resource, known, err := m.objects.Resource(ctx, r)
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		for _, verb := range toApply() {
			p := Permission{Verb: verb, Group: resource.Group, Resource: resource.Resource, Namespace: r.Namespace}
			if !slices.Contains(named, p) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// Missing are the permissions that this user does not have, as the API server says: each entry is some verbs on one resource.
func (m *Mesh) Missing(ctx context.Context) ([]string, error) {
	needed := m.Permissions()
	more, err := m.forObjects(ctx, needed)
	if err != nil {
		return nil, err
	}
	needed = append(needed, more...)
	namespaces := m.watched()
	for _, p := range needed {
		if p.Namespace != "" && !slices.Contains(namespaces, p.Namespace) {
			namespaces = append(namespaces, p.Namespace)
		}
	}
	var out []Permission
	for _, ns := range namespaces {
		missing, err := m.missingIn(ctx, ns, needed)
		if err != nil {
			return nil, err
		}
		out = append(out, missing...)
	}
	return grouped(out), nil
}

// missingIn asks for the rules of a namespace once, and for a single permission only where those do not have it.
func (m *Mesh) missingIn(ctx context.Context, namespace string, needed []Permission) ([]Permission, error) {
	review, err := m.objects.Kube.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("permissions in %s: %w", namespace, err)
	}
	var out []Permission
	for _, p := range needed {
		if p.Namespace != namespace && !(p.Namespace == "" && namespace == mesh.RootNamespace) || granted(review.Status.ResourceRules, p) {
			continue
		}
		ok, err := m.may(ctx, p)
		if err != nil {
			return nil, err
		}
		if !ok {
			out = append(out, p)
		}
	}
	return out, nil
}

// granted says whether a rule without names of objects has the permission.
func granted(rules []authorizationv1.ResourceRule, p Permission) bool {
	resource := p.Resource
	if p.Subresource != "" {
		resource += "/" + p.Subresource
	}
	has := func(list []string, want string) bool {
		return slices.Contains(list, "*") || slices.Contains(list, want)
	}
	return slices.ContainsFunc(rules, func(r authorizationv1.ResourceRule) bool {
		return len(r.ResourceNames) == 0 && has(r.Verbs, p.Verb) && has(r.APIGroups, p.Group) && has(r.Resources, resource)
	})
}

func (m *Mesh) may(ctx context.Context, p Permission) (bool, error) {
	review, err := m.objects.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: p.Namespace, Verb: p.Verb, Group: p.Group, Resource: p.Resource, Subresource: p.Subresource,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("permission to %s: %w", p, err)
	}
	return review.Status.Allowed, nil
}

// grouped names permissions, the verbs of one resource together.
func grouped(list []Permission) []string {
	var keys []Permission
	verbs := map[Permission][]string{}
	for _, p := range list {
		key := p
		key.Verb = ""
		if verbs[key] == nil {
			keys = append(keys, key)
		}
		verbs[key] = append(verbs[key], p.Verb)
	}
	out := make([]string, len(keys))
	for i, key := range keys {
		out[i] = strings.Join(verbs[key], ", ") + key.String()
	}
	return out
}

// Unseen are those of the resources, by their plural names, of which runs make or change objects.
func Unseen(resources []string) []string {
	m := &Mesh{opts: Options{Namespaces: []string{"any", mesh.RootNamespace}}}
	made := []string{"namespaces"}
	for _, p := range m.Permissions() {
		if p.Verb == "patch" {
			made = append(made, p.Resource)
		}
	}
	return slices.DeleteFunc(slices.Clone(resources), func(r string) bool { return !slices.Contains(made, r) })
}
