package sqlite

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

// TestSearch goes page by page through what a search finds, in each order, with a budget that most pages exceed: nothing is missing, nothing
// comes twice, and the order is right, also of records of one moment.
func TestSearch(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "records.db"))
	all := traffictest.Some(1_600, time.Hour, 3)
	for i := range all {
		if i%8 == 0 { // more of one moment than one look may find
			all[i].Time = traffictest.Epoch().Add(time.Minute)
			all[i].ID = traffic.NewID(all[i].Time.UnixNano(), int64(i))
		}
		if i%120 == 7 {
			all[i].Path = "/nearly/never"
		}
	}
	fill(t, s, all)
	for name, f := range map[string]store.Filter{
		"all":      {Path: "/"},
		"some":     {Path: "/reviews/12"},
		"few":      {Path: "never"},
		"none":     {Path: "nowhere"},
		"slow":     {Slower: 20 * time.Millisecond},
		"fast":     {Faster: 1100 * time.Microsecond},
		"between":  {Slower: 2 * time.Millisecond, Faster: 3 * time.Millisecond, Path: "9"},
		"a window": {Path: "never", From: traffictest.Epoch().Add(10 * time.Minute), To: traffictest.Epoch().Add(30 * time.Minute)},
		"a trace":  {TraceID: all[5].TraceID},
		"no trace": {RequestID: all[5].RequestID, Path: "nowhere"},
	} {
		var want []traffic.ID
		for i := range all {
			r := &all[i]
			if (f.TraceID == "" || r.TraceID == f.TraceID) && (f.RequestID == "" || r.RequestID == f.RequestID) && strings.Contains(r.Path, f.Path) && r.Duration >= f.Slower &&
				(f.Faster == 0 || r.Duration <= f.Faster) && (f.From.IsZero() || !r.Time.Before(f.From)) && (f.To.IsZero() || r.Time.Before(f.To)) {
				want = append(want, r.ID)
			}
		}
		for _, page := range []store.Page{
			{Limit: 100}, {Limit: 100, Ascending: true}, {Limit: 100, Order: store.ByDuration}, {Limit: 100, Order: store.ByDuration, Ascending: true},
		} {
			for _, s.budget = range []int64{0, 280} {
				got := through(t, s, f, page)
				if !slices.IsSortedFunc(got, func(a, b traffic.Record) int {
					x, y := &place{Time: a.Time.UnixNano()}, &place{Time: b.Time.UnixNano()}
					if page.Order == store.ByDuration {
						x.Duration, y.Duration = int64(a.Duration), int64(b.Duration)
					}
					return comparePlaces(x, y, page.Ascending)
				}) {
					t.Errorf("%s, %+v: not in order", name, page)
				}
				ids := map[traffic.ID]bool{}
				for i := range got {
					ids[got[i].ID] = true
				}
				missing := slices.ContainsFunc(want, func(id traffic.ID) bool { return !ids[id] })
				if len(got) != len(want) || len(ids) != len(want) || missing {
					t.Errorf("%s, %+v, budget %d: %d records, %d different, want %d", name, page, s.budget, len(got), len(ids), len(want))
				}
			}
		}
	}
}

// through is what all pages have. A page that is cut short says so.
func through(t *testing.T, s *Store, f store.Filter, page store.Page) (all []traffic.Record) {
	t.Helper()
	for range 10_000 {
		l, err := s.List(t.Context(), f, page)
		must(t, err)
		if len(l.Records) < page.Limit && l.Next != "" && !l.Partial {
			t.Fatal("a short page that is not the last does not say so")
		}
		all = append(all, l.Records...)
		if page.After = l.Next; l.Next == "" {
			return all
		}
	}
	t.Fatal("there is no last page")
	return nil
}
