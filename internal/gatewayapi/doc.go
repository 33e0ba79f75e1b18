// Package gatewayapi knows the Gateway API as far as a mesh of sidecars has it (GAMMA): its CRDs, in the version that the pinned
// Istio reads, and what istiod makes of an HTTPRoute whose parent is a Service: a VirtualService. It only computes.
package gatewayapi

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	kjson "k8s.io/apimachinery/pkg/util/json"

	"squall/internal/fields"
)

// Group is the API group, and Version the version in which objects are written and stored.
const (
	Group   = "gateway.networking.k8s.io"
	Version = "v1"
)

// Kind is the kind of the routes that Squall reads and writes.
const Kind = "HTTPRoute"

// crds has the CustomResourceDefinitions of the standard channel, a file each, as the module sigs.k8s.io/gateway-api has them, but
// for this: a version has no schema where it is that of the first. The tests compare the files with the module.
//
//go:embed crds/*.json
var crds embed.FS

// CRD is an embedded CustomResourceDefinition by its name, nil when there is none. Versions have no schema of their own where it is
// that of the first.
func CRD(name string) []byte {
	data, err := fs.ReadFile(crds, "crds/"+name+".json")
	if err != nil {
		return nil
	}
	return data
}

// CRDs are the definitions as the module has them, to apply to a cluster, in the order of their names.
func CRDs() ([]map[string]any, error) {
	files, err := fs.ReadDir(crds, "crds")
	if err != nil {
		return nil, fmt.Errorf("embedded CRDs: %w", err)
	}
	var out []map[string]any
	for _, f := range files {
		var crd map[string]any
		if err := kjson.Unmarshal(CRD(strings.TrimSuffix(f.Name(), ".json")), &crd); err != nil {
			return nil, fmt.Errorf("embedded CRD %s: %w", f.Name(), err)
		}
		var first any
		for i, v := range fields.Maps(mapOf(crd["spec"]), "versions") {
			switch {
			case i == 0:
				first = v["schema"]
			case v["schema"] == nil:
				v["schema"] = first
			}
		}
		out = append(out, crd)
	}
	return out, nil
}
