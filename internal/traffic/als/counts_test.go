package als

import "testing"

func TestCounts(t *testing.T) {
	for want, c := range map[string]Counts{
		"0 entries = 0 records": {},
		"7 entries = 7 records": {Entries: 7, Records: 7},
		"10 entries = 6 records + 3 ignored (DownstreamStart: 1, other attributes: 2) + 1 lost, and 4 messages that are none": {
			Entries: 10, Records: 6, Ignored: map[string]uint64{"other attributes": 2, "DownstreamStart": 1}, Lost: 1, Malformed: 4,
		},
	} {
		if got := c.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
