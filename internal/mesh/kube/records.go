package kube

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
	"squall/internal/relay"
)

var _ mesh.Recorder = (*Mesh)(nil)

// relayName is the workload that proxies send their access logs to, and its Service.
const relayName = "squall-records"

// The relay's ports: for proxies, and for Squall's port-forward.
const (
	relayFront = 15017
	relayBack  = 15018
)

// Records deploys a relay beside the scenario's workloads, since the cluster cannot reach this process: what proxies send there comes here
// by the port-forward to it.
func (m *Mesh) Records(ctx context.Context, namespaces []string) (net.Listener, []*unstructured.Unstructured, error) {
	home := namespaces[0]
	objects := relayObjects(home)
	address := map[string]any{"address": relayName + "." + home + ".svc.cluster.local", "port_value": relayFront}
	for _, ns := range namespaces {
		var selector map[string]string
		if ns == mesh.RootNamespace {
			selector = mesh.IngressLabels()
		}
		objects = append(objects, mesh.RecordsFilter(ns, selector, "STRICT_DNS", address))
	}
	for _, o := range objects {
		if err := m.Prepare(o); err != nil {
			return nil, nil, fmt.Errorf("relay of access logs: %w", err)
		}
	}
	return relay.Listen(ctx, func(ctx context.Context) (net.Conn, error) { return m.dialRelay(ctx, home) }), objects, nil
}

// dialRelay connects to the relay's pod.
func (m *Mesh) dialRelay(ctx context.Context, namespace string) (net.Conn, error) {
	pods, err := m.objects.PodsOf(ctx, mesh.Workload{Namespace: namespace, Name: relayName})
	if err != nil {
		return nil, err
	}
	for i := range pods {
		if mesh.IsReady(&pods[i]) {
			return m.records.Dial(ctx, key{namespace, pods[i].Name}, relayBack)
		}
	}
	return nil, fmt.Errorf("the relay of access logs is not ready in %s", namespace)
}

// relayObjects are a Service, and a Deployment of the load generator's image without a proxy.
func relayObjects(namespace string) []*unstructured.Unstructured {
	labels := map[string]any{"app": relayName}
	meta := map[string]any{"name": relayName, "namespace": namespace, "labels": labels}
	return []*unstructured.Unstructured{
		mesh.Literal(map[string]any{
			"apiVersion": "v1", "kind": "Service", "metadata": meta,
			"spec": map[string]any{"selector": labels, "ports": []any{map[string]any{"name": "grpc", "port": relayFront, "targetPort": relayFront}}},
		}),
		mesh.Literal(map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
			"spec": map[string]any{
				"replicas": 1, "selector": map[string]any{"matchLabels": labels},
				"template": map[string]any{
					"metadata": map[string]any{
						"labels":      map[string]any{"app": relayName, "sidecar.istio.io/inject": "false"},
						"annotations": map[string]any{"sidecar.istio.io/inject": "false"},
					},
					"spec": map[string]any{"containers": []any{map[string]any{
						"name": "relay", "image": mesh.LoadImage, "ports": []any{map[string]any{"containerPort": relayFront}},
						"args":           []any{"-relay", ":" + strconv.Itoa(relayFront), "-port", strconv.Itoa(relayBack)},
						"readinessProbe": map[string]any{"tcpSocket": map[string]any{"port": relayFront}, "periodSeconds": 1},
					}}},
				},
			},
		}),
	}
}
