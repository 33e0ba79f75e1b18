package suites

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"squall/internal/check"
)

// rowEntry is the name of the report entries that hold the table.
const rowEntry = "row"

// row is one run in the table.
type row struct {
	Scenario, Verdict, Reason string
	Seconds                   float64
}

// note keeps the run for the table.
func note(r check.Result) {
	AddReportEntry(rowEntry, row{r.Scenario, r.Verdict.String(), r.Reason, r.Seconds}, ReportEntryVisibilityNever)
}

// The table is written once, with the runs of all parallel processes.
var _ = ReportAfterSuite("table", func(report Report) {
	var rows []row
	for _, spec := range report.SpecReports {
		for _, e := range spec.ReportEntries {
			if e.Name == rowEntry {
				rows = append(rows, decode(e.Value))
			}
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Scenario, b.Scenario) })
	const format = "%-34s %-12s %7s  %s\n"
	var b strings.Builder
	fmt.Fprintf(&b, "\n"+format, "scenario", "verdict", "time", "why")
	sum := 0.0
	for _, r := range rows {
		fmt.Fprintf(&b, format, r.Scenario, r.Verdict, fmt.Sprintf("%.1f s", r.Seconds), r.Reason)
		sum += r.Seconds
	}
	fmt.Fprintf(&b, "%d runs, %.0f s of runs in %.0f s\n", len(rows), sum, report.RunTime.Seconds())
	_, _ = os.Stdout.WriteString(b.String())
})

// decode reads a row that another process may have written.
func decode(v types.ReportEntryValue) row {
	if r, ok := v.GetRawValue().(row); ok {
		return r
	}
	var r row
	if err := json.Unmarshal([]byte(v.AsJSON), &r); err != nil {
		r.Reason = err.Error()
	}
	return r
}
