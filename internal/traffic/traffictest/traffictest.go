// Package traffictest has records, and what every store of them has to do, for tests.
package traffictest

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

// Epoch is the time of the first record.
func Epoch() time.Time { return time.Date(2026, 3, 1, 11, 59, 57, 123456789, time.UTC) }

// Some are n records of a mesh, spread evenly over a time.
func Some(n int, over time.Duration, seed uint64) []traffic.Record {
	r := rand.New(rand.NewPCG(seed, 2))
	versions, codes := []string{"v1", "v2", "v3"}, []int{200, 200, 200, 200, 200, 200, 404, 503}
	out := make([]traffic.Record, n)
	for i := range out {
		var id [16]byte
		binary.BigEndian.PutUint64(id[:], r.Uint64())
		binary.BigEndian.PutUint64(id[8:], r.Uint64())
		h := hex.EncodeToString(id[:])
		at := Epoch().Add(time.Duration(int64(over) / int64(n) * int64(i)))
		c := &out[i]
		*c = traffic.Record{
			ID: traffic.NewID(at.UnixNano(), int64(r.Uint64())), Time: at, Reporter: []traffic.Reporter{traffic.Source, traffic.Destination}[i%2], Run: "run-1", Stage: "breaker",
			Source:      traffic.Workload{Namespace: "bookinfo", Name: "productpage-v1", Pod: "productpage-v1-7d", Address: fmt.Sprintf("127.1.0.7:%d", 1+r.IntN(65535))},
			Destination: traffic.Workload{Namespace: "bookinfo", Service: "reviews", Name: "reviews", Version: versions[r.IntN(3)], Pod: "reviews-5f", Address: "127.1.0.9:9080"},
			Protocol:    "HTTP/1.1", Method: "GET", Path: fmt.Sprintf("/reviews/%d", r.IntN(1000)), Interface: []string{"/reviews/{id}", "/ratings/{id}", "/health"}[r.IntN(3)],
			Authority: "reviews:9080", Scheme: "http", Code: codes[r.IntN(len(codes))], Details: "via_upstream",
			Duration: time.Duration(1e6 + r.ExpFloat64()*5e6), Upstream: time.Duration(r.IntN(1e6)), FirstByte: traffic.Unknown,
			BytesReceived: int64(r.IntN(100)), BytesSent: int64(r.IntN(1000)), Attempts: 1,
			RequestID: h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], TraceID: h, UserAgent: "fortio.org/fortio-1.75.3",
			Principal: "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage", Route: "default", Cluster: "outbound|9080||reviews.bookinfo.svc.cluster.local",
		}
		if c.Code == 503 {
			c.Flags = "UO"
		}
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fill(t *testing.T, s store.Store, records []traffic.Record) {
	t.Helper()
	for part := range slices.Chunk(records, 5000) {
		must(t, s.Put(t.Context(), part))
	}
	must(t, s.Flush(t.Context()))
	if a := s.Account(); !a.Balanced() || a.Lost() > 0 || a.Pending > 0 {
		t.Fatal(a)
	}
}

// place is where a record stands in a listing.
type place struct{ duration, time, hash int64 }

func compare(a, b place) int {
	return cmp.Or(cmp.Compare(a.duration, b.duration), cmp.Compare(a.time, b.time), cmp.Compare(a.hash, b.hash))
}

// sorted is what a listing has to be.
func sorted(records []traffic.Record, keep func(*traffic.Record) bool, order store.Order, ascending bool) []traffic.Record {
	var out []traffic.Record
	for i := range records {
		if keep(&records[i]) {
			out = append(out, records[i])
		}
	}
	slices.SortFunc(out, func(a, b traffic.Record) int {
		x, y := place{0, a.Time.UnixNano(), a.ID.Hash()}, place{0, b.Time.UnixNano(), b.ID.Hash()}
		if order == store.ByDuration {
			x.duration, y.duration = int64(a.Duration), int64(b.Duration)
		}
		if ascending {
			return compare(x, y)
		}
		return compare(y, x)
	})
	return out
}

// Conform fails unless an empty store answers as all of them have to.
func Conform(t *testing.T, s store.Store) {
	t.Helper()
	records := Some(6000, 25*time.Minute, 1)
	records[17].Headers = map[string]string{"accept": "*/*"}
	records[18].RequestID, records[18].TraceID, records[18].Source.Address = "mine", "", "gateway"
	fill(t, s, records)
	listings(t, s, records)
	groups(t, s, records)
	refusals(t, s)
}

func listings(t *testing.T, s store.Reader, records []traffic.Record) {
	t.Helper()
	from, to := Epoch().Add(3*time.Minute+7*time.Second), Epoch().Add(17*time.Minute+1)
	within := func(r *traffic.Record) bool { return !r.Time.Before(from) && r.Time.Before(to) }
	for name, c := range map[string]struct {
		f    store.Filter
		keep func(*traffic.Record) bool
	}{
		"all":    {store.Filter{}, func(*traffic.Record) bool { return true }},
		"window": {store.Filter{From: from, To: to}, within},
		"interface": {store.Filter{From: from, To: to, Interfaces: []string{"/health"}, Reporter: traffic.Source}, func(r *traffic.Record) bool {
			return within(r) && r.Interface == "/health" && r.Reporter == traffic.Source
		}},
		"code": {store.Filter{Codes: []int{503}, Versions: []string{"v2", "v3"}}, func(r *traffic.Record) bool { return r.Code == 503 && r.Destination.Version != "v1" }},
		"slow": {store.Filter{Slower: 9 * time.Millisecond, Path: "/reviews/1"}, func(r *traffic.Record) bool {
			return r.Duration >= 9*time.Millisecond && strings.Contains(r.Path, "/reviews/1")
		}},
		"one":  {store.Filter{TraceID: records[99].TraceID}, func(r *traffic.Record) bool { return r.TraceID == records[99].TraceID }},
		"none": {store.Filter{Service: "nobody"}, func(*traffic.Record) bool { return false }},
	} {
		for _, order := range []store.Order{store.ByTime, store.ByDuration} {
			for _, ascending := range []bool{false, true} {
				want := sorted(records, c.keep, order, ascending)
				var got []traffic.Record
				page := store.Page{Order: order, Ascending: ascending, Limit: 311}
				for {
					l, err := s.List(t.Context(), c.f, page)
					must(t, err)
					got = append(got, l.Records...)
					if page.After = l.Next; page.After == "" || len(got) > len(want) {
						break
					}
				}
				if len(got) != len(want) {
					t.Fatalf("%s by %s, ascending %v: %d records, want %d", name, order, ascending, len(got), len(want))
				}
				for i := range want {
					if !reflect.DeepEqual(got[i], want[i]) {
						t.Fatalf("%s by %s, ascending %v: number %d is\n%+v, want\n%+v", name, order, ascending, i, got[i], want[i])
					}
				}
			}
		}
	}
}

func groups(t *testing.T, s store.Store, records []traffic.Record) {
	t.Helper()
	fill(t, s, records[:1000]) // again
	// A record whose first answer was lost is stored and counts as known.
	if a := s.Account(); a.Stored+a.Duplicates != uint64(len(records)+1000) || a.Duplicates < 1000 || a.Retried == 0 && a.Duplicates > 1000 {
		t.Fatal(a)
	}
	for _, w := range [][2]time.Duration{{-time.Hour, time.Hour}, {0, 1}, {time.Second, 11 * time.Second}, {time.Minute + 1, 3*time.Minute + 5}, {7*time.Minute + 3, 24 * time.Minute}} {
		f := store.Filter{From: Epoch().Add(w[0]), To: Epoch().Add(w[1]), Run: "run-1"}
		got, err := s.Groups(t.Context(), f, store.ByService, store.ByInterface)
		must(t, err)
		want := map[string]*store.Summary{}
		for i := range records {
			r := &records[i]
			if r.Time.Before(f.From) || !r.Time.Before(f.To) {
				continue
			}
			if want[r.Interface] == nil {
				want[r.Interface] = &store.Summary{}
			}
			want[r.Interface].Add(r)
		}
		if len(got) != len(want) {
			t.Fatalf("%v: %d groups, want %d", w, len(got), len(want))
		}
		for _, g := range got {
			if !reflect.DeepEqual(shape(&g.Summary), shape(want[g.Interface])) || g.Service != "reviews" || g.Method != "GET" || g.Version != "" {
				t.Errorf("%v: %+v, want %+v", w, g, want[g.Interface])
			}
			var versions, codes uint64
			for _, n := range g.Versions {
				versions += n
			}
			for _, n := range g.Codes {
				codes += n
			}
			if versions != g.Summary.Records || codes != g.Summary.Records {
				t.Errorf("%v, %v of %d", g.Versions, g.Codes, g.Summary.Records)
			}
		}
	}
	lines, err := s.Timeline(t.Context(), store.Filter{}, 30, store.ByVersion)
	must(t, err)
	var total uint64
	for _, l := range lines {
		for _, p := range l.Points {
			total += p.Records
		}
	}
	if len(lines) != 3 || total != uint64(len(records)) || len(lines[0].Points) > 30 || lines[0].Points[0].Step%(10*time.Second) != 0 {
		t.Errorf("%d timelines, %d records, %+v", len(lines), total, lines[0].Points[0])
	}
}

func refusals(t *testing.T, s store.Reader) {
	t.Helper()
	for name, err := range map[string]error{
		"an order":      second(s.List(t.Context(), store.Filter{}, store.Page{Order: "name; DROP TABLE records"})),
		"a cursor":      second(s.List(t.Context(), store.Filter{}, store.Page{After: "'"})),
		"a page":        second(s.List(t.Context(), store.Filter{}, store.Page{Limit: 1e6})),
		"a window":      second(s.Groups(t.Context(), store.Filter{From: Epoch(), To: Epoch().Add(-1)})),
		"a dimension":   second(s.Groups(t.Context(), store.Filter{}, "path")),
		"a sum by path": second(s.Groups(t.Context(), store.Filter{Path: "/"}, store.ByService)),
		"no steps":      second(s.Timeline(t.Context(), store.Filter{}, 0)),
	} {
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// shape is all of a summary that a caller can see.
func shape(s *store.Summary) []any {
	var buckets []uint64
	for b, n := range s.Buckets {
		buckets = append(buckets, uint64(b), n)
	}
	return []any{s.Records, s.Errors, s.BytesReceived, s.BytesSent, s.Sum, s.Min, s.Max, buckets}
}
