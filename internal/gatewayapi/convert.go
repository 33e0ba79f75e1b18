package gatewayapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
)

const domain = ".svc.cluster.local"

// Service is what istiod makes of an HTTPRoute for one Service that is its parent.
type Service struct {
	// Parent is the place of the parent in spec.parentRefs.
	Parent int
	// Host is the parent's full name, and Port the only port for which the routes are, 0 for all.
	Host string
	Port int64
	// Namespace is the parent's.
	Namespace string
	// Spec is that of the VirtualService.
	Spec map[string]any
	// Rules are the places in spec.rules of what each route of the Spec was made of.
	Rules []int
}

// IsRoute says whether the object is an HTTPRoute.
func IsRoute(u *unstructured.Unstructured) bool {
	gvk := u.GroupVersionKind()
	return gvk.Group == Group && gvk.Kind == Kind
}

// Parents are the Services that are parents of a route, of which Spec and Rules are not set. Other parents are left out.
func Parents(u *unstructured.Unstructured) []Service {
	var out []Service
	for i, p := range fields.Maps(mapOf(u.Object["spec"]), "parentRefs") {
		if text(p, "kind", "Gateway") != "Service" || text(p, "group", Group) != "" {
			continue
		}
		ns := text(p, "namespace", u.GetNamespace())
		out = append(out, Service{Parent: i, Host: text(p, "name", "") + "." + ns + domain, Port: fields.Number(p["port"]), Namespace: ns})
	}
	return out
}

// Services are the VirtualServices that istiod makes of a route for the Services that are its parents. It makes none of a route that
// Refuse refuses.
func Services(u *unstructured.Unstructured) []Service {
	out := Parents(u)
	for i := range out {
		var made []route
		for n, rule := range Rules(u) {
			made = append(made, routesOf(rule, n, u.GetNamespace(), out[i].Port)...)
		}
		slices.SortStableFunc(made, bySpecificity)
		http := make([]any, len(made))
		for j, r := range made {
			http[j] = r.spec
			out[i].Rules = append(out[i].Rules, r.rule)
		}
		out[i].Spec = map[string]any{"hosts": []any{out[i].Host}, "http": http}
	}
	return out
}

// Rules are the rules of a route, with the one that the CRD gives to a route without any.
func Rules(u *unstructured.Unstructured) []map[string]any {
	spec := mapOf(u.Object["spec"])
	if spec["rules"] == nil {
		return []map[string]any{{}}
	}
	return fields.Maps(spec, "rules")
}

// Matches are the alternatives of a rule, with the one that the CRD gives to a rule without any: an empty one is all requests.
func Matches(rule map[string]any) []map[string]any {
	if list := fields.Maps(rule, "matches"); len(list) > 0 {
		return list
	}
	return []map[string]any{{}}
}

// route is one HTTP route of a VirtualService: a rule has one for each of its matches.
type route struct {
	spec map[string]any
	rule int
	rank [5]int // the more specific the larger
}

func bySpecificity(a, b route) int { return slices.Compare(b.rank[:], a.rank[:]) }

func routesOf(rule map[string]any, n int, namespace string, port int64) []route {
	var out []route
	for _, m := range Matches(rule) {
		r := route{spec: action(rule, namespace), rule: n}
		if name := text(rule, "name", ""); name != "" {
			r.spec["name"] = name
		}
		match := map[string]any{}
		r.rank = fillMatch(match, m)
		if port != 0 {
			match["port"] = port
		}
		if len(match) > 0 {
			r.spec["match"] = []any{match}
		}
		out = append(out, r)
	}
	return out
}

// fillMatch writes a match as a VirtualService does, and tells how specific it is: by the kind of its path, the path's length, whether
// it has a method, and how many headers and query parameters.
func fillMatch(out, match map[string]any) (rank [5]int) {
	path := mapOf(match["path"])
	value := text(path, "value", "/")
	rank[1] = len(value)
	switch text(path, "type", "PathPrefix") {
	case "Exact":
		rank[0] = 3
		out["uri"] = map[string]any{"exact": value}
	case "RegularExpression":
		rank[0] = 1
		out["uri"] = map[string]any{"regex": value}
	default:
		rank[0] = 2
		if value = strings.TrimSuffix(value, "/"); value != "" { // whole elements of the path
			out["uri"] = map[string]any{"regex": regexp.QuoteMeta(value) + "(/.*)?"}
		}
		rank[1] = max(1, len(value))
	}
	if method := text(match, "method", ""); method != "" {
		rank[2] = 1
		out["method"] = map[string]any{"exact": method}
	}
	for i, field := range []string{"headers", "queryParams"} {
		for _, m := range fields.Maps(match, field) {
			kind := "exact"
			if text(m, "type", "Exact") == "RegularExpression" {
				kind = "regex"
			}
			fields.Child(out, field)[text(m, "name", "")] = map[string]any{kind: text(m, "value", "")}
		}
		rank[3+i] = len(mapOf(out[field]))
	}
	return rank
}

// action is a route without name and match.
func action(rule map[string]any, namespace string) map[string]any {
	out := map[string]any{}
	for _, f := range fields.Maps(rule, "filters") {
		filter(out, f, namespace)
	}
	if retry := mapOf(rule["retry"]); retry != nil {
		out["retries"] = retries(retry)
	}
	timeouts := mapOf(rule["timeouts"])
	if d := seconds(timeouts["request"]); d != "" {
		out["timeout"] = d
	}
	if d := seconds(timeouts["backendRequest"]); d != "" {
		if has := mapOf(out["retries"]); has != nil {
			has["perTryTimeout"] = d
		} else {
			out["timeout"] = d
		}
	}
	if to := destinations(rule, namespace); len(to) > 0 {
		out["route"] = to
	} else if out["redirect"] == nil {
		out["directResponse"] = map[string]any{"status": int64(500)}
	}
	return out
}

// filter adds what a filter of a rule does to the route.
func filter(out, f map[string]any, namespace string) {
	switch text(f, "type", "") {
	case "RequestMirror":
		m := mapOf(f["requestMirror"])
		share := 100.0
		if fraction := mapOf(m["fraction"]); fraction != nil {
			share = 100 * float64(fields.Number(fraction["numerator"])) / float64(max(1, numberOr(fraction["denominator"], 100)))
		} else if m["percent"] != nil {
			share = float64(fields.Number(m["percent"]))
		}
		list, _ := out["mirrors"].([]any)
		out["mirrors"] = append(list, map[string]any{
			"destination": destination(mapOf(m["backendRef"]), namespace), "percentage": map[string]any{"value": share},
		})
	case "RequestRedirect":
		out["redirect"] = map[string]any{"redirectCode": numberOr(mapOf(f["requestRedirect"])["statusCode"], 302)}
	case "URLRewrite":
		out["rewrite"] = map[string]any{"uri": text(mapOf(mapOf(f["urlRewrite"])["path"]), "replaceFullPath", "/")}
	case "RequestHeaderModifier", "ResponseHeaderModifier":
		part := map[string]string{"RequestHeaderModifier": "request", "ResponseHeaderModifier": "response"}[text(f, "type", "")]
		fields.Child(out, "headers")[part] = headers(mapOf(f[strings.ToLower(part[:1])+part[1:]+"HeaderModifier"]))
	}
}

func headers(modifier map[string]any) map[string]any {
	out := map[string]any{}
	for _, op := range []string{"set", "add"} {
		for _, h := range fields.Maps(modifier, op) {
			fields.Child(out, op)[text(h, "name", "")] = text(h, "value", "")
		}
	}
	if remove := modifier["remove"]; remove != nil {
		out["remove"] = remove
	}
	return out
}

func retries(retry map[string]any) map[string]any {
	attempts := numberOr(retry["attempts"], 2)
	out := map[string]any{"attempts": attempts}
	if attempts == 0 {
		return out
	}
	on := []string{"connect-failure", "refused-stream", "unavailable", "cancelled"}
	codes, _ := retry["codes"].([]any)
	for _, c := range codes {
		on = append(on, fmt.Sprint(fields.Number(c)))
	}
	out["retryOn"] = strings.Join(on, ",")
	return out
}

// destinations are the backends with a weight; one alone has none.
func destinations(rule map[string]any, namespace string) []any {
	var out []any
	for _, b := range fields.Maps(rule, "backendRefs") {
		if w := numberOr(b["weight"], 1); w > 0 {
			out = append(out, map[string]any{"destination": destination(b, namespace), "weight": w})
		}
	}
	if len(out) == 1 {
		delete(mapOf(out[0]), "weight")
	}
	return out
}

func destination(ref map[string]any, namespace string) map[string]any {
	host := text(ref, "name", "") + "." + text(ref, "namespace", namespace) + domain
	if text(ref, "kind", "Service") == "Hostname" {
		host = text(ref, "name", "")
	}
	return map[string]any{"host": host, "port": map[string]any{"number": fields.Number(ref["port"])}}
}

// seconds is a duration of the Gateway API as Istio writes it, "" for none.
func seconds(v any) string {
	s, _ := v.(string)
	d, err := time.ParseDuration(s)
	if err != nil || d == 0 {
		return ""
	}
	return fmt.Sprintf("%gs", d.Seconds())
}
