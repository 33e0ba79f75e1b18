package local

import (
	"encoding/json"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"squall/internal/mesh"
)

type object = map[string]any

// bootstrap is the configuration that a pod's Envoy starts with: who it is, where istiod and the certificates are, and
// which stats it keeps. All else comes from istiod.
func bootstrap(p *pod, istiod string, unprivileged bool) ([]byte, error) {
	labels := maps.Clone(p.object.Labels)
	if app := labels["app"]; app != "" {
		labels["service.istio.io/canonical-name"] = app
		labels["service.istio.io/canonical-revision"] = versionOf(p.object)
	}
	inclusion := []object{}
	for _, re := range mesh.StatsInclusion() {
		inclusion = append(inclusion, object{"safe_regex": object{"regex": re}})
	}
	listeners, clusters := []object{}, []object{grpcCluster("sds-grpc", object{"pipe": object{"path": p.sdsPath}})}
	if p.isGateway() {
		xds := grpcCluster("xds-grpc", socket(istiod, xdsTLSPort))
		xds["transport_socket"] = istiodTLS()
		listeners, clusters = append(listeners, statusListener(p)), append(clusters, xds, statusCluster(p))
	} else {
		clusters = append(clusters, grpcCluster("xds-grpc", socket(istiod, xdsPort)))
	}
	return json.Marshal(object{
		"node": object{
			"id":      p.nodeType() + "~" + p.ip.String() + "~" + p.object.Name + "." + p.object.Namespace + "~" + p.object.Namespace + ".svc.cluster.local",
			"cluster": p.workload() + "." + p.object.Namespace,
			"metadata": object{
				"INTERCEPTION_MODE": "NONE", "NAMESPACE": p.object.Namespace, "SERVICE_ACCOUNT": p.object.Spec.ServiceAccountName,
				"WORKLOAD_NAME": p.workload(), "CLUSTER_ID": "Kubernetes", "MESH_ID": trustDomain, "ISTIO_VERSION": "1.31.0",
				"POD_NAME": p.object.Name, "NAME": p.object.Name, "INSTANCE_IPS": p.ip.String(), "LABELS": labels,
				"UNPRIVILEGED_POD": strconv.FormatBool(unprivileged),
			},
		},
		// The callee sees the caller's pod address instead of 127.0.0.1, as on a cluster.
		"cluster_manager": object{"upstream_bind_config": object{"source_address": object{"address": p.ip.String(), "port_value": 0}}},
		"admin":           object{"address": socket(p.calls.String(), adminPort)},
		"stats_config":    object{"stats_matcher": object{"inclusion_list": object{"patterns": inclusion}}},
		"layered_runtime": object{"layers": []object{{
			"name": "static",
			"static_layer": object{
				"overload.global_downstream_max_connections": 50000,
				"re2.max_program_size.error_level":           32768,
			},
		}}},
		"dynamic_resources": object{
			"ads_config": object{
				"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": []object{{"envoy_grpc": object{"cluster_name": "xds-grpc"}}},
			},
			"cds_config": adsSource(), "lds_config": adsSource(),
		},
		"static_resources": object{"listeners": listeners, "clusters": clusters},
	})
}

func versionOf(p *corev1.Pod) string {
	if v := p.Labels["version"]; v != "" {
		return v
	}
	return "latest"
}

func socket(address, port any) object {
	return object{"socket_address": object{"address": address, "port_value": port}}
}

func adsSource() object {
	return object{"ads": object{}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
}

func grpcCluster(name string, address object) object {
	const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	c := object{
		"name": name, "type": "STATIC", "connect_timeout": "1s",
		"typed_extension_protocol_options": object{options: object{
			"@type":                "type.googleapis.com/" + options,
			"explicit_http_config": object{"http2_protocol_options": object{}},
		}},
		"load_assignment": object{"cluster_name": name, "endpoints": []object{{
			"lb_endpoints": []object{{"endpoint": object{"address": address}}},
		}}},
	}
	if _, ok := address["pipe"]; !ok {
		c["upstream_bind_config"] = object{"source_address": object{"address": "127.0.0.1", "port_value": 0}}
	}
	return c
}
