package step

import (
	"slices"
	"strings"

	"squall/internal/fields"
	"squall/internal/gatewayapi"
)

// marks puts the marker into an object whose name in the proxies' configuration can carry it, and returns what to look
// for. One mark is enough for an object, as Istio pushes it as a whole.
func (c *compiler) marks(change *Change) []Mark {
	u := change.After
	if c.opts.Marker != "" && gatewayapi.IsRoute(u) && change.Host != "" {
		return c.markRules(u)
	}
	if c.opts.Marker == "" || u.GroupVersionKind().Group != networking || change.Host == "" {
		return nil
	}
	spec := fields.Child(u.Object, "spec")
	switch u.GetKind() {
	case "DestinationRule":
		if _, narrowed := spec["workloadSelector"]; narrowed {
			return nil
		}
		// A subset without labels is all pods; its cluster takes no traffic.
		spec["subsets"] = append(asList(spec["subsets"]), map[string]any{"name": c.opts.Marker})
		return []Mark{{Kind: "cluster", Name: "|" + c.opts.Marker + "|" + change.Host}}
	case "VirtualService":
		return c.markRoutes(fields.Maps(spec, "http"))
	}
	return nil
}

// markRoutes names every route, and returns the mark of one that each caller's proxy has: best one without a match. In the proxy of
// a caller that a route matches by nothing but its labels, that route hides all after it, and is the mark.
func (c *compiler) markRoutes(routes []map[string]any) []Mark {
	var marks []Mark
	var hiding []string
	reachable := true // Istio drops what follows a route without a match
	for _, route := range routes {
		_, delegates := route["delegate"]
		if !delegates {
			name := nameOf(route) + "." + c.opts.Marker
			route["name"] = name
			if ending, ok := forAllCallers(route); ok && reachable && (len(marks) == 0 || !hasMatch(route)) {
				marks = []Mark{{Kind: "route", Name: name + ending, Or: slices.Clone(hiding)}}
			}
			hiding = append(hiding, hides(route, name)...)
		}
		reachable = reachable && hasMatch(route)
	}
	return marks
}

// hides are the names that a route has in the proxies of callers for which it holds whatever they ask for.
func hides(route map[string]any, name string) []string {
	var out []string
	for _, m := range fields.Maps(route, "match") {
		asks := slices.ContainsFunc([]string{"uri", "scheme", "method", "authority", "headers", "queryParams", "withoutHeaders"}, func(k string) bool { return m[k] != nil })
		if asks {
			continue
		}
		if ending := strings.TrimSpace(str(m, "name")); ending != "" {
			out = append(out, name+"."+ending)
			continue
		}
		out = append(out, name)
	}
	return out
}

// forAllCallers says whether some alternative of the route's match holds in every caller's proxy, and what Istio appends
// to the route's name for it.
func forAllCallers(route map[string]any) (ending string, ok bool) {
	alternatives := fields.Maps(route, "match")
	if len(alternatives) == 0 {
		return "", true
	}
	for _, m := range alternatives {
		if m["sourceLabels"] != nil || m["sourceNamespace"] != nil || m["gateways"] != nil || m["port"] != nil {
			continue
		}
		if name := str(m, "name"); strings.TrimSpace(name) != "" {
			return "." + name, true
		}
		return "", true
	}
	return "", false
}
