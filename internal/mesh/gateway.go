package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"squall/internal/record"
)

// IngressGateway is the gateway that Istio's installation brings in RootNamespace: its Deployment, Service and ServiceAccount.
const IngressGateway = "istio-ingressgateway"

// The annotation and its value by which Istio's injector makes a pod a gateway.
const (
	TemplatesAnnotation = "inject.istio.io/templates"
	GatewayTemplate     = "gateway"
)

// AutoImage is the image of a gateway's only container, in whose place the injector puts the proxy.
const AutoImage = "auto"

// Ingress is an Env that has no ingress gateway until somebody asks for it.
type Ingress interface {
	// BringIngress makes the objects of the ingress gateway, unless they are there. Its pod is ready when the Deployment is.
	BringIngress(ctx context.Context) error
}

// IngressLabels are the labels of the ingress gateway's pods.
func IngressLabels() map[string]string {
	return map[string]string{"app": IngressGateway, "istio": "ingressgateway"}
}

// IngressService is the ingress gateway's Service, as Istio's installation brings it.
func IngressService() *unstructured.Unstructured {
	port := func(name string, port, target int64) any {
		return map[string]any{"name": name, "port": port, "targetPort": target, "protocol": "TCP"}
	}
	selector, meta := map[string]any{}, map[string]any{}
	for k, v := range IngressLabels() {
		selector[k], meta[k] = v, v
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": IngressGateway, "namespace": RootNamespace, "labels": meta},
		"spec": map[string]any{
			"type": "LoadBalancer", "selector": selector,
			"ports": []any{port("status-port", 15021, 15021), port("http2", 80, 8080), port("https", 443, 8443)},
		},
	}}
}

// IngressObjects are the ingress gateway's ServiceAccount, Service and Deployment, as Istio's chart of a gateway makes them: the injector
// puts a proxy in the place of the only container.
func IngressObjects() []*unstructured.Unstructured {
	meta := map[string]any{"name": IngressGateway, "namespace": RootNamespace}
	l := IngressLabels()
	pod := IngressLabels()
	pod["sidecar.istio.io/inject"] = "true"
	port := func(name string, port int) any { return map[string]any{"name": name, "containerPort": port} }
	return []*unstructured.Unstructured{
		Literal(map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
		IngressService(),
		Literal(map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"name": IngressGateway, "namespace": RootNamespace, "labels": l},
			"spec": map[string]any{
				"selector": map[string]any{"matchLabels": l},
				"template": map[string]any{
					"metadata": map[string]any{"labels": pod, "annotations": map[string]any{TemplatesAnnotation: GatewayTemplate}},
					"spec": map[string]any{
						"serviceAccountName": IngressGateway,
						"containers": []any{map[string]any{
							"name": "istio-proxy", "image": AutoImage,
							"ports": []any{port("http2", 8080), port("https", 8443), port("status-port", 15021)},
						}},
					},
				},
			},
		}),
	}
}

// BringIngress applies those of the objects that are not there. One that is there stays as it is.
func BringIngress(ctx context.Context, o *Objects, objects []*unstructured.Unstructured) error {
	for _, u := range objects {
		had, err := o.Get(ctx, RefOf(u))
		if err == nil && had == nil {
			_, err = o.Apply(ctx, u)
		}
		if err != nil {
			return fmt.Errorf("ingress gateway: %w", err)
		}
	}
	return nil
}

// isGateway reports whether the pod is nothing but a proxy: injected as one, or started as Istio's installation starts it.
func isGateway(p *corev1.Pod) bool {
	return p.Annotations[TemplatesAnnotation] == GatewayTemplate || slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool {
		return len(c.Args) > 1 && c.Args[0] == "proxy" && c.Args[1] == "router"
	})
}

// Followers are those of the proxies that follow an object: of a VirtualService, the sidecars where it is for the mesh, and the
// gateways that a Gateway it names selects. Every proxy follows an object of another kind.
func Followers(ctx context.Context, o *Objects, u *unstructured.Unstructured, proxies []record.Proxy) ([]record.Proxy, error) {
	if u.GetKind() != "VirtualService" {
		return proxies, nil
	}
	names, _, err := unstructured.NestedStringSlice(u.Object, "spec", "gateways")
	if err != nil {
		return nil, fmt.Errorf("gateways of VirtualService %s: %w", u.GetName(), err)
	}
	if len(names) == 0 {
		names = []string{"mesh"}
	}
	var selectors []labels.Selector
	for _, name := range names {
		if name == "mesh" {
			continue
		}
		ref := Ref{APIVersion: "networking.istio.io/v1", Kind: "Gateway", Namespace: u.GetNamespace(), Name: name}
		if ns, short, ok := strings.Cut(name, "/"); ok {
			ref.Namespace, ref.Name = ns, short
		}
		g, err := o.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		if g == nil {
			continue // it may come later; nobody follows it until then
		}
		set, _, err := unstructured.NestedStringMap(g.Object, "spec", "selector")
		if err != nil {
			return nil, fmt.Errorf("selector of %s: %w", ref, err)
		}
		selectors = append(selectors, labels.SelectorFromSet(set))
	}
	return slices.DeleteFunc(slices.Clone(proxies), func(p record.Proxy) bool {
		if !p.Gateway {
			return !slices.Contains(names, "mesh")
		}
		return !slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(labels.Set(p.Labels)) })
	}), nil
}

// IngressAddress is the ip:port at which the ingress gateway takes what its Service takes at that port, "" when the mesh has none.
func IngressAddress(ctx context.Context, o *Objects, port string) (string, error) {
	services, err := o.Kube.CoreV1().Services(RootNamespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + IngressGateway})
	if err != nil {
		return "", fmt.Errorf("service of the ingress gateway: %w", err)
	}
	if len(services.Items) == 0 {
		return "", nil
	}
	return AnyEndpoint(ctx, o, RootNamespace, IngressGateway, port)
}
