package step

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"squall/internal/fields"
	"squall/internal/scenario"
)

// httpMatch is a step's match as an HTTPRoute has it, nil for none; ok is false when it has none that means the same, which was
// reported.
func (c *compiler) httpMatch(m *scenario.Match) (out map[string]any, ok bool) {
	if m == nil {
		return nil, true
	}
	ok = true
	refuse := func(field, what, hint string) {
		ok = false
		c.problem("match."+field, what, hint)
	}
	out = map[string]any{}
	if m.Authority != nil {
		refuse("authority", "an HTTPRoute for a Service does not look at the host that is asked for", "write api: istio in the step")
	}
	if len(m.SourceLabels) > 0 {
		refuse("sourceLabels", "an HTTPRoute does not look at who calls", "write api: istio in the step")
	}
	if m.Method != nil {
		methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
		if !slices.Contains(methods, m.Method.Exact) {
			refuse("method", "an HTTPRoute matches on one of "+strings.Join(methods, ", "), "write exact: and one of them, or api: istio in the step")
		}
		out["method"] = m.Method.Exact
	}
	if m.URI != nil {
		if text := m.URI.Exact + m.URI.Prefix; text != "" && !strings.HasPrefix(text, "/") {
			refuse("uri", "a path begins with /", "")
		}
		out["path"] = pathMatch(*m.URI)
	}
	for field, texts := range map[string]map[string]scenario.StringMatch{"headers": m.Headers, "queryParams": m.QueryParams} {
		var list []any
		for _, name := range sortedKeys(texts) {
			list = append(list, textMatch(name, texts[name]))
		}
		if len(list) > 0 {
			out[field] = list
		}
	}
	return out, ok
}

// pathMatch takes a prefix for whole elements of the path, as the Gateway API has it.
func pathMatch(m scenario.StringMatch) map[string]any {
	switch {
	case m.Exact != "":
		return map[string]any{"type": "Exact", "value": m.Exact}
	case m.Prefix != "":
		return map[string]any{"type": "PathPrefix", "value": m.Prefix}
	}
	return map[string]any{"type": "RegularExpression", "value": m.Regex}
}

func textMatch(name string, m scenario.StringMatch) map[string]any {
	switch {
	case m.Exact != "":
		return map[string]any{"name": name, "value": m.Exact}
	case m.Prefix != "":
		return map[string]any{"name": name, "type": "RegularExpression", "value": regexp.QuoteMeta(m.Prefix) + ".*"}
	}
	return map[string]any{"name": name, "type": "RegularExpression", "value": m.Regex}
}

// bothMatches adds the narrowing conditions to each alternative of a rule. Alternatives that no request can fit together with them are
// left out. conflict is a field of which it cannot be told.
func bothMatches(alternatives []map[string]any, narrow map[string]any) (out []map[string]any, conflict string) {
	for _, a := range alternatives {
		both := copyOf(a)
		fit := true
		for _, field := range sortedKeys(narrow) {
			ok, known := addCondition(both, field, narrow[field])
			if !known {
				return nil, field
			}
			fit = fit && ok
		}
		if fit {
			out = append(out, both)
		}
	}
	return out, ""
}

// addCondition narrows one field of a match; fit is false when no request can fit both, known when that cannot be told.
func addCondition(match map[string]any, field string, want any) (fit, known bool) {
	switch field {
	case "method":
		old := str(match, "method")
		match["method"] = want
		return old == "" || old == want, true
	case "path":
		old, _ := match["path"].(map[string]any)
		both, fit, known := bothPaths(old, want.(map[string]any))
		match["path"] = both
		return fit, known
	}
	list := fields.Maps(match, field)
	for _, w := range fields.Maps(map[string]any{field: want}, field) {
		i := slices.IndexFunc(list, func(have map[string]any) bool { return strings.EqualFold(str(have, "name"), str(w, "name")) })
		switch {
		case i < 0:
			list = append(list, w)
		case reflect.DeepEqual(list[i], w):
		case isExact(list[i]) && isExact(w):
			return false, true
		default:
			return true, false
		}
	}
	match[field] = toList(list)
	return true, true
}

// bothPaths is what a path fits that fits a and b.
func bothPaths(a, b map[string]any) (both map[string]any, fit, known bool) {
	kindA, kindB := cmp.Or(str(a, "type"), "PathPrefix"), cmp.Or(str(b, "type"), "PathPrefix")
	textA, textB := strings.TrimSuffix(str(a, "value"), "/"), strings.TrimSuffix(str(b, "value"), "/")
	below := func(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }
	switch {
	case kindA == "PathPrefix" && textA == "":
		return copyOf(b), true, true
	case kindB == "PathPrefix" && textB == "":
		return a, true, true
	case kindA == "RegularExpression" || kindB == "RegularExpression":
		return a, true, kindA == kindB && textA == textB
	case kindB == "PathPrefix" && below(textA, textB):
		return a, true, true
	case kindA == "PathPrefix" && below(textB, textA):
		return copyOf(b), true, true
	}
	return a, kindA == kindB && textA == textB, true
}

func isExact(m map[string]any) bool { return str(m, "type") == "" || str(m, "type") == "Exact" }

// gatewayDuration is a duration as the Gateway API writes it: whole numbers of up to five digits; ok is false when it cannot.
func gatewayDuration(d scenario.Duration) (out string, ok bool) {
	rest := time.Duration(d)
	if rest%time.Millisecond != 0 || rest >= 99999*time.Hour {
		return "", false
	}
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if rest >= unit.of {
			out += fmt.Sprintf("%d%s", rest/unit.of, unit.name)
			rest %= unit.of
		}
	}
	return out, true
}
