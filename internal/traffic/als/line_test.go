package als

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"squall/internal/traffic"
)

const whole = `{"start":"2026-05-06T07:08:09.123456789Z","log_type":"DownstreamEnd","stream_id":"s-1","method":"GET","path":"/reviews/0?user=alice","protocol":"HTTP/1.1",` +
	`"authority":"reviews:9080","scheme":"http","code":503,"flags":"UO,URX","details":"overflow","duration_ns":20000000,"duration_ms":20,"upstream_ns":null,"first_byte_ns":18000000,` +
	`"bytes_received":3,"bytes_sent":81,"attempts":2,"request_id":"r-1","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","user_agent":"curl/8",` +
	`"principal":"spiffe://cluster.local/ns/bookinfo/sa/page","route_name":"default","upstream_cluster":"outbound|9080||reviews.bookinfo.svc.cluster.local","upstream_host":"10.0.0.2:9080",` +
	`"downstream_local":"10.96.0.9:9080","downstream_remote":"10.0.0.1:40000","load":null}` + "\n"

// readAll is what comes of a log.
func readAll(t testing.TB, p Proxy, log string) (*Server, []traffic.Record, error) {
	t.Helper()
	sink := &kept{}
	s := newServer(t, sink, pods{of: map[string]traffic.Workload{"10.0.0.2": {Namespace: "bookinfo", Name: "reviews-v3", Service: "reviews", Version: "v3", Pod: "reviews-v3-a"}}})
	err := s.Read(t.Context(), p, strings.NewReader(log))
	return s, sink.records, err
}

func TestRead(t *testing.T) {
	page := Proxy{IP: "10.0.0.1", Self: traffic.Workload{Namespace: "bookinfo", Name: "page", Pod: "page-1"}}
	s, got, err := readAll(t, page, whole+strings.Replace(whole, "DownstreamEnd", "DownstreamStart", 1)+whole)
	must(t, err)
	if len(got) != 2 || got[0].ID != got[1].ID {
		t.Fatalf("%+v: want one record twice", got)
	}
	want := traffic.Record{
		ID: got[0].ID, Time: time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.UTC), Reporter: traffic.Source, Run: "run-1", Stage: "stage-1",
		Source:      traffic.Workload{Namespace: "bookinfo", Name: "page", Pod: "page-1", Address: "10.0.0.1:40000"},
		Destination: traffic.Workload{Namespace: "bookinfo", Name: "reviews-v3", Service: "reviews", Version: "v3", Pod: "reviews-v3-a", Address: "10.0.0.2:9080"},
		Protocol:    "HTTP/1.1", Method: "GET", Path: "/reviews/0?user=REDACTED", Interface: "/reviews/{id}", Authority: "reviews:9080", Scheme: "http",
		Code: 503, Flags: "UO,URX", Details: "overflow", Duration: 20 * time.Millisecond, Upstream: traffic.Unknown, FirstByte: 18 * time.Millisecond,
		BytesReceived: 3, BytesSent: 81, Attempts: 2, RequestID: "r-1", TraceID: "0af7651916cd43dd8448eb211c80319c", UserAgent: "curl/8",
		Principal: "spiffe://cluster.local/ns/bookinfo/sa/page", Route: "default", Cluster: "outbound|9080||reviews.bookinfo.svc.cluster.local",
	}
	if !reflect.DeepEqual(got[0], want) {
		t.Errorf("\n%+v, want\n%+v", got[0], want)
	}
	if c := s.Counts(); c.Entries != 3 || c.Records != 2 || c.Ignored["DownstreamStart"] != 1 {
		t.Errorf("%+v", c)
	}
	if n := s.Arrived("page-1"); n != 2 {
		t.Errorf("%d have arrived", n)
	}
	gateway := Proxy{IP: "10.0.0.1", Gateway: true, Self: page.Self}
	if _, got, err := readAll(t, gateway, whole); err != nil || len(got) != 1 || got[0].Principal != "" {
		t.Errorf("%+v, %v: who calls a gateway is outside of the mesh", got, err)
	}
}

// A log that is damaged is told, and what comes before the damage is kept.
func TestReadDamaged(t *testing.T) {
	for name, log := range map[string]string{
		"cut off": whole + whole[:100], "no JSON": whole + "upstream reset\n", "another type": whole + "[1]\n", "a number": whole + "7\n", "no text": whole + "\x00\x00\n",
	} {
		s, got, err := readAll(t, Proxy{Self: traffic.Workload{Pod: "page-1"}}, log)
		if err == nil || !strings.Contains(err.Error(), "the access log of page-1: ") || len(got) != 1 || s.Counts().Malformed != 1 {
			t.Errorf("%s: %d records, %+v, %v", name, len(got), s.Counts(), err)
		}
	}
	s, got, err := readAll(t, Proxy{}, `{"code":{"a":1},"start":7}`+"\n"+`{}`+"\n")
	if err != nil || len(got) != 0 || s.Counts().Ignored["other attributes"] != 2 {
		t.Errorf("%+v, %v, %v", s.Counts(), got, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(whole)
	f.Add(`{"code":0,"start":null,"downstream_local":"[::1]:80","upstream_cluster":"inbound|8080||"}`)
	f.Add(whole[:77])
	f.Fuzz(func(t *testing.T, log string) {
		s, got, err := readAll(t, Proxy{IP: "10.0.0.1", Self: traffic.Workload{Namespace: "n", Pod: "p"}}, log)
		for i := range got {
			if err := got[i].Valid(); err != nil {
				t.Error(err)
			}
		}
		c := s.Counts()
		ignored := uint64(0)
		for _, n := range c.Ignored {
			ignored += n
		}
		if c.Entries != c.Records+ignored || c.Records != uint64(len(got)) || (c.Malformed > 0) != (err != nil) {
			t.Errorf("%+v, %d records, %v", c, len(got), err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	s := newServer(b, &kept{put: func(context.Context) error { return nil }}, nil)
	log := strings.Repeat(whole, 1000)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		must(b, s.Read(b.Context(), Proxy{IP: "10.0.0.1"}, strings.NewReader(log)))
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
