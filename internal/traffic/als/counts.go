package als

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Counts are what has come so far: Entries = Records + all of Ignored + Lost, when no message is being taken in.
type Counts struct {
	Streams   int               // that are open
	Messages  uint64            // of both protocols
	Entries   uint64            // of the messages
	Records   uint64            // handed to the sink
	Ignored   map[string]uint64 // by reason: entries that are not of the end of a request or connection
	Lost      uint64            // since the sink took no more
	Malformed uint64            // messages that were none: it is not known how many entries they had
}

// String is the counts in a line: "10 entries = 7 records + 2 ignored (other attributes: 2) + 1 lost, and 3 messages that are none".
func (c Counts) String() string {
	s := fmt.Sprintf("%d entries = %d records", c.Entries, c.Records)
	var ignored uint64
	var why []string
	for _, reason := range slices.Sorted(maps.Keys(c.Ignored)) {
		ignored += c.Ignored[reason]
		why = append(why, fmt.Sprintf("%s: %d", reason, c.Ignored[reason]))
	}
	if ignored > 0 {
		s += fmt.Sprintf(" + %d ignored (%s)", ignored, strings.Join(why, ", "))
	}
	if c.Lost > 0 {
		s += fmt.Sprintf(" + %d lost", c.Lost)
	}
	if c.Malformed > 0 {
		s += fmt.Sprintf(", and %d messages that are none", c.Malformed)
	}
	return s
}

// Counts are the numbers as they are now.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Ignored = maps.Clone(s.counts.Ignored)
	return c
}
