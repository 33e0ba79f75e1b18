package page

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

// TestFigures compares what the page says with the records themselves.
func TestFigures(t *testing.T) {
	db := opened(t)
	records := bookinfo(6000, 5*time.Minute)
	put(t, db, records)
	s := served(t, Options{Reader: db, Loopback: true})
	from, to := traffictest.Epoch().Truncate(10*time.Second).Add(time.Minute), traffictest.Epoch().Truncate(10*time.Second).Add(3*time.Minute)
	q := url.Values{"namespace": {"bookinfo"}, "service": {"reviews"}, "from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}, "version": {"v3"}}
	var want store.Summary
	for i := range records {
		r := &records[i]
		if r.Destination.Service == "reviews" && r.Destination.Version == "v3" && r.Reporter == traffic.Destination && !r.Time.Before(from) && r.Time.Before(to) {
			want.Add(r)
		}
	}
	got := fromJSON[Service](t, s, "/api/service?"+q.Encode())
	if len(got.Interfaces) != 1 || got.Interfaces[0].Interface != "/reviews/{id}" || got.Interfaces[0].Method != "GET" {
		t.Fatalf("%+v", got.Interfaces)
	}
	row := got.Interfaces[0]
	expected := figures(&want, 2*time.Minute)
	for name, pair := range map[string][2]float64{
		"rate": {row.Rate, expected.Rate}, "errors": {*row.ErrorRatio, *expected.ErrorRatio}, "mean": {*row.Mean, *expected.Mean}, "P50": {*row.P50, *expected.P50}, "P95": {*row.P95, *expected.P95},
		"P99": {*row.P99, *expected.P99}, "max": {*row.Max, *expected.Max}, "requests": {float64(row.Requests), float64(want.Records)}, "errors of all": {float64(got.Total.Errors), float64(want.Errors)},
	} {
		if pair[0] != pair[1] || pair[0] == 0 {
			t.Errorf("%s is %v, want %v", name, pair[0], pair[1])
		}
	}
	var over, failed uint64
	for _, step := range row.Timeline {
		over += step.Requests
		failed += step.Errors
	}
	if over != want.Records || failed != want.Errors || len(row.Timeline) != 12 {
		t.Errorf("%d requests over time, %d failed, in %d steps", over, failed, len(row.Timeline))
	}
	if len(got.Callers) != 1 || got.Callers[0].Name != "productpage-v1" || got.Callers[0].Requests != want.Records {
		t.Errorf("%+v", got.Callers)
	}
	if len(row.Versions) != 1 || row.Versions[0] != (Share{"v3", want.Records}) {
		t.Errorf("%+v", row.Versions)
	}
	source := fromJSON[Services](t, s, "/api/services?last=all&reporter=source")
	if destination := fromJSON[Services](t, s, "/api/services?last=all"); *source.Total.Mean <= *destination.Total.Mean || source.Total.Requests != 6000 || destination.Total.Requests != 6000 {
		t.Errorf("the caller's side %+v, the callee's %+v", source.Total, destination.Total)
	}
}

// TestWindow asks for windows around what there is.
func TestWindow(t *testing.T) {
	first := traffictest.Epoch()
	b := bounds{first: first, last: first.Add(3 * time.Hour)}
	for query, want := range map[string]struct {
		from, to, observed time.Duration // from the first record on
	}{
		"":          {110 * time.Minute, 3 * time.Hour, 70 * time.Minute}, // from whole 10 minutes on
		"last=5m":   {3*time.Hour - 5*time.Minute, 3 * time.Hour, 5 * time.Minute},
		"last=all":  {0, 3 * time.Hour, 3 * time.Hour},
		"last=100h": {0, 3 * time.Hour, 3 * time.Hour},
		"from=" + first.Add(time.Hour).Format(time.RFC3339):                {time.Hour, 3 * time.Hour, 2 * time.Hour},
		"to=" + first.Add(time.Hour).Format(time.RFC3339):                  {0, time.Hour, time.Hour},
		"last=5m&to=" + first.Add(time.Hour).Format("2006-01-02T15:04:05"): {0, time.Hour, time.Hour},
		"from=2027-01-01T00:00:00Z":                                        {0, 0, time.Second},
	} {
		q, err := parseQuery(query, traffic.Destination)
		must(t, err)
		w := q.window(b)
		g := store.NewGrid(w.From, w.To, sparkSteps)
		if !g.Start.Equal(w.From) || !g.End().Equal(w.To) || g.Steps < 1 || g.Steps > sparkSteps {
			t.Errorf("%s: %v to %v is no grid: %+v", query, w.From, w.To, g)
		}
		if want.to == 0 {
			if w.observed() != want.observed {
				t.Errorf("%s: %v", query, w.observed())
			}
			continue
		}
		near := func(got time.Time, want time.Duration) bool { return got.Sub(first.Add(want)).Abs() <= g.Step }
		if !near(w.From, want.from) || !near(w.To, want.to) || (w.observed()-want.observed).Abs() > 2*g.Step {
			t.Errorf("%s: %v to %v over %v", query, w.From, w.To, w.observed())
		}
	}
}

// TestPages goes through all failed requests, page by page.
func TestPages(t *testing.T) {
	db := opened(t)
	records := bookinfo(6000, 5*time.Minute)
	put(t, db, records)
	s := served(t, Options{Reader: db, Loopback: true})
	var want []string
	for i := range records {
		if r := &records[i]; r.Failed() && r.Reporter == traffic.Destination && strings.HasPrefix(r.Interface, "/r") {
			want = append(want, r.ID.String())
		}
	}
	slices.Sort(want)
	var got []string
	path := "/api/requests?failed=true&interface=%2Freviews%2F%7Bid%7D&interface=%2Fratings%2F%7Bid%7D&limit=31&sort=duration"
	var before int64
	for next := ""; ; {
		page := fromJSON[Requests](t, s, path+"&after="+url.QueryEscape(next))
		for _, r := range page.Requests {
			if len(got) > 0 && r.Event.Duration > before {
				t.Errorf("%d ns comes after %d ns", r.Event.Duration, before)
			}
			before = r.Event.Duration
			got = append(got, r.Event.ID)
		}
		if next = page.Next; next == "" {
			break
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || len(want) < 100 {
		t.Errorf("%d requests, want %d", len(got), len(want))
	}
}

// TestGraph has loops, calls back, many nodes, and the same picture every time.
func TestGraph(t *testing.T) {
	group := func(from, to string, n int) store.Group {
		g := store.Group{Series: store.Series{SourceNamespace: "a", Source: from + "-v1", Namespace: "a", Service: to, Workload: to + "-v1"}}
		for range n {
			g.Summary.AddDuration(time.Millisecond, false, 0, 0)
		}
		return g
	}
	groups := []store.Group{group("web", "shop", 9), group("shop", "cart", 8), group("cart", "shop", 2), group("cart", "cart", 1), group("shop", "db", 5), group("cart", "db", 5), group("db", "web", 1)}
	for i := range 2 * mostNodes {
		groups = append(groups, group("web", fmt.Sprintf("leaf-%d", i), 1))
	}
	q, err := parseQuery("", traffic.Destination)
	must(t, err)
	var first string
	for range 5 {
		var v Graph
		v.fill(groups, q)
		v.layOut()
		b, err := json.Marshal(v)
		must(t, err)
		for _, e := range v.Edges {
			b = fmt.Append(b, e.curve)
		}
		if got := fmt.Sprint(v.Nodes, string(b)); first == "" {
			first = got
		} else if got != first {
			t.Fatal("another picture of the same graph")
		}
		taken := map[[2]int]bool{}
		for _, n := range v.DrawnNodes() {
			if taken[[2]int{n.X, n.Y}] || n.X < 0 || n.Y < 0 || n.X+boxWidth > v.Width() || n.Y+boxHeight > v.Height() {
				t.Errorf("%s is at %d, %d of %d, %d", n.Name, n.X, n.Y, v.Width(), v.Height())
			}
			taken[[2]int{n.X, n.Y}] = true
		}
		if len(v.Nodes) != 2*mostNodes+4 || len(v.DrawnNodes()) != mostNodes || len(v.Edges) != len(groups) {
			t.Errorf("%d nodes, %d of them drawn, %d edges", len(v.Nodes), len(v.DrawnNodes()), len(v.Edges))
		}
		rows := slices.SortedFunc(slices.Values(v.Nodes[:4]), func(a, b Node) int { return a.Column - b.Column })
		if rows[0].Name != "web" || rows[1].Name != "shop" || rows[2].Name != "cart" || rows[3].Name != "db" {
			t.Errorf("columns: %+v", rows)
		}
	}
}

func TestFormats(t *testing.T) {
	for got, want := range map[string]string{
		formatDuration(traffic.Unknown): "–", formatDuration(0): "0 µs", formatDuration(1500): "1.50 µs", formatDuration(12_345_678): "12.3 ms", formatDuration(999_960_000): "1000 ms", formatDuration(90 * time.Second): "90.0 s",
		formatDuration(11 * time.Minute): "11m0s", formatRatio(0): "0 %", formatRatio(1): "100 %", formatRatio(0.00001): "< 0.01 %", formatRatio(0.999999): "> 99.99 %", formatRatio(0.5): "50 %", formatRatio(0.125): "12.5 %",
		formatRate(0): "0", formatRate(0.001): "< 0.01", formatRate(1234.5): "1234", formatCount(1234567): "1\u202f234\u202f567", formatCount(12): "12", cut("äöü", 2): "äö… (2 bytes more)", cut("abc", 3): "abc", label("abcdef", 4): "abc…",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
