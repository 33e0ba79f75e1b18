package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file that a person wrote. Lines and columns count from 1, columns in characters; a Line of 0 means
// the file as a whole.
type Pos struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// String writes file:line:column, or only the file where no line is known.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one mistake of the author: where it is, which field it is about, what is wrong and what to do.
type Problem struct {
	Pos  Pos
	Path string // such as spec.stages[0].load.requests; "" is the document
	What string
	Hint string // what to write instead; may be empty
}

// Error writes the problem on one line: file:line:column: path: what (hint).
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Pos.String())
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(oneLine(p.What))
	if p.Hint != "" {
		b.WriteString(" (" + oneLine(p.Hint) + ")")
	}
	return b.String()
}

// Problems are all mistakes that were found, one a line, in the order of their places. It is returned as an error only
// when it is not empty.
type Problems []Problem

// Error writes one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err sorts the problems, drops repetitions, and returns nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, compareProblems)
	return slices.Compact(ps)
}

// explain says whether what is wrong at the path may follow from one of the problems: one at the path or around it.
func (ps Problems) explain(path string) bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Path != "" && under(path, p.Path) })
}

func compareProblems(a, b Problem) int {
	return cmp.Or(
		cmp.Compare(a.Pos.File, b.Pos.File),
		cmp.Compare(a.Pos.Line, b.Pos.Line),
		cmp.Compare(a.Pos.Column, b.Pos.Column),
		cmp.Compare(a.Path, b.Path),
		cmp.Compare(a.What, b.What),
	)
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
