package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
)

// istiodSelector finds istiod's pods, of whatever revision.
const istiodSelector = "app=istiod"

// istioMinor are the minor versions of Istio 1 that Squall knows.
const oldestIstio, newestIstio = 24, 31

const preflightWithin = 15 * time.Second

// preflight says what keeps a run from starting on the cluster.
func (m *Mesh) preflight(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, preflightWithin, fmt.Errorf("no answer within %s", preflightWithin))
	defer cancel()
	server, err := m.objects.Kube.Discovery().ServerVersion()
	if err != nil {
		return unreachable(m.opts.Config.Host, err)
	}
	m.note("kubernetes", server.GitVersion)
	missing, err := m.Missing(ctx)
	if err != nil {
		return unreachable(m.opts.Config.Host, err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("this user may not %s: ask for a role with these", strings.Join(missing, ", "))
	}
	if err := m.istio(ctx); err != nil {
		return err
	}
	return m.injected(ctx)
}

func (m *Mesh) note(what, version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions[what] = version
}

// unreachable explains why the API does not answer.
func unreachable(host string, err error) error {
	var op *net.OpError
	var u *url.Error
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server at %s does not accept this user: %w; log in again, or give another --context", host, err)
	case errors.As(err, &op), errors.As(err, &u):
		return fmt.Errorf("the API server at %s does not answer: %w; is the cluster running, and is it the right --context?", host, err)
	default:
		return fmt.Errorf("the API server at %s: %w", host, err)
	}
}

// istio looks whether istiod is ready and of a version that Squall knows.
func (m *Mesh) istio(ctx context.Context) error {
	list, err := m.objects.Kube.CoreV1().Pods(mesh.RootNamespace).List(ctx, metav1.ListOptions{LabelSelector: istiodSelector})
	if err != nil {
		return fmt.Errorf("pods of istiod: %w", err)
	}
	if len(list.Items) == 0 {
		return fmt.Errorf("there is no istiod in %s: install Istio, for example with 'istioctl install'", mesh.RootNamespace)
	}
	i := slices.IndexFunc(list.Items, func(p corev1.Pod) bool { return mesh.IsReady(&p) })
	if i < 0 {
		return fmt.Errorf("no pod of istiod is ready: 'kubectl -n %s describe pod -l %s' says why", mesh.RootNamespace, istiodSelector)
	}
	p := &list.Items[i]
	body, err := m.ask(ctx, key{p.Namespace, p.Name}, debugPort, "GET", "/version")
	if err != nil {
		return fmt.Errorf("version of istiod: %w", err)
	}
	version := strings.TrimSpace(string(body))
	if c := p.Spec.Containers; len(c) > 0 {
		if tag := mesh.ImageTag(c[0].Image); tag != "" {
			version = tag
		}
	}
	m.note("istiod", version)
	return known(version)
}

// known refuses versions of Istio that Squall does not know. One that names no release is taken.
func known(version string) error {
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n < 2 {
		return nil
	}
	if major == 1 && minor >= oldestIstio && minor <= newestIstio {
		return nil
	}
	return fmt.Errorf("Istio is %s, and Squall knows 1.%d to 1.%d", version, oldestIstio, newestIstio) //nolint:staticcheck // a name
}

// injected refuses namespaces that are there and do not inject sidecars. Those that are not there Squall makes, with injection.
func (m *Mesh) injected(ctx context.Context) error {
	for _, name := range m.opts.Namespaces {
		ns, err := m.objects.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		switch {
		case name == mesh.RootNamespace:
			continue
		case apierrors.IsNotFound(err):
			if err := m.mayMake(ctx); err != nil {
				return fmt.Errorf("namespace %s: %w", name, err)
			}
		case err != nil:
			return fmt.Errorf("namespace %s: %w", name, err)
		default:
			if err := injects(ns); err != nil {
				return err
			}
		}
	}
	return nil
}

// injects refuses a namespace whose pods get no sidecars, or that somebody else deletes.
func injects(ns *corev1.Namespace) error {
	switch {
	case ns.DeletionTimestamp != nil && ns.Labels[mesh.ManagedByLabel] == mesh.FieldManager:
		return nil // it is waited for
	case ns.DeletionTimestamp != nil:
		return fmt.Errorf("namespace %s is being deleted: try again when it is gone", ns.Name)
	case ns.Labels["istio-injection"] != "enabled" && ns.Labels["istio.io/rev"] == "":
		return fmt.Errorf("namespace %s does not inject sidecars: 'kubectl label namespace %s istio-injection=enabled', or give another one", ns.Name, ns.Name)
	}
	return nil
}

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

// Permissions are all that a run needs.
func (m *Mesh) Permissions() []Permission {
	out := []Permission{{Verb: "get", Resource: "namespaces"}}
	add := func(ns, group, resource, sub string, verbs ...string) {
		for _, v := range verbs {
			out = append(out, Permission{v, group, resource, sub, ns})
		}
	}
	for _, ns := range m.watched() {
		add(ns, "", "pods", "", "list", "watch")
		add(ns, "", "pods", "portforward", "get", "create") // by WebSocket, and by SPDY
		if !slices.Contains(m.opts.Namespaces, ns) {
			continue
		}
		add(ns, "", "pods", "log", "get")
		add(ns, "", "services", "", "list")
		for _, r := range []string{"services", "serviceaccounts", "configmaps", "secrets"} {
			add(ns, "", r, "", "get", "patch", "create", "delete")
		}
		add(ns, "discovery.k8s.io", "endpointslices", "", "list")
		add(ns, "apps", "deployments", "", "list", "watch", "patch", "create", "update", "delete")
		for _, r := range []string{"virtualservices", "destinationrules", "gateways", "envoyfilters", "sidecars", "serviceentries"} {
			add(ns, "networking.istio.io", r, "", "get", "patch", "create", "update", "delete")
		}
		for _, r := range []string{"peerauthentications", "requestauthentications", "authorizationpolicies"} {
			add(ns, "security.istio.io", r, "", "get", "patch", "create", "update", "delete")
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
		out = append(out, Permission{"get", "apps", "deployments", "", ns})
		for _, kind := range m.opts.Actions {
			switch kind {
			case "kill":
				out = append(out, Permission{"delete", "", "pods", "", ns})
			case "evict":
				out = append(out, Permission{"create", "", "pods", "eviction", ns})
			case "rollout":
				out = append(out, Permission{"list", "apps", "replicasets", "", ns})
			case "partition":
				for _, verb := range []string{"get", "patch", "create", "update", "delete"} {
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

// Missing are the permissions that this user does not have, as the API server says: each entry is some verbs on one resource.
func (m *Mesh) Missing(ctx context.Context) ([]string, error) {
	var out []Permission
	for _, ns := range m.watched() {
		missing, err := m.missingIn(ctx, ns)
		if err != nil {
			return nil, err
		}
		out = append(out, missing...)
	}
	return grouped(out), nil
}

// missingIn asks for the rules of a namespace once, and for a single permission only where those do not have it.
func (m *Mesh) missingIn(ctx context.Context, namespace string) ([]Permission, error) {
	review, err := m.objects.Kube.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("permissions in %s: %w", namespace, err)
	}
	var out []Permission
	for _, p := range m.Permissions() {
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
