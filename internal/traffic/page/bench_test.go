package page

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/sqlite"
	"squall/internal/traffic/traffictest"
)

// How many records the page is measured with, and a file to keep them in from one time to the next:
// go test -run - -bench Page ./internal/traffic/page -records 10000000 -file /tmp/records.db
var (
	size = flag.Int("records", 1_000_000, "records that the page is measured with")
	kept = flag.String("file", "", "a `FILE` for these records, used again if it is there")
)

// many fills a store with records as a mesh of 5 services with 40 interfaces each has them in 20 minutes.
func many(b *testing.B) *sqlite.Store {
	b.Helper()
	file := *kept
	if file == "" {
		file = filepath.Join(b.TempDir(), "records.db")
	}
	_, err := os.Stat(file)
	s, openErr := sqlite.Open(b.Context(), file)
	must(b, openErr)
	b.Cleanup(func() { _ = s.Close(b.Context()) })
	if err == nil {
		return s
	}
	r := rand.New(rand.NewPCG(1, 2))
	base := traffictest.Some(4096, time.Second, 1)
	for i := range base { // few of the interfaces have most of the traffic
		base[i].Destination.Service = fmt.Sprintf("service-%d", r.IntN(5))
		base[i].Interface = fmt.Sprintf("/api/%d/{id}", int(r.ExpFloat64()*5)%40)
	}
	at, each := traffictest.Epoch(), 20*time.Minute/time.Duration(*size)
	part := make([]traffic.Record, 10_000)
	for done := 0; done < *size; done += len(part) {
		for i := range part {
			at = at.Add(each)
			part[i] = base[r.IntN(len(base))]
			part[i].Time, part[i].Duration = at, time.Duration(1e6+r.ExpFloat64()*5e6)
			part[i].ID = traffic.NewID(at.UnixNano(), int64(r.Uint64()))
		}
		must(b, s.Put(b.Context(), part))
	}
	must(b, s.Flush(b.Context()))
	return s
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPage is how long a whole page takes, from the request to its last byte: 200 ms is the aim. cpu-ms says the same on a busy machine.
func BenchmarkPage(b *testing.B) {
	s := many(b)
	p, err := New(Options{Reader: s, Name: "many", Loopback: true})
	must(b, err)
	hot := "namespace=bookinfo&service=service-1&method=GET&interface=" + url.QueryEscape("/api/0/{id}")
	for _, c := range []struct{ name, path string }{
		{"services", "/"}, {"services of all times", "/?last=all"}, {"services of five minutes", "/?last=5m"}, {"interfaces", "/service?namespace=bookinfo&service=service-1"}, {"graph", "/graph"},
		{"requests", "/requests?" + hot}, {"slowest requests", "/requests?sort=duration&" + hot}, {"failed requests", "/requests?failed=true&" + hot}, {"requests by path", "/requests?path=nowhere&" + hot},
		{"requests of all", "/requests"}, {"slowest of all", "/requests?sort=duration"},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			used := cpu(b)
			for b.Loop() {
				begin := time.Now()
				w := httptest.NewRecorder()
				p.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://localhost"+c.path, nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
				took = append(took, time.Since(begin))
			}
			b.ReportMetric(float64((cpu(b)-used).Microseconds())/1000/float64(len(took)), "cpu-ms")
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
		})
	}
}
