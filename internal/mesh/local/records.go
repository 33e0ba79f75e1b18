package local

import (
	"context"
	"net"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

var _ mesh.Recorder = (*Mesh)(nil)

// Records listens in the mesh's own block. One filter in the root namespace is for the proxies of all namespaces.
func (m *Mesh) Records(ctx context.Context, _ []string) (net.Listener, []*unstructured.Unstructured, error) {
	l, err := m.block.listen(ctx, recordsPort)
	if err != nil {
		return nil, nil, err
	}
	host, text, err := net.SplitHostPort(m.block.control(recordsPort))
	if err != nil {
		return nil, nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, nil, err
	}
	filter := mesh.RecordsFilter(mesh.RootNamespace, nil, "STATIC", map[string]any{"address": host, "port_value": port})
	return l, []*unstructured.Unstructured{filter}, nil
}
