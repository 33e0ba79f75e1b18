package local

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
)

// environment is what a container's program sees: its env and envFrom, where it has to listen, and PATH and HOME.
func (k *kubelet) environment(ctx context.Context, p *pod) ([]string, error) {
	if p.program.Builtin {
		return nil, nil
	}
	c := p.object.Spec.Containers[0]
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + k.mesh.opts.Dir, "HOST=" + p.ip.String(), "POD_IP=" + p.ip.String()}
	if len(c.Ports) > 0 {
		env = append(env, "PORT="+strconv.Itoa(p.port(c.Ports[0].ContainerPort)))
	}
	for _, from := range c.EnvFrom {
		data, err := k.configMap(ctx, p, from.ConfigMapRef.Name)
		if err != nil {
			return nil, err
		}
		keys := make([]string, 0, len(data))
		for key := range data {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			env = append(env, from.Prefix+key+"="+data[key])
		}
	}
	for _, e := range c.Env {
		v := p.expandEnv(e.Value, env)
		if e.ValueFrom != nil {
			var err error
			if v, err = k.valueFrom(ctx, p, e.ValueFrom); err != nil {
				return nil, fmt.Errorf("env %s of %s: %w", e.Name, p.object.Name, err)
			}
		}
		env = append(env, e.Name+"="+v)
	}
	return env, nil
}

func (p *pod) expandEnv(s string, env []string) string {
	if s == "" {
		return s
	}
	return p.expand(s, env)
}

func (k *kubelet) valueFrom(ctx context.Context, p *pod, from *corev1.EnvVarSource) (string, error) {
	switch {
	case from.ConfigMapKeyRef != nil:
		data, err := k.configMap(ctx, p, from.ConfigMapKeyRef.Name)
		if err != nil {
			return "", err
		}
		v, ok := data[from.ConfigMapKeyRef.Key]
		if !ok && (from.ConfigMapKeyRef.Optional == nil || !*from.ConfigMapKeyRef.Optional) {
			return "", fmt.Errorf("config map %s has no key %s", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key)
		}
		return v, nil
	case from.FieldRef != nil:
		return k.fieldRef(p, from.FieldRef.FieldPath)
	}
	return "", fmt.Errorf("the local mesh knows configMapKeyRef and fieldRef only")
}

func (k *kubelet) fieldRef(p *pod, path string) (string, error) {
	switch path {
	case "metadata.name":
		return p.object.Name, nil
	case "metadata.namespace":
		return p.object.Namespace, nil
	case "spec.serviceAccountName":
		return p.object.Spec.ServiceAccountName, nil
	case "spec.nodeName":
		return nodeName, nil
	case "status.podIP", "status.hostIP":
		return p.ip.String(), nil
	}
	return "", fmt.Errorf("the local mesh does not know the field %s", path)
}

func (k *kubelet) configMap(ctx context.Context, p *pod, name string) (map[string]string, error) {
	cm, err := k.objects.Kube.CoreV1().ConfigMaps(p.object.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("config map %s: %w", name, err)
	}
	return cm.Data, nil
}

// createDefaults makes the objects that an Istio installation brings: the root namespace, the node, and the filter that makes
// proxies tell their callers the request id, which joins a call with its access log entries.
func (m *Mesh) createDefaults(ctx context.Context, objects *mesh.Objects) error {
	for _, o := range []object{
		{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": mesh.RootNamespace}},
		{"apiVersion": "v1", "kind": "Node", "metadata": object{"name": nodeName, "labels": object{
			"kubernetes.io/hostname": nodeName, "topology.kubernetes.io/region": "local", "topology.kubernetes.io/zone": "local",
		}}},
		requestIDFilter(),
	} {
		if _, err := objects.Apply(ctx, &unstructured.Unstructured{Object: normal(o)}); err != nil {
			return err
		}
	}
	return nil
}

func requestIDFilter() object {
	const manager = "envoy.filters.network.http_connection_manager"
	var patches []any
	for _, where := range []string{"SIDECAR_OUTBOUND", "GATEWAY"} {
		patches = append(patches, object{
			"applyTo": "NETWORK_FILTER",
			"match":   object{"context": where, "listener": object{"filterChain": object{"filter": object{"name": manager}}}},
			"patch": object{"operation": "MERGE", "value": object{"typed_config": object{
				"@type":                             "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"always_set_request_id_in_response": true,
			}}},
		})
	}
	return object{
		"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
		"metadata": object{"name": "squall-request-id", "namespace": mesh.RootNamespace},
		"spec":     object{"configPatches": patches},
	}
}

// normal gives a literal the types that decoded JSON has.
func normal(o object) object {
	var out object
	_ = json.Unmarshal([]byte(mustJSON(o)), &out) // what was just encoded can be decoded
	return out
}

// mustJSON encodes a literal of this package.
func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a literal of strings, numbers and booleans can be encoded
	}
	return string(b)
}
