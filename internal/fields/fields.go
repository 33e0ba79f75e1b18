// Package fields reads and edits the maps that objects are decoded to.
package fields

// Child returns the map below a field of parent, made when it is not there.
func Child(parent map[string]any, field string) map[string]any {
	m, ok := parent[field].(map[string]any)
	if !ok {
		m = map[string]any{}
		parent[field] = m
	}
	return m
}

// Maps are the maps in a list field of parent; changing them changes the object.
func Maps(parent map[string]any, field string) []map[string]any {
	list, _ := parent[field].([]any)
	var out []map[string]any
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

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
