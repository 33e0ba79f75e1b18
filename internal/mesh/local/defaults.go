package local

import (
	"context"
	"encoding/json"

	"squall/internal/mesh"
)

// createDefaults makes the objects that an Istio installation brings: the root namespace, the node, and the filter that makes
// proxies tell their callers the request id, which joins a call with its access log entries.
func (m *Mesh) createDefaults(ctx context.Context) error {
	for _, o := range []object{
		{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": mesh.RootNamespace}},
		{"apiVersion": "v1", "kind": "Node", "metadata": object{"name": nodeName, "labels": object{
			"kubernetes.io/hostname": nodeName, "topology.kubernetes.io/region": "local", "topology.kubernetes.io/zone": "local",
		}}},
		requestIDFilter(),
	} {
		if _, err := m.objects.Apply(ctx, mesh.Literal(o)); err != nil {
			return err
		}
	}
	return nil
}

func requestIDFilter() object {
	return mesh.Instrument("squall-request-id", mesh.RootNamespace, nil, map[string]map[string]any{"SIDECAR_OUTBOUND": mesh.RequestID(), "GATEWAY": mesh.RequestID()}).Object
}

// mustJSON encodes a literal of this package.
func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a literal of strings, numbers and booleans can be encoded
	}
	return string(b)
}
