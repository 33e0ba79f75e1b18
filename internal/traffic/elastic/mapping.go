package elastic

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"squall/internal/traffic"
)

// mappingVersion is of the fields below. Indices with other ones are refused.
const mappingVersion = 1

// fields are the types of a document's fields. Others are kept and not searched.
func fields() map[string]string {
	const keyword, long = "keyword", "long"
	return map[string]string{
		"@timestamp": "date_nanos", "ecs.version": keyword,
		"event.id": keyword, "event.kind": keyword, "event.category": keyword, "event.type": keyword, "event.dataset": keyword, "event.duration": long, "event.outcome": keyword,
		"http.version": keyword, "http.request.id": keyword, "http.request.method": keyword, "http.request.body.bytes": long,
		"http.response.status_code": "short", "http.response.body.bytes": long,
		"url.original": keyword, "url.domain": keyword, "url.scheme": keyword, "user_agent.original": keyword, "trace.id": keyword,
		"network.protocol": keyword, "network.transport": keyword,
		"source.address": keyword, "source.ip": "ip", "source.port": "integer", "source.bytes": long,
		"destination.address": keyword, "destination.ip": "ip", "destination.port": "integer", "destination.bytes": long,
		"service.origin.name": keyword, "service.origin.version": keyword, "service.target.name": keyword, "service.target.version": keyword,
		"istio.reporter": keyword, "istio.source.namespace": keyword, "istio.source.workload": keyword, "istio.source.pod": keyword, "istio.source.principal": keyword,
		"istio.destination.namespace": keyword, "istio.destination.workload": keyword, "istio.destination.pod": keyword,
		"envoy.response_flags": keyword, "envoy.response_code_details": keyword, "envoy.route_name": keyword, "envoy.upstream_cluster": keyword,
		"envoy.attempts": "integer", "envoy.upstream_duration": long, "envoy.first_byte_duration": long,
		"squall.run": keyword, "squall.stage": keyword, "squall.interface": keyword, "squall.failed": "boolean", "squall.flags": keyword,
		"squall.protocol": keyword, "squall.hash": long, "squall.bucket": "short",
	}
}

// searched are the fields with an index of their own. The others are aggregated and sorted by, and searched slowly, by their columns.
func searched() []string {
	return []string{
		"@timestamp", "event.duration", "event.dataset", "http.request.id", "http.request.method", "http.response.status_code", "url.original", "trace.id",
		"istio.reporter", "istio.source.namespace", "istio.source.workload", "istio.destination.namespace", "istio.destination.workload",
		"service.target.name", "service.target.version", "envoy.response_flags", "squall.run", "squall.stage", "squall.interface", "squall.failed",
	}
}

// nested makes the tree of a mapping's properties.
func nested(flat map[string]string) map[string]any {
	root := map[string]any{}
	for name, kind := range flat {
		at := root
		parts := strings.Split(name, ".")
		for _, part := range parts[:len(parts)-1] {
			next, ok := at[part].(map[string]any)
			if !ok {
				next = map[string]any{"properties": map[string]any{}}
				at[part] = next
			}
			at, _ = next["properties"].(map[string]any)
		}
		field := map[string]any{"type": kind}
		if !slices.Contains(searched(), name) {
			field["index"] = false
		}
		at[parts[len(parts)-1]] = field
	}
	return root
}

// flatten is the opposite of nested: the types of all fields of a mapping.
func flatten(properties map[string]any, prefix string, into map[string]string) {
	for name, v := range properties {
		field, _ := v.(map[string]any)
		if kind, ok := field["type"].(string); ok {
			into[prefix+name] = kind
		}
		if below, ok := field["properties"].(map[string]any); ok {
			flatten(below, prefix+name+".", into)
		}
	}
}

// template is the index template.
func template(prefix string) map[string]any {
	return map[string]any{
		"index_patterns": []string{prefix + "-*"}, "priority": 500,
		"_meta": map[string]any{"owner": "squall", "version": mappingVersion},
		"template": map[string]any{
			"settings": map[string]any{"index": map[string]any{
				"number_of_shards": 1, "auto_expand_replicas": "0-1", // no refresh_interval: an index that nobody searches then is not refreshed
				"sort": map[string]any{"field": []string{"@timestamp"}, "order": []string{"desc"}}, // a page of the newest then reads no more than it shows
			}},
			"mappings": map[string]any{
				"dynamic": false, "_meta": map[string]any{"owner": "squall", "version": mappingVersion, "ecs": traffic.ECSVersion}, "properties": nested(fields()),
			},
		},
	}
}

// differences are what another mapping has that this one has not, and the other way round, sorted.
func differences(properties map[string]any) []string {
	got := map[string]string{}
	flatten(properties, "", got)
	var out []string
	want := fields()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		switch kind, ok := got[name]; {
		case !ok:
			out = append(out, fmt.Sprintf("%s is missing", name))
		case kind != want[name]:
			out = append(out, fmt.Sprintf("%s is a %s, not a %s", name, kind, want[name]))
		}
	}
	return out
}
