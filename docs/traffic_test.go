package docs_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"squall/internal/traffic/als"
)

// otelLabels are those that an extension provider envoyOtelAls needs.
func otelLabels(*testing.T, string, string) string {
	var b strings.Builder
	b.WriteString("```yaml\nlogFormat:\n  labels:\n")
	labels := als.LogLabels()
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "    %s: %q\n", name, labels[name])
	}
	b.WriteString("```\n")
	return b.String()
}
