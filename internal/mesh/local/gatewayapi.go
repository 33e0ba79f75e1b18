package local

import (
	"fmt"

	"squall/internal/gatewayapi"
)

// gatewayAPI adds the kinds of the Gateway API: routes whose parents are Services are istiod's, and nobody makes a Gateway true.
func gatewayAPI(kinds map[string]kind) {
	for _, name := range []string{"HTTPRoute", "GRPCRoute"} {
		kinds[gatewayapi.Group+"/"+name] = kind{name: name, istio: meshRoute}
	}
	kinds[gatewayapi.Group+"/ReferenceGrant"] = kind{name: "ReferenceGrant", istio: func(*checker, map[string]any) {}}
	for _, name := range []string{"Gateway", "GatewayClass", "ListenerSet"} {
		kinds[gatewayapi.Group+"/"+name] = kind{
			refused: "nobody on the local mesh runs the gateways of the Gateway API", hint: "write an Istio Gateway, as the step gateway does, or run on a cluster",
		}
	}
}

// meshRoute reports the parents of a route that are no Services.
func meshRoute(c *checker, o map[string]any) {
	spec, _ := o["spec"].(map[string]any)
	parents, _ := spec["parentRefs"].([]any)
	for i, p := range parents {
		parent, _ := p.(map[string]any)
		if parent["kind"] != "Service" || parent["group"] != "" {
			c.add(fmt.Sprintf("spec.parentRefs[%d]", i), "is no Service, and the local mesh has nothing else that routes could belong to",
				`write group: "", kind: Service and the Service's name, or run on a cluster`)
		}
	}
}
