package traffictest

import (
	"math"
	"slices"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

// Absurd fails unless an empty store outlives records whose numbers exceed what can be summed up: each is stored, none takes others with it,
// and every question still has an answer.
func Absurd(t *testing.T, s store.Store) {
	t.Helper()
	records := Some(6, time.Second, 9)
	for i := range records {
		r := &records[i]
		r.Time, r.Reporter, r.Destination.Version, r.Interface, r.Code, r.Flags = Epoch(), traffic.Source, "v1", "/", 200, ""
		r.ID = traffic.NewID(r.Time.UnixNano(), int64(i))
		if i%2 == 0 {
			r.BytesReceived, r.BytesSent, r.Duration = math.MaxInt64, math.MaxInt64, math.MaxInt64
		}
	}
	later := records[0]
	later.Time = Epoch().Add(10 * time.Second) // another sum of the same step of a timeline
	later.ID = traffic.NewID(later.Time.UnixNano(), 7)
	records = append(records, later)
	for part := range slices.Chunk(records, 1) { // each adds to what is stored
		fill(t, s, part)
	}
	if a := s.Account(); a.Stored != 7 || a.LastError != "" {
		t.Errorf("%v: %s", a, a.LastError)
	}
	for _, f := range []store.Filter{{}, {From: Epoch(), To: Epoch().Add(time.Minute)}} {
		got, err := s.Groups(t.Context(), f)
		must(t, err)
		if len(got) != 1 || got[0].Summary.Records != 7 {
			t.Fatalf("%+v", got)
		}
		sum := got[0].Summary
		if sum.BytesReceived != math.MaxInt64 || sum.BytesSent != math.MaxInt64 || sum.Sum != math.MaxInt64 || sum.Min >= time.Hour || sum.Max != math.MaxInt64 {
			t.Errorf("%+v", sum)
		}
		lines, err := s.Timeline(t.Context(), f, 1)
		must(t, err)
		if len(lines) != 1 || len(lines[0].Points) != 1 || lines[0].Points[0].Records != 7 || lines[0].Points[0].Mean <= 0 {
			t.Errorf("%+v", lines)
		}
		list, err := s.List(t.Context(), f, store.Page{Order: store.ByDuration})
		must(t, err)
		if len(list.Records) != 7 {
			t.Errorf("%d records", len(list.Records))
		}
	}
}
