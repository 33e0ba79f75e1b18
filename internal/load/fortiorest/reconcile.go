package fortiorest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"squall/internal/record"
)

// Tally is how many calls a proxy's access log has, by how Fortio has to have counted them.
type Tally struct {
	Total int64
	// Sure are the calls with an answer by its HTTP status, and at -1 those that got none.
	Sure map[int]int64
	// Broken are those whose answer broke off after its status: what Fortio counts then, the status or a call without an answer,
	// depends on how its connection ended.
	Broken map[int]int64
}

func (t *Tally) add(a record.Access) {
	t.Total++
	switch {
	case a.Code == 0:
		t.Sure[socketError]++
	case isBroken(a):
		t.Broken[a.Code]++
	default:
		t.Sure[a.Code]++
	}
}

// MismatchError says that Fortio and the proxy do not tell of the same calls, so that nothing can be judged by them.
type MismatchError struct{ What string }

func (e *MismatchError) Error() string { return "the calls of the load are not known: " + e.What }

// Reconcile compares what Fortio counted with what the proxy logged: as many calls, and as many with each status. A difference is
// allowed alone for answers that broke off, each of which Fortio may have counted as a call without an answer.
func Reconcile(counted map[int]int64, t Tally) error {
	var total, unsure int64
	for _, n := range counted {
		total += n
	}
	for _, n := range t.Broken {
		unsure += n
	}
	equal := total == t.Total
	codes := maps.Clone(counted)
	maps.Copy(codes, t.Sure)
	maps.Copy(codes, t.Broken)
	for code := range codes {
		least, most := t.Sure[code], t.Sure[code]+t.Broken[code]
		if code == socketError {
			most = least + unsure
		}
		equal = equal && counted[code] >= least && counted[code] <= most
	}
	if equal {
		return nil
	}
	why := ""
	switch {
	case total < t.Total:
		why = "; Fortio makes a call anew when a kept connection breaks, and counts it once"
	case total > t.Total:
		why = "; calls that the proxy did not take leave no entry"
	}
	return &MismatchError{fmt.Sprintf("Fortio counted %s, and the access log of its proxy has %s%s", describe(total, counted, nil), describe(t.Total, t.Sure, t.Broken), why)}
}

// describe is "300 calls (200 × 290, 503 × 9, no answer × 1)".
func describe(total int64, codes, broken map[int]int64) string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		if code != socketError {
			parts = append(parts, fmt.Sprintf("%d × %d", code, codes[code]))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(broken)) {
		parts = append(parts, fmt.Sprintf("%d that broke off × %d", code, broken[code]))
	}
	if n := codes[socketError]; n > 0 {
		parts = append(parts, fmt.Sprintf("no answer × %d", n))
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%d calls", total)
	}
	return fmt.Sprintf("%d calls (%s)", total, strings.Join(parts, ", "))
}
