package elastic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

const (
	groupsAtOnce = 100    // each has some hundred buckets of durations
	maxBuckets   = 20_000 // in one answer, of the 65,535 that Elasticsearch makes at most
)

// dimension are the fields of one, and where their values go.
type dimension struct {
	field string
	set   func(*store.Series, string)
}

func dimensions(by []store.Dimension) ([]dimension, error) {
	var out []dimension
	add := func(field string, set func(*store.Series, string)) {
		if !slices.ContainsFunc(out, func(d dimension) bool { return d.field == field }) { // the namespace is of services and workloads
			out = append(out, dimension{field, set})
		}
	}
	for _, d := range by {
		switch d {
		case store.ByRun:
			add("squall.run", func(s *store.Series, v string) { s.Run = v })
		case store.ByStage:
			add("squall.stage", func(s *store.Series, v string) { s.Stage = v })
		case store.ByReporter:
			add("istio.reporter", func(s *store.Series, v string) { s.Reporter = traffic.Reporter(v) })
		case store.BySource:
			add("istio.source.namespace", func(s *store.Series, v string) { s.SourceNamespace = v })
			add("istio.source.workload", func(s *store.Series, v string) { s.Source = v })
		case store.ByService:
			add("istio.destination.namespace", func(s *store.Series, v string) { s.Namespace = v })
			add("service.target.name", func(s *store.Series, v string) { s.Service = v })
		case store.ByWorkload:
			add("istio.destination.namespace", func(s *store.Series, v string) { s.Namespace = v })
			add("istio.destination.workload", func(s *store.Series, v string) { s.Workload = v })
		case store.ByVersion:
			add("service.target.version", func(s *store.Series, v string) { s.Version = v })
		case store.ByInterface:
			add("http.request.method", func(s *store.Series, v string) { s.Method = v })
			add("squall.interface", func(s *store.Series, v string) { s.Interface = v })
		case store.ByCode:
			add("http.response.status_code", func(s *store.Series, v string) { s.Code, _ = strconv.Atoi(v) })
		case store.ByFlags:
			add("squall.flags", func(s *store.Series, v string) { s.Flags = v })
		default:
			return nil, fmt.Errorf("records cannot be grouped by %q", d)
		}
	}
	if len(out) == 0 { // a composite needs a source: this one has one value
		add("event.dataset", func(*store.Series, string) {})
	}
	return out, nil
}

type number struct{ Value *float64 }

// uint is at most what a signed number holds.
func (n number) uint() uint64 {
	if n.Value == nil || *n.Value < 0 {
		return 0
	}
	if *n.Value >= math.MaxInt64 {
		return math.MaxInt64
	}
	return uint64(*n.Value)
}

// terms are buckets by a value; those that lack it are in the rest.
type terms struct {
	Rest    uint64 `json:"sum_other_doc_count"`
	Buckets []struct {
		Key   json.RawMessage
		Count uint64 `json:"doc_count"`
	}
}

// group is a bucket of a composite aggregation.
type group struct {
	Key    map[string]json.RawMessage
	Count  uint64 `json:"doc_count"`
	Failed struct {
		Count uint64 `json:"doc_count"`
	}
	Sum, Min, Max, Received, Sent number
	Durations, Codes, Versions    terms
	Time                          struct {
		Buckets []struct {
			Start  int64  `json:"key"`
			Count  uint64 `json:"doc_count"`
			Failed struct {
				Count uint64 `json:"doc_count"`
			}
			Mean number
		}
	}
}

// grouping is what groups are made by, some at a time, and what is asked of each.
type grouping struct {
	dims  []dimension
	size  int
	below object
}

// composite goes through all groups, by some at a time.
func (s *Store) composite(ctx context.Context, f *store.Filter, q grouping, do func(*group) error) error {
	dims, size := q.dims, q.size
	var sources []object
	for _, d := range dims {
		sources = append(sources, object{d.field: object{"terms": object{"field": d.field, "missing_bucket": true}}})
	}
	all := object{"size": size, "sources": sources}
	for {
		var got struct {
			hits
			Aggregations struct {
				Groups struct {
					After   json.RawMessage `json:"after_key"`
					Buckets []group
				}
			}
		}
		err := s.search(ctx, object{"size": 0, "track_total_hits": false, "query": query(f), "aggs": object{"groups": object{"composite": all, "aggs": q.below}}}, &got)
		var failed *statusError
		if errors.As(err, &failed) && strings.Contains(failed.kind+failed.reason, "too_many_buckets") && size > 1 {
			size /= 2
			all["size"] = size
			continue
		}
		if err != nil {
			return fmt.Errorf("sum up records: %w", err)
		}
		if got.TimedOut || got.Shards.Failed > 0 {
			return errPart
		}
		groups := got.Aggregations.Groups
		for i := range groups.Buckets {
			if err := do(&groups.Buckets[i]); err != nil {
				return err
			}
		}
		if len(groups.Buckets) < size || len(groups.After) == 0 {
			return nil
		}
		all["after"] = groups.After
	}
}

// labels reads a group's key.
func (g *group) labels(dims []dimension) store.Series {
	var out store.Series
	for _, d := range dims {
		d.set(&out, text(g.Key[d.field]))
	}
	return out
}

// text is a key without quotes; null is empty.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func field(name string) object { return object{"field": name} }

// Groups sums up.
func (s *Store) Groups(ctx context.Context, f store.Filter, by ...store.Dimension) ([]store.Group, error) {
	if err := f.Summable(); err != nil {
		return nil, err
	}
	dims, err := dimensions(by)
	if err != nil {
		return nil, err
	}
	below := object{
		"failed": object{"filter": object{"term": object{"squall.failed": true}}},
		"sum":    object{"sum": field("event.duration")}, "min": object{"min": field("event.duration")}, "max": object{"max": field("event.duration")},
		"received": object{"sum": field("source.bytes")}, "sent": object{"sum": field("destination.bytes")},
		"durations": object{"terms": object{"field": "squall.bucket", "size": 3000}},
		"codes":     object{"terms": object{"field": "http.response.status_code", "size": 600}},
		"versions":  object{"terms": object{"field": "service.target.version", "size": 1000}},
	}
	out := []store.Group{}
	err = s.composite(ctx, &f, grouping{dims, groupsAtOnce, below}, func(g *group) error {
		one := store.Group{Series: g.labels(dims), Codes: map[int]uint64{}, Versions: map[string]uint64{}}
		if one.Summary, err = g.summary(); err != nil {
			return err
		}
		left := g.Count
		for _, b := range g.Codes.Buckets {
			code, err := strconv.Atoi(text(b.Key))
			if err != nil {
				return fmt.Errorf("sum up records: a code %s: %w", b.Key, err)
			}
			one.Codes[code] = b.Count
			left -= b.Count
		}
		if left > 0 {
			one.Codes[0] = left
		}
		left = g.Count
		for _, b := range g.Versions.Buckets {
			one.Versions[text(b.Key)] = b.Count
			left -= b.Count
		}
		if left > 0 {
			one.Versions[""] = left
		}
		out = append(out, one)
		return nil
	})
	slices.SortFunc(out, func(a, b store.Group) int { return store.Compare(&a.Series, &b.Series) })
	return out, err
}

// summary is the same as the sum of the group's records.
func (g *group) summary() (store.Summary, error) {
	s := store.Summary{Records: g.Count, Errors: g.Failed.Count, BytesReceived: g.Received.uint(), BytesSent: g.Sent.uint(),
		Sum: time.Duration(g.Sum.uint()), Min: time.Duration(g.Min.uint()), Max: time.Duration(g.Max.uint())}
	if g.Durations.Rest > 0 {
		return s, fmt.Errorf("sum up records: %d durations were left out", g.Durations.Rest)
	}
	for _, b := range g.Durations.Buckets {
		n, err := strconv.Atoi(text(b.Key))
		if err != nil {
			return s, fmt.Errorf("sum up records: a bucket %s: %w", b.Key, err)
		}
		if err := s.AddBucket(n, b.Count); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Timeline counts by time.
func (s *Store) Timeline(ctx context.Context, f store.Filter, n int, by ...store.Dimension) ([]store.Timeline, error) {
	if err := errors.Join(f.Summable(), store.CheckSteps(n)); err != nil {
		return nil, err
	}
	dims, err := dimensions(by)
	if err != nil {
		return nil, err
	}
	from, to, err := s.bounds(ctx, &f)
	if err != nil || !from.Before(to) {
		return nil, err
	}
	grid := store.NewGrid(from, to, n)
	f.From, f.To = grid.Start, grid.End()
	below := object{"time": object{
		"date_histogram": object{"field": "@timestamp", "fixed_interval": fmt.Sprintf("%ds", int(grid.Step.Seconds())), "offset": fmt.Sprintf("%ds", grid.Start.Unix()%int64(grid.Step.Seconds()))},
		"aggs":           object{"failed": object{"filter": object{"term": object{"squall.failed": true}}}, "mean": object{"avg": field("event.duration")}},
	}}
	var out []store.Timeline
	err = s.composite(ctx, &f, grouping{dims, max(1, maxBuckets/grid.Steps), below}, func(g *group) error {
		t := store.Timeline{Series: g.labels(dims), Points: grid.Points()}
		for _, b := range g.Time.Buckets {
			i := grid.Of(time.UnixMilli(b.Start))
			if i < 0 || i >= len(t.Points) {
				return fmt.Errorf("sum up records: a step at %v, outside of the window", time.UnixMilli(b.Start))
			}
			p := &t.Points[i]
			p.Records, p.Errors = b.Count, b.Failed.Count
			if b.Mean.Value != nil && b.Count > 0 {
				p.Mean = time.Duration(b.Mean.uint())
			}
		}
		out = append(out, t)
		return nil
	})
	slices.SortFunc(out, func(a, b store.Timeline) int { return store.Compare(&a.Series, &b.Series) })
	return out, err
}

// bounds are the window's, or those of the records where it is open.
func (s *Store) bounds(ctx context.Context, f *store.Filter) (from, to time.Time, err error) {
	from, to = f.From, f.To
	if !from.IsZero() && !to.IsZero() {
		return from, to, nil
	}
	var got struct {
		hits
		Aggregations struct{ First, Last number }
	}
	err = s.search(ctx, object{"size": 0, "track_total_hits": false, "query": query(f), "aggs": object{"first": object{"min": field("@timestamp")}, "last": object{"max": field("@timestamp")}}}, &got)
	first, last := got.Aggregations.First.Value, got.Aggregations.Last.Value
	if err != nil || first == nil || last == nil {
		return time.Time{}, time.Time{}, err
	}
	if from.IsZero() {
		from = time.UnixMilli(int64(*first))
	}
	if to.IsZero() {
		to = time.UnixMilli(int64(*last)).Add(time.Millisecond)
	}
	return from, to, nil
}
