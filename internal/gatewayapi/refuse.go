package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"squall/internal/fields"
)

// Refusal is a part of a route that does not do what it says.
type Refusal struct{ Path, What, Hint string }

// Refuse says what of an HTTPRoute for a Service its CRD does not know, and for what istiod would leave the whole route out. Other
// objects and routes of Gateways have no refusals of the latter kind.
func Refuse(u *unstructured.Unstructured) []Refusal {
	if !IsRoute(u) {
		return nil
	}
	out := unknown("spec", mapOf(u.Object["spec"]), routeSchema())
	if len(Parents(u)) == 0 {
		return out
	}
	for i, rule := range fields.Maps(mapOf(u.Object["spec"]), "rules") {
		at := fmt.Sprintf("spec.rules[%d]", i)
		for j, b := range fields.Maps(rule, "backendRefs") {
			out = append(out, refuseBackend(fmt.Sprintf("%s.backendRefs[%d]", at, j), b)...)
		}
		for j, f := range fields.Maps(rule, "filters") {
			path := fmt.Sprintf("%s.filters[%d]", at, j)
			switch kind := text(f, "type", ""); kind {
			case "RequestMirror":
				out = append(out, refuseBackend(path+".requestMirror.backendRef", mapOf(mapOf(f["requestMirror"])["backendRef"]))...)
			case "ExtensionRef", "ExternalAuth":
				out = append(out, Refusal{path + ".type", "Istio has no filter of type " + kind + ", and leaves the whole route out", ""})
			}
		}
	}
	return out
}

func refuseBackend(path string, ref map[string]any) (out []Refusal) {
	switch name := text(ref, "name", ""); {
	case strings.Contains(name, ".") && text(ref, "kind", "Service") == "Service":
		short, _, _ := strings.Cut(name, ".")
		out = append(out, Refusal{path + ".name", "names a Service by its host name, and Istio leaves the whole route out", "write name: " + short + ", and its namespace apart"})
	case ref["port"] == nil:
		out = append(out, Refusal{path, "has no port, and Istio leaves the whole route out", "write port: and the Service's port"})
	}
	return out
}

// schema is as much of a CRD's schema as says which fields there are.
type schema struct {
	fields map[string]*schema
	items  *schema
}

// routeSchema is that of an HTTPRoute's spec.
func routeSchema() *schema {
	var crd map[string]any
	if err := kjson.Unmarshal(CRD("httproutes."+Group), &crd); err != nil {
		panic(fmt.Sprintf("gatewayapi: embedded CRD of HTTPRoute: %v", err)) // the tests rule it out
	}
	versions := fields.Maps(mapOf(crd["spec"]), "versions")
	return readSchema(mapOf(mapOf(mapOf(mapOf(versions[0]["schema"])["openAPIV3Schema"])["properties"])["spec"]))
}

func readSchema(s map[string]any) *schema {
	out := &schema{}
	if items := mapOf(s["items"]); items != nil {
		out.items = readSchema(items)
	}
	for name, p := range mapOf(s["properties"]) {
		if out.fields == nil {
			out.fields = map[string]*schema{}
		}
		out.fields[name] = readSchema(mapOf(p))
	}
	return out
}

// unknown are the fields below a value that its schema does not have.
func unknown(path string, value any, s *schema) (out []Refusal) {
	switch v := value.(type) {
	case map[string]any:
		if s.fields == nil {
			return nil
		}
		for name, x := range v {
			field, ok := s.fields[name]
			if !ok {
				hint := ""
				if name == "retry" {
					hint = "it is in the experimental channel of the Gateway API alone; a VirtualService has retries"
				}
				out = append(out, Refusal{path + "." + name, "the standard channel of the Gateway API has no such field", hint})
				continue
			}
			out = append(out, unknown(path+"."+name, x, field)...)
		}
	case []any:
		for i, x := range v {
			if s.items != nil {
				out = append(out, unknown(fmt.Sprintf("%s[%d]", path, i), x, s.items)...)
			}
		}
	}
	slices.SortFunc(out, func(a, b Refusal) int { return strings.Compare(a.Path, b.Path) })
	return out
}
