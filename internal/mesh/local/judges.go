package local

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"squall/internal/mesh"
)

// onCluster is the hint for what has no replacement.
const onCluster = "remove it, or run on a cluster"

// only takes some values of a scalar.
func only(hint string, allowed ...any) judge {
	return func(v any) (string, string) {
		if slices.Contains(allowed, v) {
			return "", ""
		}
		return fmt.Sprintf("the local mesh cannot honour %v", v), hint
	}
}

// never takes no value but those that say the same as leaving the field out: false, 0, "", an empty list or map.
func never(what, hint string) judge {
	return func(v any) (string, string) {
		if r := reflect.ValueOf(v); r.IsZero() || (r.Kind() == reflect.Map || r.Kind() == reflect.Slice) && r.Len() == 0 {
			return "", ""
		}
		return what, hint
	}
}

// refuse takes no value at all.
func refuse(what, hint string) judge { return func(any) (string, string) { return what, hint } }

// isString takes text.
func isString(v any) (string, string) {
	if _, ok := v.(string); ok {
		return "", ""
	}
	return fmt.Sprintf("is %v and has to be a string", v), "put it in quotes"
}

// onlyEmptyDir takes a volume that is an emptyDir.
func onlyEmptyDir(v any) (string, string) {
	m, _ := v.(map[string]any)
	for _, name := range sortedKeys(m) {
		if name != "name" && name != "emptyDir" && m[name] != nil {
			return "the local mesh has no volumes of " + name, "hand the values over in env or envFrom, or run on a cluster"
		}
	}
	return "", ""
}

// fieldPath takes the fields that fieldRef knows.
func fieldPath(v any) (string, string) {
	s, _ := v.(string)
	if _, _, ok := metadataKey(s); ok {
		return "", ""
	}
	if _, ok := podFields()[s]; ok {
		return "", ""
	}
	return "the local mesh does not know the field " + s, "use one of " + strings.Join(sortedKeys(podFields()), ", ")
}

// proxyConfig takes a proxy.istio.io/config that only says which stats are kept.
func proxyConfig(v any) (string, string) {
	const hint = "remove it, or leave only proxyStatsMatcher"
	s, _ := v.(string)
	var config map[string]any
	if err := yaml.Unmarshal([]byte(s), &config); err != nil {
		return "not YAML: " + err.Error(), hint
	}
	for _, name := range sortedKeys(config) {
		if name != "proxyStatsMatcher" {
			return "the local mesh starts proxies without " + name, hint
		}
	}
	return "", ""
}

// injectorAnnotation reports whether only Istio's injector and agent read the annotation.
func injectorAnnotation(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	return slices.Contains([]string{"sidecar.istio.io", "traffic.sidecar.istio.io", "inject.istio.io", "ambient.istio.io"}, domain)
}

// proxyAnnotations are annotations of Istio's injector that are honoured or without meaning.
func proxyAnnotations() []string {
	return []string{
		"sidecar.istio.io/inject", mesh.TemplatesAnnotation, // honoured
		"sidecar.istio.io/statsInclusionPrefixes", "sidecar.istio.io/statsInclusionRegexps", "sidecar.istio.io/statsInclusionSuffixes",
		"sidecar.istio.io/proxyCPU", "sidecar.istio.io/proxyMemory", // what the scheduler reserves
		"sidecar.istio.io/rewriteAppHTTPProbers", // probes go to the program itself here
	}
}
