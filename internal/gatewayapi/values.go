package gatewayapi

import "squall/internal/fields"

// numberOr is Number, or otherwise for what is not there.
func numberOr(v any, otherwise int64) int64 {
	if v == nil {
		return otherwise
	}
	return fields.Number(v)
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
