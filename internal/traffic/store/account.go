package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Account says what became of records: Received = Stored + Duplicates + all of Dropped + Pending, at every moment.
type Account struct {
	Received   uint64            `json:"received"`
	Stored     uint64            `json:"stored"`
	Duplicates uint64            `json:"duplicates"` // were stored already, by their id
	Dropped    map[string]uint64 `json:"dropped,omitempty"`
	Pending    uint64            `json:"pending"`
	Spooled    uint64            `json:"spooled,omitempty"` // of Pending, on disk
	Waited     uint64            `json:"waited,omitempty"`  // that were on disk at some time
	Retried    uint64            `json:"retried,omitempty"` // attempts to store that were made again
	LastError  string            `json:"lastError,omitempty"`
}

// Lost is how many were dropped.
func (a Account) Lost() (n uint64) {
	for _, v := range a.Dropped {
		n += v
	}
	return n
}

// Balanced reports whether every record is accounted for.
func (a Account) Balanced() bool {
	return a.Received == a.Stored+a.Duplicates+a.Lost()+a.Pending
}

// String is the account in a line: "1000 received = 990 stored + 4 known + 6 dropped (disk full: 6)".
func (a Account) String() string {
	s := fmt.Sprintf("%d received = %d stored", a.Received, a.Stored)
	if a.Duplicates > 0 {
		s += fmt.Sprintf(" + %d known", a.Duplicates)
	}
	if a.Pending > 0 {
		s += fmt.Sprintf(" + %d pending", a.Pending)
	}
	if len(a.Dropped) > 0 {
		var why []string
		for _, reason := range slices.Sorted(maps.Keys(a.Dropped)) {
			why = append(why, fmt.Sprintf("%s: %d", reason, a.Dropped[reason]))
		}
		s += fmt.Sprintf(" + %d dropped (%s)", a.Lost(), strings.Join(why, ", "))
	}
	return s
}

// HasFlag reports whether a list of response flags has one.
func HasFlag(list, flag string) bool {
	for f := range strings.SplitSeq(list, ",") {
		if f == flag {
			return true
		}
	}
	return false
}
