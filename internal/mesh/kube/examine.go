package kube

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
)

// Finding is one thing that a run needs of a cluster, and how it is there.
type Finding struct {
	Name   string
	Err    error  // nil when it is as it should be
	Detail string // when it is
}

// Examine looks at all that a run needs of the cluster, and changes nothing. What cannot be looked at, since something before it is
// missing, is left out.
func (m *Mesh) Examine(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeoutCause(ctx, preflightWithin, fmt.Errorf("no answer within %s", preflightWithin))
	defer cancel()
	host := m.opts.Config.Host
	server, err := m.objects.Kube.Discovery().ServerVersion()
	if err != nil {
		return []Finding{{Name: "API", Err: unreachable(host, err)}}
	}
	out := []Finding{{Name: "API", Detail: fmt.Sprintf("Kubernetes %s at %s", server.GitVersion, host)}}
	missing, err := m.Missing(ctx)
	if err != nil {
		return append(out, Finding{Name: "permissions", Err: unreachable(host, err)})
	}
	for _, p := range missing {
		out = append(out, Finding{Name: "permission", Err: fmt.Errorf("this user may not %s: ask for a role with it", p)})
	}
	if len(missing) == 0 {
		out = append(out, Finding{Name: "permissions", Detail: fmt.Sprintf("all %d that a run needs", len(m.Permissions()))})
	}
	istio := Finding{Name: "Istio", Err: m.istio(ctx)}
	if istio.Err == nil {
		istio.Detail = m.Versions()["istiod"]
	}
	out = append(out, istio)
	for _, name := range m.opts.Namespaces {
		out = append(out, m.examineNamespace(ctx, name))
	}
	return out
}

// examineNamespace says whether runs can be in the namespace.
func (m *Mesh) examineNamespace(ctx context.Context, name string) Finding {
	f := Finding{Name: "namespace " + name}
	ns, err := m.objects.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		f.Detail = "not there: a run makes it, with injection, and deletes it"
		f.Err = m.mayMake(ctx)
		return f
	case err != nil:
		f.Err = err
		return f
	case ns.Labels[mesh.ManagedByLabel] == mesh.FieldManager && ns.Labels[mesh.RunIDLabel] != "":
		f.Detail = fmt.Sprintf("made by run %s, until %s", ns.Labels[mesh.RunIDLabel], ns.Annotations[mesh.ExpiresAnnotation])
		return f
	}
	f.Err = injects(ns)
	f.Detail = "injects sidecars"
	if rev := ns.Labels["istio.io/rev"]; rev != "" {
		f.Detail += " of revision " + rev
	}
	return f
}

// mayMake is an error when this user may make no namespaces.
func (m *Mesh) mayMake(ctx context.Context) error {
	var missing []string
	for _, verb := range toApply() {
		ok, err := m.may(ctx, Permission{Verb: verb, Resource: "namespaces"})
		if err != nil {
			return err
		}
		if !ok {
			missing = append(missing, verb+" namespaces")
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("it is not there, and this user may not %s: have it made, with the label istio-injection=enabled", strings.Join(missing, ", "))
	}
	return nil
}
