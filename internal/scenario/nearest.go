package scenario

import (
	"fmt"
	"slices"
	"strings"
)

// Nearest returns the candidate that the word was most likely meant to be, or "" when none is near: at most a third of
// the word's letters, and at least one, may differ. Case is ignored.
func Nearest(word string, candidates []string) string {
	best, bestDistance := "", max(1, len([]rune(word))/3)+1
	for _, c := range candidates {
		if d := distance([]rune(strings.ToLower(word)), []rune(strings.ToLower(c))); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// DidYouMean is a hint that names the nearest candidate, or all of them when none is near and there are at most ten.
func DidYouMean(word string, candidates []string) string {
	if n := Nearest(word, candidates); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	if len(candidates) == 0 || len(candidates) > 10 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(candidates))
	return "there is " + strings.Join(sorted, ", ")
}

// distance is the number of letters to insert, delete, replace or swap with their neighbour.
func distance(a, b []rune) int {
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range a {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, above[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
