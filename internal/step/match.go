package step

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"squall/internal/fields"
	"squall/internal/scenario"
)

// conjunction adds the narrowing conditions to each alternative that the route already has. Alternatives that no request
// can fit together with them are left out. conflict is a field of which it cannot be told.
func conjunction(alternatives []map[string]any, narrow map[string]any) (out []map[string]any, conflict string) {
	if len(alternatives) == 0 {
		return []map[string]any{narrow}, ""
	}
	for _, a := range alternatives {
		both, fit, field := narrowed(a, narrow)
		if field != "" {
			return nil, field
		}
		if fit {
			out = append(out, both)
		}
	}
	return out, ""
}

// narrowed is one alternative with the conditions added; fit is false when no request can fit both.
func narrowed(alternative, narrow map[string]any) (both map[string]any, fit bool, conflict string) {
	both = copyOf(alternative)
	for field, wanted := range narrow {
		isOne := slices.Contains([]string{"uri", "method", "authority"}, field)
		if isOne {
			wanted = map[string]any{field: wanted}
		}
		have := both
		if !isOne {
			have = fields.Child(both, field)
		}
		for name, want := range wanted.(map[string]any) {
			old, given := have[name]
			if !given {
				have[name] = want
				continue
			}
			if field == "uri" && alternative["ignoreUriCase"] == true {
				return nil, false, field
			}
			merged, fit, known := bothTexts(old, want)
			if !known {
				return nil, false, field
			}
			if !fit {
				return nil, false, ""
			}
			have[name] = merged
		}
	}
	return both, true, ""
}

// bothTexts is what a text fits that fits a and b; known is false when it cannot be written as one match.
func bothTexts(a, b any) (both any, fit, known bool) {
	if a, ok := a.(string); ok { // of labels
		return a, a == b, true
	}
	ma, _ := a.(map[string]any)
	mb, _ := b.(map[string]any)
	if len(ma) != 1 || len(mb) != 1 {
		return nil, false, false
	}
	if mb["exact"] != nil && ma["exact"] == nil {
		ma, mb = mb, ma
	}
	if text, ok := ma["exact"].(string); ok {
		fit, known := fits(text, mb)
		return ma, fit, known
	}
	pa, isA := ma["prefix"].(string)
	pb, isB := mb["prefix"].(string)
	switch {
	case isA && isB && strings.HasPrefix(pa, pb):
		return ma, true, true
	case isA && isB:
		return mb, strings.HasPrefix(pb, pa), true
	}
	return ma, true, str(ma, "regex") != "" && ma["regex"] == mb["regex"]
}

// fits says whether the text fits one of Istio's string matches; known is false for a match that says nothing.
func fits(text string, match map[string]any) (fit, known bool) {
	for kind, v := range match {
		want, _ := v.(string)
		switch kind {
		case "exact":
			return text == want, true
		case "prefix":
			return strings.HasPrefix(text, want), true
		case "regex":
			re, err := regexp.Compile("^(?:" + want + ")$")
			return err == nil && re.MatchString(text), err == nil
		}
	}
	return false, false
}

func matchFields(m *scenario.Match) map[string]any {
	out := map[string]any{}
	for field, texts := range map[string]map[string]scenario.StringMatch{"headers": m.Headers, "queryParams": m.QueryParams} {
		for name, match := range texts {
			fields.Child(out, field)[name] = stringMatch(match)
		}
	}
	for field, text := range map[string]*scenario.StringMatch{"uri": m.URI, "method": m.Method, "authority": m.Authority} {
		if text != nil {
			out[field] = stringMatch(*text)
		}
	}
	for k, v := range m.SourceLabels {
		fields.Child(out, "sourceLabels")[k] = v
	}
	return out
}

func stringMatch(m scenario.StringMatch) map[string]any {
	switch {
	case m.Exact != "":
		return map[string]any{"exact": m.Exact}
	case m.Prefix != "":
		return map[string]any{"prefix": m.Prefix}
	}
	return map[string]any{"regex": m.Regex}
}

// matchID tells matches apart, "" is none.
func matchID(m *scenario.Match) string {
	if m == nil {
		return ""
	}
	data, err := json.Marshal(matchFields(m))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// about names a host, and the match when there is one, in messages about contradicting steps.
func about(h Host, m *scenario.Match) string {
	if m == nil {
		return h.Short
	}
	return h.Short + " " + strings.ReplaceAll(matchID(m), `"`, "")
}
