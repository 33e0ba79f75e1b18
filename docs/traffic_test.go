package docs_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"squall/internal/traffic/als"
	trafficpage "squall/internal/traffic/page"
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

// TestPageParameters holds the table of the page's parameters to those that it reads.
func TestPageParameters(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "traffic.md").text, "<!-- parameters -->")
	table, _, ok := strings.Cut(table, "<!-- end -->")
	if !ok {
		t.Fatal("there is no table of parameters")
	}
	var got []string
	for row := range strings.Lines(table) {
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(cells[1], -1) {
				got = append(got, m[1])
			}
		}
	}
	slices.Sort(got)
	if want := trafficpage.Parameters(); !slices.Equal(got, want) {
		t.Errorf("the table has %v, the page reads %v", got, want)
	}
}
