package mesh

import (
	"context"
	"net"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Recorder is an Env whose proxies can send their access logs to Squall by Envoy's access log service.
type Recorder interface {
	// Records returns where the proxies' streams come in, and the objects that make all proxies of the namespaces send theirs there. The
	// objects are to be applied before the workloads. Closing the listener is the caller's.
	Records(ctx context.Context, namespaces []string) (net.Listener, []*unstructured.Unstructured, error)
}

const (
	recordsName = "squall-records" // of the filter, and of Envoy's cluster that leads to the listener

	// recordsFlush is how long a proxy keeps entries for others, in place of Envoy's second: the end of a phase waits for it.
	recordsFlush = "0.05s"
)

// RecordsFilter makes the proxies of a namespace, all or those with the labels, write their access logs of HTTP and of TCP to an access log
// service beside what they write otherwise. Address is Envoy's; discovery is STATIC for an IP and STRICT_DNS for a name. The cluster is the
// filter's own, so that no rule of the mesh concerns it.
func RecordsFilter(namespace string, selector map[string]string, discovery string, address map[string]any) *unstructured.Unstructured {
	var patches []any
	for _, where := range []string{"SIDECAR_OUTBOUND", "GATEWAY"} {
		patches = append(patches, map[string]any{
			"applyTo": "CLUSTER", "match": map[string]any{"context": where},
			"patch": map[string]any{"operation": "ADD", "value": recordsCluster(discovery, address)},
		})
	}
	for _, where := range []string{"SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"} {
		patches = append(patches, logsOf(where, httpManager, "http_connection_manager.v3.HttpConnectionManager", "Http"),
			logsOf(where, "envoy.filters.network.tcp_proxy", "tcp_proxy.v3.TcpProxy", "Tcp"))
	}
	spec := map[string]any{"configPatches": patches}
	if len(selector) > 0 {
		spec["workloadSelector"] = map[string]any{"labels": selector}
	}
	return Literal(map[string]any{
		"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
		"metadata": map[string]any{"name": recordsName, "namespace": namespace}, "spec": spec,
	})
}

func recordsCluster(discovery string, address map[string]any) map[string]any {
	const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	return map[string]any{
		"name": recordsName, "type": discovery, "connect_timeout": "5s",
		"typed_extension_protocol_options": map[string]any{options: map[string]any{
			"@type": "type.googleapis.com/" + options, "explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
		}},
		"load_assignment": map[string]any{"cluster_name": recordsName, "endpoints": []any{map[string]any{
			"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": map[string]any{"socket_address": address}}}},
		}}},
	}
}

// logsOf merges an access logger into a network filter.
func logsOf(where, filter, kind, protocol string) map[string]any {
	config := map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3." + protocol + "GrpcAccessLogConfig",
		"common_config": map[string]any{
			"log_name": recordsName, "transport_api_version": "V3", "buffer_flush_interval": recordsFlush,
			"grpc_service": map[string]any{"envoy_grpc": map[string]any{"cluster_name": recordsName}},
		},
	}
	if protocol == "Http" {
		config["additional_request_headers_to_log"] = []any{"traceparent", "x-b3-traceid"}
	}
	return map[string]any{
		"applyTo": "NETWORK_FILTER",
		"match":   map[string]any{"context": where, "listener": map[string]any{"filterChain": map[string]any{"filter": map[string]any{"name": filter}}}},
		"patch": map[string]any{"operation": "MERGE", "value": map[string]any{"typed_config": map[string]any{
			"@type":      "type.googleapis.com/envoy.extensions.filters.network." + kind,
			"access_log": []any{map[string]any{"name": "envoy.access_loggers." + protocol + "_grpc", "typed_config": config}},
		}}},
	}
}
