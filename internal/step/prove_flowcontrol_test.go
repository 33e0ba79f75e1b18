package step

import (
	"slices"
	"testing"
)

// What a setting refuses by is what proves it.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		values map[string]any
		want   []string
		cuts   bool
	}{
		"a rule of CPU":        {map[string]any{"flowcontrol.cpu.search.limit": 60}, []string{"cpu.rejected_cpu"}, false},
		"its path":             {map[string]any{"flowcontrol.cpu.search.filter_path": "**/_search"}, []string{"cpu.rejected_cpu"}, false},
		"the node's CPU":       {map[string]any{"flowcontrol.cpu.percent_limit": 60}, []string{"cpu.rejected_cpu"}, false},
		"a rule is taken away": {map[string]any{"flowcontrol.cpu.search.limit": nil}, nil, false},
		"CPU is off":           {map[string]any{"flowcontrol.cpu.enabled": false}, nil, false},
		"a rule of memory":     {map[string]any{"flowcontrol.memory.search.heap_limit": "50%"}, []string{"memory.memory_rejected"}, false},
		"what is let through":  {map[string]any{"flowcontrol.cpu.allow_path": []any{"/a"}}, nil, false},
		"connections":          {map[string]any{"flowcontrol.http.enabled": true, "flowcontrol.http.concurrent": 3}, []string{"http.rejected_concurrent"}, false},
		"the break":            {map[string]any{"flowcontrol.break.enabled": true}, nil, true},
	} {
		if got, cuts := limits(c.values); !slices.Equal(got, c.want) || cuts != c.cuts {
			t.Errorf("%s: %v, %v", name, got, cuts)
		}
	}
}
