package kubeapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	kjson "k8s.io/apimachinery/pkg/util/json"

	"squall/internal/fields"
	"squall/internal/gatewayapi"
)

// istioCRDs are Istio's CustomResourceDefinitions by name, as the module istio.io/api has them, but for this: only the
// first version of each has its schema, which is the same in all. The tests compare the file with the module.
//
//go:embed istio-crds.json
var istioCRDs []byte

// readCRDs reads the embedded CRDs of the resources that are served: Istio's and those of the Gateway API.
func readCRDs(resources []Resource) (map[string]json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(istioCRDs, &all); err != nil {
		return nil, fmt.Errorf("embedded istio-crds.json: %w", err)
	}
	served := map[string]json.RawMessage{}
	for i := range resources {
		name := resources[i].Plural + "." + resources[i].Group
		raw := all[name]
		if raw == nil && resources[i].Group == gatewayapi.Group {
			raw = gatewayapi.CRD(name)
		}
		if raw != nil {
			served[name] = raw
		}
	}
	return served, nil
}

// crdObjects are the CRDs as objects, in order, established since a time.
func crdObjects(crds map[string]json.RawMessage, since string) ([]map[string]any, error) {
	var out []map[string]any
	for _, name := range slices.Sorted(maps.Keys(crds)) {
		var data map[string]any
		if err := kjson.Unmarshal(crds[name], &data); err != nil {
			return nil, fmt.Errorf("embedded CRD %s: %w", name, err)
		}
		spec := fields.Child(data, "spec")
		var shared any
		var stored []any
		for _, v := range list(data, "spec", "versions") {
			version, _ := v.(map[string]any)
			if sc := version["schema"]; sc != nil {
				shared = sc
			}
			version["schema"] = shared
			if version["storage"] == true {
				stored = append(stored, version["name"])
			}
		}
		condition := func(kind, reason string) map[string]any {
			return map[string]any{"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": since}
		}
		data["status"] = map[string]any{
			"acceptedNames":  spec["names"],
			"storedVersions": stored,
			"conditions":     []any{condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")},
		}
		out = append(out, data)
	}
	return out, nil
}
