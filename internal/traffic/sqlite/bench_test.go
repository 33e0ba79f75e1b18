package sqlite

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

// The size that the benchmarks of queries are of: go test -bench Queries ./internal/traffic/sqlite -records 10000000
var size = flag.Int("records", 200_000, "records that queries are measured with")

// mesh writes records as a mesh of some services has them, at 50,000 a second of its own time.
type mesh struct {
	r    *rand.Rand
	at   time.Time
	base []traffic.Record
}

func newMesh() *mesh {
	m := &mesh{rand.New(rand.NewPCG(1, 2)), traffictest.Epoch(), traffictest.Some(4096, time.Second, 1)}
	for i := range m.base { // 40 interfaces of each of 5 services, of which few have most of the traffic
		s := m.r.IntN(5)
		m.base[i].Destination.Service = fmt.Sprintf("service-%d", s)
		m.base[i].Interface = fmt.Sprintf("/api/%d/{id}", int(m.r.ExpFloat64()*5)%40)
	}
	return m
}

func (m *mesh) next(out []traffic.Record) {
	for i := range out {
		out[i] = m.base[m.r.IntN(len(m.base))]
		m.at = m.at.Add(20 * time.Microsecond)
		out[i].Time = m.at
		out[i].Duration = time.Duration(1e6 + m.r.ExpFloat64()*5e6)
		out[i].ID = traffic.NewID(m.at.UnixNano(), int64(m.r.Uint64()))
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPut is how many records a second are stored for good. cpu-µs/record tells the same on a busy machine.
func BenchmarkPut(b *testing.B) {
	s, m := opened(b, filepath.Join(b.TempDir(), "records.db")), newMesh()
	part := make([]traffic.Record, 500)
	begin, used, n := time.Now(), cpu(b), 0
	for b.Loop() {
		m.next(part)
		must(b, s.Put(b.Context(), part))
		n += len(part)
	}
	must(b, s.Flush(b.Context()))
	if a := s.Account(); a.Stored != uint64(n) {
		b.Fatal(a)
	}
	b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "records/s")
	b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(n), "cpu-µs/record")
}

func BenchmarkQueries(b *testing.B) {
	s, m := opened(b, filepath.Join(b.TempDir(), "records.db")), newMesh()
	part := make([]traffic.Record, 10_000)
	for done := 0; done < *size; done += len(part) {
		m.next(part)
		must(b, s.Put(b.Context(), part))
	}
	must(b, s.Flush(b.Context()))
	span := m.at.Sub(traffictest.Epoch())
	ragged := store.Filter{From: traffictest.Epoch().Add(span / 10), To: traffictest.Epoch().Add(span * 9 / 10)}
	service, hot, rare := ragged, ragged, ragged
	service.Service = "service-1"
	hot.Service, hot.Interfaces = "service-1", []string{"/api/0/{id}"}
	rare.Service, rare.Interfaces, rare.Codes = "service-2", []string{"/api/31/{id}"}, []int{503}
	whole := store.Filter{Run: "run-1", Service: "service-1"}
	var middle store.Page
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"services", func() error { return second2(s.Groups(b.Context(), ragged, store.ByService)) }},
		{"interfaces", func() error { return second2(s.Groups(b.Context(), service, store.ByInterface)) }},
		{"interfaces of a run", func() error { return second2(s.Groups(b.Context(), whole, store.ByInterface)) }},
		{"edges", func() error { return second2(s.Groups(b.Context(), ragged, store.BySource, store.ByService)) }},
		{"sparklines", func() error { return second2(s.Timeline(b.Context(), service, 60, store.ByInterface)) }},
		{"newest", func() error { return second2(s.List(b.Context(), hot, store.Page{})) }},
		{"newest of all", func() error { return second2(s.List(b.Context(), store.Filter{}, store.Page{})) }},
		{"slowest", func() error { return second2(s.List(b.Context(), hot, store.Page{Order: store.ByDuration})) }},
		{"slowest of all", func() error { return second2(s.List(b.Context(), ragged, store.Page{Order: store.ByDuration})) }},
		{"rare", func() error { return second2(s.List(b.Context(), rare, store.Page{Order: store.ByDuration})) }},
		{"page after page", func() error {
			l, err := s.List(b.Context(), hot, middle)
			middle.After = l.Next
			return err
		}},
		{"path", func() error { return second2(s.List(b.Context(), store.Filter{Path: "nowhere"}, store.Page{})) }},
		{"trace", func() error { return second2(s.List(b.Context(), store.Filter{TraceID: "nowhere"}, store.Page{})) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				must(b, c.do())
			}
		})
	}
}
