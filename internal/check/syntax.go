package check

import (
	"fmt"
	"slices"
	"strings"
)

// SyntaxError is what is wrong with a statement's text.
type SyntaxError struct {
	Column int    // in characters of the statement as written, from 1
	Msg    string // what is wrong
	Hint   string // what to write instead; may be empty
}

func (e *SyntaxError) Error() string {
	s := fmt.Sprintf("column %d: %s", e.Column, e.Msg)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// maxListed is how many candidates a hint lists.
const maxListed = 40

// didYouMean is a hint that names the candidates nearest to name, or else all of them when they are few.
func didYouMean(name string, candidates []string) string {
	var best []string
	bestDist := 1 + max(1, len(name)/3)
	for _, c := range candidates {
		d := distance(strings.ToLower(name), strings.ToLower(c))
		if d < bestDist {
			best, bestDist = nil, d
		}
		if d == bestDist && d < 1+max(1, len(name)/3) {
			best = append(best, c)
		}
	}
	slices.Sort(best)
	switch {
	case len(best) == 1:
		return "did you mean " + best[0] + "?"
	case len(best) > 1:
		return "did you mean " + strings.Join(best[:len(best)-1], ", ") + " or " + best[len(best)-1] + "?"
	case len(candidates) > 0 && len(candidates) <= maxListed:
		return "there are " + strings.Join(candidates, ", ")
	default:
		return ""
	}
}

// distance is the optimal string alignment distance: edits and swaps of neighbours.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	d := make([][]int, len(x)+1)
	for i := range d {
		d[i] = make([]int, len(y)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(x)][len(y)]
}
