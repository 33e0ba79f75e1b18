package parity

import (
	"fmt"
	"strings"
)

// Table is the comparisons as Markdown: a row for each scenario, and below it the shares that the environments do not have in common.
func Table(list []Comparison) string {
	var b strings.Builder
	if len(list) > 0 {
		fmt.Fprintf(&b, "| scenario | %s | %s | shares that the rules determine | other shares |\n|---|---|---|---|---|\n", list[0].A.Env, list[0].B.Env)
	}
	for _, c := range list {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", c.Scenario, side(c.A.Verdict.String(), c.A.Seconds), side(c.B.Verdict.String(), c.B.Seconds),
			overlaps(c.Shares, true), overlaps(c.Shares, false))
	}
	if apart := apart(list); apart != "" {
		b.WriteString("\nShares whose intervals do not overlap:\n\n" + apart)
	}
	return b.String()
}

func side(verdict string, seconds float64) string {
	return fmt.Sprintf("%s (%.1f s)", verdict, seconds)
}

// overlaps counts the shares that overlap, of those that are predicted or of the others.
func overlaps(shares []Share, predicted bool) string {
	n, of := 0, 0
	for _, s := range shares {
		if s.Predicted != predicted {
			continue
		}
		of++
		if s.Overlap() {
			n++
		}
	}
	if of == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d overlap", n, of)
}

// apart lists the shares that do not overlap.
func apart(list []Comparison) string {
	var b strings.Builder
	for _, c := range list {
		for _, s := range c.Shares {
			if !s.Overlap() {
				fmt.Fprintf(&b, "| %s | %s | `%s` | %s | %s |\n", c.Scenario, s.Phase, strings.ReplaceAll(s.Expr, "|", `\|`), s.A, s.B)
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("| scenario | stage | share | %s | %s |\n|---|---|---|---|---|\n", list[0].A.Env, list[0].B.Env) + b.String()
}
