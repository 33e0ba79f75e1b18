package step

import (
	"fmt"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/gatewayapi"
)

// Refusal is a field of an Istio object that does not do what it says.
type Refusal struct {
	Path, What, Hint string
}

// Refuse says what in the spec of an object Istio does not know, or takes and does not honour, so that it would change
// nothing: names from before that are gone, and fields that pilot reads over. Old versions of the API and old names that it
// does honour, such as delay.percent, are no refusals. Of others an HTTPRoute of the Gateway API has some.
func Refuse(u *unstructured.Unstructured) []Refusal {
	var out []Refusal
	for _, r := range gatewayapi.Refuse(u) {
		out = append(out, Refusal(r))
	}
	walk("spec", specOf(u), func(path, name string, value map[string]any) {
		out = append(out, ignored(u.GetKind(), path, name, value)...)
	})
	if what := decodeStrictly(u); what != "" && len(out) == 0 {
		out = append(out, Refusal{placeOf(u, what), what, ""})
	}
	slices.SortFunc(out, func(a, b Refusal) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return out
}

// walk visits the maps below a value with their paths and the fields that hold them.
func walk(path string, value any, visit func(path, name string, value map[string]any)) {
	walkNamed(path, path, value, visit)
}

func walkNamed(path, name string, value any, visit func(path, name string, value map[string]any)) {
	switch v := value.(type) {
	case map[string]any:
		visit(path, name, v)
		for _, field := range sortedKeys(v) {
			walkNamed(path+"."+field, field, v[field], visit)
		}
	case []any:
		for i, item := range v {
			walkNamed(fmt.Sprintf("%s[%d]", path, i), name, item, visit)
		}
	}
}

// ignored says what of one map, held by a field of that name, Istio does not honour.
func ignored(kind, path, name string, m map[string]any) (out []Refusal) {
	refuse := func(field, what, hint string) { out = append(out, Refusal{path + "." + field, what, hint}) }
	switch {
	case kind == "DestinationRule" && name == "outlierDetection":
		if m["consecutiveErrors"] != nil {
			refuse("consecutiveErrors", "Istio takes this old name and ignores it, so that pods are ejected after Envoy's 5 errors whatever it says",
				fmt.Sprintf("write consecutive5xxErrors: %v", m["consecutiveErrors"]))
		}
		if m["consecutiveLocalOriginFailures"] != nil && m["splitExternalLocalOriginErrors"] != true {
			refuse("consecutiveLocalOriginFailures", "is ignored without splitExternalLocalOriginErrors", "write splitExternalLocalOriginErrors: true beside it")
		}
	case kind == "VirtualService" && name == "abort" && isFault(path):
		if m["http2Error"] != nil {
			refuse("http2Error", "Istio takes this field, but injects nothing", "write httpStatus: 503, or grpcStatus: UNAVAILABLE for gRPC")
		}
		if m["percent"] != nil {
			refuse("percent", "is no field of abort any more", fmt.Sprintf("write percentage: {value: %v}", m["percent"]))
		} else if m["percentage"] == nil {
			out = append(out, Refusal{path, "has no percentage, and then Istio aborts no request", "write percentage: {value: 100}"})
		}
	case kind == "VirtualService" && name == "delay" && isFault(path):
		if m["exponentialDelay"] != nil {
			refuse("exponentialDelay", "Istio takes this field, but injects nothing", "write fixedDelay")
		}
		if m["percent"] == nil && m["percentage"] == nil {
			out = append(out, Refusal{path, "has no percentage, and then Istio delays no request", "write percentage: {value: 100}"})
		}
	case kind == "Gateway" && name == "port" && m["targetPort"] != nil:
		refuse("targetPort", "Istio takes this old field and ignores it", "the gateway's Service says which port of the pod it is")
	}
	return out
}

func isFault(path string) bool {
	return regexp.MustCompile(`\.fault\.(abort|delay)$`).MatchString(path)
}

// placeOf is the path of the field that a message about an unknown one names, as far as it can be found.
func placeOf(u *unstructured.Unstructured, what string) string {
	named := regexp.MustCompile(`(?:unknown field|field) "?([A-Za-z0-9_]+)"?`).FindStringSubmatch(what)
	found := "spec"
	if named == nil {
		return found
	}
	walk("spec", specOf(u), func(path, _ string, value map[string]any) {
		if _, ok := value[named[1]]; ok && found == "spec" {
			found = path + "." + named[1]
		}
	})
	return found
}
