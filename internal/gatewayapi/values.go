package gatewayapi

// Number reads a whole number as JSON or YAML has it; 0 is none.
func Number(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int:
		return int64(n)
	case float64:
		return int64(n)
	}
	return 0
}

// numberOr is Number, or otherwise for what is not there.
func numberOr(v any, otherwise int64) int64 {
	if v == nil {
		return otherwise
	}
	return Number(v)
}

// text is a field of a map, or otherwise for one that is not there.
func text(m map[string]any, field, otherwise string) string {
	if s, ok := m[field].(string); ok {
		return s
	}
	return otherwise
}

// mapOf is v as a map to read; it may be nil.
func mapOf(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// child returns the map below a field of parent, made when it is not there.
func child(parent map[string]any, field string) map[string]any {
	m, ok := parent[field].(map[string]any)
	if !ok {
		m = map[string]any{}
		parent[field] = m
	}
	return m
}

// mapsIn are the maps in a list field of parent.
func mapsIn(parent map[string]any, field string) []map[string]any {
	list, _ := parent[field].([]any)
	var out []map[string]any
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}
