//go:build kind

package kind

import (
	"fmt"
	"slices"
	"strings"

	"squall/internal/engine"
	"squall/internal/record"
)

// times are the seconds that parts of runs took in one environment.
type times map[string][]float64

// note takes what a run's events say, and how long it took as a whole.
func (t times) note(rec *record.Run, seconds float64) error {
	t["a whole run"] = append(t["a whole run"], seconds)
	for e, err := range rec.ReadEvents() {
		if err != nil {
			return err
		}
		for kind, part := range map[string]string{"mesh": "workloads and proxies ready", "live": "a change at all proxies", "rollback": "the rollback, verified"} {
			if e.Kind == kind {
				t[part] = append(t[part], e.Took)
			}
		}
	}
	return nil
}

// timesTable is the medians as Markdown.
func timesTable(of map[string]times) string {
	var b strings.Builder
	b.WriteString("\n| seconds, medians | local | kind |\n|---|---:|---:|\n")
	for _, part := range []string{"workloads and proxies ready", "a change at all proxies", "the rollback, verified", "a whole run"} {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", part, median(of[engine.Local][part]), median(of[engine.Kind][part]))
	}
	return b.String()
}

func median(list []float64) string {
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	return fmt.Sprintf("%.2f", list[len(list)/2])
}
