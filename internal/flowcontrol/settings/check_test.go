package settings

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestCheck takes what the service would take, and refuses what it would refuse, with the same reasons.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		key   string
		value any
		want  string
	}{
		{"flowcontrol.http.enabled", true, ""},
		{"flowcontrol.http.enabled", "true", ""},
		{"flowcontrol.http.concurrent", int64(5), ""},
		{"flowcontrol.http.concurrent", nil, ""},
		{"flowcontrol.http.deny", []any{"10.0.0.1", "fd00::/8"}, ""},
		{"flowcontrol.memory.search.heap_limit", "0%", ""},
		{"flowcontrol.http.enabled", "yes", "is yes, and only [true] or [false] are allowed"},
		{"flowcontrol.http.concurrent", int64(0), "is 0, and must be from 1 to 1000000"},
		{"flowcontrol.http.concurrent", 1.5, "must be a whole number"},
		{"flowcontrol.http.deny", "10.0.0.300", "[10.0.0.300] is neither an IP address nor a network"},
		{"flowcontrol.memory.heap_limit", "5%", "must be from 10% to 100%"},
		{"flowcontrol.memory.heap_limit", map[string]any{}, "must be a text, a number"},
	} {
		err := Check(tt.key, tt.value)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v: %v, want %q", tt.key, tt.value, err, tt.want)
		}
	}
	for _, key := range []string{"flowcontrol.http.concurent", "flowcontrol.memory.a.b.heap_limit", "cluster.name"} {
		if err := Check(key, nil); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if names := Names(); !slices.IsSorted(names) || !slices.Contains(names, "flowcontrol.memory.*.filter_path") {
		t.Errorf("names: %v", names)
	}
}
