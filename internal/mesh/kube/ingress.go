package kube

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

// BringIngress makes the ingress gateway on kind's cluster, where it stays for the next run. On another cluster it has to be there.
func (m *Mesh) BringIngress(ctx context.Context) error {
	if m.opts.Name != kindName {
		return m.needIngress(ctx)
	}
	objects := append(ingressRole(), mesh.IngressObjects()...)
	for _, u := range objects {
		if err := m.Prepare(u); err != nil {
			return fmt.Errorf("ingress gateway: %w", err)
		}
	}
	return mesh.BringIngress(ctx, m.objects, objects)
}

// needIngress refuses a cluster without the gateway.
func (m *Mesh) needIngress(ctx context.Context) error {
	ref := mesh.Ref{APIVersion: "v1", Kind: "Service", Namespace: mesh.RootNamespace, Name: mesh.IngressGateway}
	had, err := m.objects.Get(ctx, ref)
	if err == nil && had == nil {
		err = fmt.Errorf("the scenario calls the ingress gateway, and the cluster has no %s: install it with 'istioctl install', or Istio's chart of a gateway", ref)
	}
	return err
}

// ingressRole lets the gateway's proxy have the certificates that Gateways name: istiod asks the API whether it may.
func ingressRole() []*unstructured.Unstructured {
	meta := map[string]any{"name": mesh.IngressGateway + "-sds", "namespace": mesh.RootNamespace}
	return []*unstructured.Unstructured{
		mesh.Literal(map[string]any{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta,
			"rules": []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"secrets"}, "verbs": []any{"get", "watch", "list"}}},
		}),
		mesh.Literal(map[string]any{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": mesh.IngressGateway + "-sds"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": mesh.IngressGateway, "namespace": mesh.RootNamespace}},
		}),
	}
}
