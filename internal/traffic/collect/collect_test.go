package collect

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/traffictest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPeers(t *testing.T) {
	p := NewPeers()
	reviews := traffic.Workload{Namespace: "shop", Name: "reviews-v1", Service: "reviews"}
	p.Learn(map[string]traffic.Workload{"10.0.0.7": reviews, "no address": {}}, []Service{{Namespace: "shop", Name: "reviews", IPs: []string{"10.96.0.1", "fd00::1"}}})
	for ip, want := range map[string]bool{"10.0.0.7": true, "::ffff:10.0.0.7": true, "10.0.0.8": false, "": false} {
		if w, ok := p.Workload(ip); ok != want || want && w != reviews {
			t.Errorf("%q: %+v, %t", ip, w, ok)
		}
	}
	for host, want := range map[string]bool{
		"10.96.0.1": true, "fd00::1": true, "reviews.shop": true, "reviews.shop.svc": true, "reviews.shop.svc.cluster.local": true,
		"reviews": false, "reviews.other": false, "reviews.shop.example.com": false, "": false,
	} {
		if namespace, name, ok := p.Service(host); ok != want || want && (namespace != "shop" || name != "reviews") {
			t.Errorf("%q: %s/%s, %t", host, namespace, name, ok)
		}
	}
	p.Learn(map[string]traffic.Workload{"10.0.0.7": {Name: "another"}}, nil)
	if w, _ := p.Workload("10.0.0.7"); w.Name != "another" {
		t.Errorf("an address that is another's now is still of %+v", w)
	}
}

// Records that come before there is a store wait for it, and each is of the stage that it came in.
func TestStoreThatComesLater(t *testing.T) {
	c, err := New(Options{Run: "run-1", File: filepath.Join(t.TempDir(), "records.db")})
	must(t, err)
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := (*sink)(c).Put(short, traffictest.Some(3, time.Minute, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a store: %v", err)
	}
	records := traffictest.Some(100, time.Minute, 1)
	c.Stage("slow")
	for i := range records {
		records[i].Run, records[i].Stage = c.phase()
	}
	done := make(chan error, 1)
	go func() { done <- (*sink)(c).Put(t.Context(), records) }()
	must(t, c.Use(t.Context(), nil))
	must(t, <-done)
	got, err := c.Read(t.Context(), "slow")
	must(t, err)
	var n uint64
	for _, g := range got.Groups {
		n += g.Summary.Records
	}
	if n != 100 || got.Store != "SQLite" || !got.Account.Balanced() {
		t.Errorf("%d records: %+v", n, got.Account)
	}
	if other, err := c.Read(t.Context(), "fast"); err != nil || len(other.Groups) != 0 {
		t.Errorf("another stage has %+v, %v", other.Groups, err)
	}
	must(t, c.Close(t.Context()))
}
