package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	trafficpage "squall/internal/traffic/page"
)

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
