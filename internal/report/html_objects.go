package report

import (
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"squall/internal/record"
)

type objectView struct {
	record.Object
	Added, Removed int
	Lines          []diffLine
}

type diffLine struct{ Mark, Class, Text string }

// newObjectView shows the whole object with what was added and removed marked.
func newObjectView(o record.Object) objectView {
	v := objectView{Object: o}
	before, after := endLine(o.Before), endLine(o.After)
	edits := udiff.Lines(before, after)
	if len(edits) == 0 {
		for line := range strings.Lines(before) {
			v.add(diffLine{" ", "", line})
		}
		return v
	}
	whole := strings.Count(before, "\n") + 1
	d, err := udiff.ToUnifiedDiff("before", "after", before, edits, whole)
	if err != nil {
		v.add(diffLine{" ", "", "the difference cannot be shown: " + err.Error()})
		return v
	}
	for _, h := range d.Hunks {
		for _, l := range h.Lines {
			switch l.Kind {
			case udiff.Insert:
				v.Added++
				v.add(diffLine{"+", "d-add", l.Content})
			case udiff.Delete:
				v.Removed++
				v.add(diffLine{"-", "d-del", l.Content})
			default:
				v.add(diffLine{" ", "", l.Content})
			}
		}
	}
	return v
}

func (v *objectView) add(l diffLine) {
	l.Text = strings.TrimSuffix(l.Text, "\n")
	v.Lines = append(v.Lines, l)
}

func endLine(s string) string {
	if s == "" || strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}
