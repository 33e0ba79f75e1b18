package plan

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

// id is what an object is called in every version of its API.
type id struct{ group, kind, namespace, name string }

func idOf(u *unstructured.Unstructured) id {
	k := u.GroupVersionKind().GroupKind()
	return id{k.Group, k.Kind, u.GetNamespace(), u.GetName()}
}

// ownObject is an object that Squall makes for each scenario.
type ownObject struct {
	object *unstructured.Unstructured
	// conflict says what to do about a fixture that has the object too; "" is that the fixture's is as good.
	conflict string
}

// ownObjects are what Squall deploys besides the fixtures.
func ownObjects(s *scenario.Scenario, container map[string]any) []ownObject {
	client := loadClient(s, container)
	return []ownObject{
		{meshPolicy(s), "remove it, and say the mode in spec.mesh.mtls"},
		{client[0], ""},
		{client[1], "it is the load generator: choose another name"},
	}
}

// loadClient is the workload that the load comes from.
func loadClient(s *scenario.Scenario, container map[string]any) []*unstructured.Unstructured {
	ns := s.Spec.Namespace
	podLabels := map[string]any{"app": ClientName}
	for k, v := range s.Spec.Client.Labels {
		podLabels[k] = v
	}
	template := map[string]any{
		"metadata": map[string]any{"labels": podLabels},
		"spec": map[string]any{
			"serviceAccountName": s.Spec.Client.ServiceAccount,
			"containers":         []any{container},
		},
	}
	if !s.Spec.Client.Sidecar {
		template["metadata"].(map[string]any)["annotations"] = map[string]any{"sidecar.istio.io/inject": "false"}
	}
	return []*unstructured.Unstructured{
		{Object: map[string]any{
			"apiVersion": "v1", "kind": "ServiceAccount",
			"metadata": map[string]any{"name": s.Spec.Client.ServiceAccount, "namespace": ns},
		}},
		{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"name": ClientName, "namespace": ns},
			"spec": map[string]any{
				"replicas": int64(mostWorkers(s)), "selector": map[string]any{"matchLabels": map[string]any{"app": ClientName}}, "template": template,
			},
		}},
	}
}

// meshPolicy is the mTLS mode of the scenario's namespace.
func meshPolicy(s *scenario.Scenario) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
		"metadata": map[string]any{"name": "default", "namespace": s.Spec.Namespace},
		"spec":     map[string]any{"mtls": map[string]any{"mode": s.Spec.Mesh.MTLS}},
	}}
}
