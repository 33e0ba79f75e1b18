package mesh

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// AccessLogFormat makes Envoy write record.Access: the keys are that type's, the values Envoy's command operators.
func AccessLogFormat() map[string]any {
	return map[string]any{
		"start": "%START_TIME%", "duration_ms": "%DURATION%", "method": "%REQ(:METHOD)%",
		"path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "authority": "%REQ(:AUTHORITY)%", "code": "%RESPONSE_CODE%",
		"flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%", "route": "%ROUTE_NAME%",
		"upstream_cluster": "%UPSTREAM_CLUSTER_RAW%", "upstream_host": "%UPSTREAM_HOST%",
		"downstream": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "principal": "%DOWNSTREAM_PEER_URI_SAN%",
		"request_id": "%REQ(X-REQUEST-ID)%", "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "bytes_sent": "%BYTES_SENT%",
		"load": "%REQ(X-SQUALL-LOAD)%",
	}
}

// WithFields adds to a format what others want to read of the same lines. What is in both stays as it is, but for the start, which they may
// want more exactly.
func WithFields(format map[string]any, fields map[string]string) map[string]any {
	for name, value := range fields {
		if _, ok := format[name]; !ok || name == "start" {
			format[name] = value
		}
	}
	return format
}

// FineAccessLogFormat is AccessLogFormat with times in microseconds, for calls whose records are made of it. A proxy that is too
// old for it rejects the filter.
func FineAccessLogFormat() map[string]any {
	f := AccessLogFormat()
	f["start"] = "%START_TIME(%Y-%m-%dT%H:%M:%E6SZ)%"
	f["duration_us"] = "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%"
	return f
}

// httpManager is the filter that Instrument changes.
const httpManager = "envoy.filters.network.http_connection_manager"

// Instrument is a filter for the proxies of a namespace, all or those with the labels, that merges settings into the HTTP connection
// managers of the contexts.
func Instrument(name, namespace string, selector map[string]string, settings map[string]map[string]any) *unstructured.Unstructured {
	var patches []any
	for _, where := range []string{"SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"} {
		if settings[where] == nil {
			continue
		}
		config := map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"}
		for k, v := range settings[where] {
			config[k] = v
		}
		patches = append(patches, map[string]any{
			"applyTo": "NETWORK_FILTER",
			"match":   map[string]any{"context": where, "listener": map[string]any{"filterChain": map[string]any{"filter": map[string]any{"name": httpManager}}}},
			"patch":   map[string]any{"operation": "MERGE", "value": map[string]any{"typed_config": config}},
		})
	}
	spec := map[string]any{"configPatches": patches}
	if len(selector) > 0 {
		spec["workloadSelector"] = map[string]any{"labels": selector}
	}
	return Literal(map[string]any{
		"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
		"metadata": map[string]any{"name": name, "namespace": namespace}, "spec": spec,
	})
}

// RequestID makes proxies tell their callers the request id, which joins a call with its access log entries.
func RequestID() map[string]any { return map[string]any{"always_set_request_id_in_response": true} }

// Literal is an object written in the code, with the types that decoded JSON has.
func Literal(o map[string]any) *unstructured.Unstructured {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // a literal of strings, numbers and booleans can be encoded
	}
	var out map[string]any
	_ = json.Unmarshal(b, &out) // what was just encoded can be decoded
	return &unstructured.Unstructured{Object: out}
}
