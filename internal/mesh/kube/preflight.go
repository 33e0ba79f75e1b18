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
