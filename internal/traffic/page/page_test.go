package page

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/sqlite"
	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

var update = flag.Bool("update", false, "write the golden files and the screenshots of the documentation anew")

var shots = flag.String("shots", "", "a folder to write screenshots of all views to")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bookinfo are the records of a mesh as both sides' proxies write them: n requests within a time, some of which fail.
func bookinfo(n int, over time.Duration) []traffic.Record {
	r := rand.New(rand.NewPCG(3, 4))
	calls := []struct {
		source, service, version, method, name string
		paths                                  int
		mean                                   time.Duration
		failing                                float64
	}{
		{"istio-ingressgateway", "productpage", "v1", "GET", "/productpage", 1, 40 * time.Millisecond, 0.01},
		{"istio-ingressgateway", "productpage", "v1", "POST", "/login", 1, 8 * time.Millisecond, 0},
		{"istio-ingressgateway", "productpage", "v1", "GET", "/api/v1/products/{id}", 900, 15 * time.Millisecond, 0},
		{"productpage-v1", "reviews", "v2", "GET", "/reviews/{id}", 900, 18 * time.Millisecond, 0.004},
		{"productpage-v1", "reviews", "v3", "GET", "/reviews/{id}", 900, 22 * time.Millisecond, 0.3},
		{"productpage-v1", "details", "v1", "GET", "/details/{id}", 900, 3 * time.Millisecond, 0},
		{"reviews-v2", "ratings", "v1", "GET", "/ratings/{id}", 900, 2 * time.Millisecond, 0},
		{"reviews-v3", "ratings", "v1", "GET", "/ratings/{id}", 900, 2 * time.Millisecond, 0.18},
		{"ratings-v1", "mysqldb", "", "", "", 0, 30 * time.Millisecond, 0.02},
	}
	var out []traffic.Record
	for i := range n {
		c := calls[r.IntN(len(calls))]
		at := traffictest.Epoch().Add(time.Duration(int64(over) / int64(n) * int64(i)))
		one := traffic.Record{Time: at, Run: "demo", Stage: []string{"baseline", "fault"}[2*i/n], Reporter: traffic.Destination,
			Source:      traffic.Workload{Namespace: "bookinfo", Name: c.source, Address: fmt.Sprintf("127.1.0.7:%d", 1024+r.IntN(60000))},
			Destination: traffic.Workload{Namespace: "bookinfo", Service: c.service, Name: c.service, Version: c.version, Pod: c.service + "-5f", Address: "127.1.0.9:9080"},
			Protocol:    "HTTP/1.1", Method: c.method, Interface: c.name, Path: strings.ReplaceAll(c.name, "{id}", fmt.Sprint(r.IntN(max(1, c.paths)))), Authority: c.service + ":9080", Scheme: "http",
			Code: 200, Details: "via_upstream", Duration: time.Duration(float64(c.mean) * (0.4 + r.ExpFloat64())), Upstream: traffic.Unknown, FirstByte: traffic.Unknown, BytesSent: 178, Attempts: 1,
			RequestID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), TraceID: fmt.Sprintf("%032x", i+1), UserAgent: "fortio.org/fortio-1.75.3", Route: "default", Cluster: "inbound|9080||"}
		if c.version != "" && c.service == "reviews" {
			one.Destination.Name += "-" + c.version
		} else if c.version != "" {
			one.Destination.Name += "-v1"
		}
		if c.method == "" {
			one.Protocol, one.Code, one.Path, one.Scheme = "TCP", 0, "", ""
		}
		if r.Float64() < c.failing && 2*i > n {
			one.Flags = "UF,URX"
			if one.Code != 0 {
				one.Code = 503
			}
		}
		one.ID = traffic.NewID(at.UnixNano(), int64(r.Uint64()))
		out = append(out, one)
		one.Reporter, one.Time, one.Duration = traffic.Source, at.Add(-50*time.Microsecond), one.Duration+200*time.Microsecond
		one.ID = traffic.NewID(one.Time.UnixNano(), int64(r.Uint64()))
		out = append(out, one)
	}
	return out
}

func put(t testing.TB, s store.Store, records []traffic.Record) {
	t.Helper()
	for part := range slices.Chunk(records, 5000) {
		must(t, s.Put(t.Context(), part))
	}
	must(t, s.Flush(t.Context()))
	if a := s.Account(); !a.Balanced() || a.Lost() > 0 || a.Stored != a.Received {
		t.Fatal(a)
	}
}

func opened(t testing.TB) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"))
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s
}

// demo is a store with bookinfo's records.
func demo(t testing.TB) *sqlite.Store {
	t.Helper()
	s := opened(t)
	put(t, s, bookinfo(6000, 5*time.Minute))
	return s
}

// served is a page of a store on a real server.
func served(t testing.TB, opts Options) *httptest.Server {
	t.Helper()
	p, err := New(opts)
	must(t, err)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s
}

func get(t testing.TB, s *httptest.Server, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	must(t, err)
	r.Header.Set("Accept", "text/html")
	a, err := http.DefaultClient.Do(r)
	must(t, err)
	b, err := io.ReadAll(a.Body)
	must(t, err)
	must(t, a.Body.Close())
	return a.StatusCode, string(b)
}

func fromJSON[T any](t testing.TB, s *httptest.Server, path string) T {
	t.Helper()
	code, text := get(t, s, path)
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, code, text)
	}
	var v T
	must(t, json.Unmarshal([]byte(text), &v))
	return v
}

// golden compares with testdata/name, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if got != string(want) {
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s is another one (go test -update writes it), from byte %d:\n%.300s\nwant:\n%.300s", file, at, got[at:], want[at:])
	}
}

func TestHTML(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Name: "run demo", Loopback: true})
	for name, path := range map[string]string{
		"services.html": "/", "service.html": "/service?namespace=bookinfo&service=reviews", "graph.html": "/graph",
		"requests.html": "/requests?namespace=bookinfo&service=reviews&method=GET&interface=%2Freviews%2F%7Bid%7D&limit=5&sort=duration",
	} {
		code, text := get(t, s, path)
		if code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, code, text)
		}
		golden(t, name, text)
	}
}

func TestExport(t *testing.T) {
	var b bytes.Buffer
	must(t, Export(t.Context(), demo(t), store.Filter{Run: "demo"}, &b))
	golden(t, "export.html", b.String())
	b.Reset()
	must(t, Export(t.Context(), opened(t), store.Filter{}, &b))
	if !strings.Contains(b.String(), "No request was recorded") {
		t.Error(b.String())
	}
	if err := Export(t.Context(), opened(t), store.Filter{TraceID: "x"}, &b); err == nil {
		t.Error("an export of one trace, which no sum answers")
	}
}
