package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

// manifest is an object of a fixture with the places of its fields.
type manifest struct {
	object *unstructured.Unstructured
	source scenario.ManifestObject
}

// clusterScoped are the kinds that live in no namespace.
func clusterScoped(kind string) bool {
	return slices.Contains([]string{
		"Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "StorageClass",
		"GatewayClass", "IngressClass", "PriorityClass", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
	}, kind)
}

// order is in which order kinds are applied: what others need comes first.
func order(kind string) int {
	for i, kinds := range [][]string{
		{"Namespace"}, {"ServiceAccount", "ConfigMap", "Secret"}, {"Service"}, {"Deployment", "StatefulSet", "DaemonSet", "Job"},
	} {
		if slices.Contains(kinds, kind) {
			return i
		}
	}
	return 2 // Istio's and all others: before the workloads, so that they start under their rules
}

// loadFixtures reads the objects of the scenario's fixtures, in the order in which they are applied.
func loadFixtures(s *scenario.Scenario, dir string) ([]manifest, error) {
	var out []manifest
	var errs []error
	for i, name := range s.Spec.Fixtures {
		files, err := fixtureFiles(s, dir, name)
		if err != nil {
			errs = append(errs, s.Problem(fmt.Sprintf("spec.fixtures[%d]", i), err.Error(), ""))
			continue
		}
		for _, f := range files {
			objects, err := scenario.LoadManifests(f)
			if err != nil {
				errs = append(errs, err)
			}
			for _, o := range objects {
				out = append(out, newManifest(o, s.Spec.Namespace))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b manifest) int { return order(a.object.GetKind()) - order(b.object.GetKind()) })
	return out, errors.Join(append(errs, duplicates(out))...)
}

func newManifest(o scenario.ManifestObject, namespace string) manifest {
	u := &unstructured.Unstructured{Object: o.Object}
	if u.GetNamespace() == "" && !clusterScoped(u.GetKind()) {
		u.SetNamespace(namespace)
	}
	return manifest{object: u, source: o}
}

func duplicates(list []manifest) error {
	var errs []error
	seen := map[string]scenario.Pos{}
	for _, m := range list {
		key := m.object.GroupVersionKind().GroupKind().String() + " " + m.object.GetNamespace() + "/" + m.object.GetName()
		if first, ok := seen[key]; ok {
			errs = append(errs, m.source.Problem("metadata.name", fmt.Sprintf("%s is already defined at %s", key, first), ""))
			continue
		}
		seen[key] = m.source.At("metadata.name")
	}
	return errors.Join(errs...)
}

// fixtureFiles lists the manifest files of a fixture: those of a folder below dir, or a path relative to the scenario's file.
func fixtureFiles(s *scenario.Scenario, dir, name string) ([]string, error) {
	folder := filepath.Join(dir, name)
	if strings.ContainsAny(name, "/\\") || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		folder = name
		if !filepath.IsAbs(name) {
			folder = filepath.Join(filepath.Dir(s.File), name)
		}
	}
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no such fixture: %s%s", name, scenario.DidYouMean(name, folders(dir)))
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{folder}, nil
	}
	var files []string
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no manifests (*.yaml)", folder)
	}
	slices.Sort(files)
	return files, nil
}

func folders(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}

// loadClient is the workload that the load comes from.
func loadClient(s *scenario.Scenario, image string) []*unstructured.Unstructured {
	ns := s.Spec.Namespace
	podLabels := map[string]any{"app": ClientName}
	for k, v := range s.Spec.Client.Labels {
		podLabels[k] = v
	}
	template := map[string]any{
		"metadata": map[string]any{"labels": podLabels},
		"spec": map[string]any{
			"serviceAccountName": s.Spec.Client.ServiceAccount,
			"containers":         []any{map[string]any{"name": "load", "image": image}},
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
				"replicas": int64(1), "selector": map[string]any{"matchLabels": map[string]any{"app": ClientName}}, "template": template,
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
