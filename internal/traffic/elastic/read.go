package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v9/esapi"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

type object = map[string]any

// query is a filter as Elasticsearch has it. All values are data: nothing of them is parsed as a query.
func query(f *store.Filter) object {
	var filters []object
	term := func(field, value string) {
		if value != "" {
			filters = append(filters, object{"term": object{field: value}})
		}
	}
	term("squall.run", f.Run)
	filters = oneOf(filters, "squall.stage", f.Stages)
	term("istio.reporter", string(f.Reporter))
	term("istio.source.workload", f.Source)
	term("istio.source.namespace", f.SourceIn)
	term("istio.destination.namespace", f.Namespace)
	term("service.target.name", f.Service)
	term("istio.destination.workload", f.Workload)
	filters = oneOf(filters, "service.target.version", f.Versions)
	term("http.request.method", f.Method)
	filters = oneOf(filters, "squall.interface", f.Interfaces)
	filters = oneOf(filters, "http.response.status_code", f.Codes)
	term("envoy.response_flags", f.Flag)
	term("http.request.id", f.RequestID)
	term("trace.id", f.TraceID)
	if f.Failed != nil {
		filters = append(filters, object{"term": object{"squall.failed": *f.Failed}})
	}
	if len(f.Classes) > 0 {
		var any []object
		for _, c := range f.Classes {
			if c == 0 {
				any = append(any, lacking("http.response.status_code"))
			}
			any = append(any, object{"range": object{"http.response.status_code": object{"gte": c * 100, "lt": c*100 + 100}}})
		}
		filters = append(filters, object{"bool": object{"should": any, "minimum_should_match": 1}})
	}
	if f.Path != "" {
		quoted := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(f.Path)
		filters = append(filters, object{"wildcard": object{"url.original": object{"value": "*" + quoted + "*"}}})
	}
	filters = append(filters, ranges(f)...)
	if filters == nil {
		return object{"match_all": object{}}
	}
	return object{"bool": object{"filter": filters}}
}

// oneOf adds a filter of values. A document lacks a field that is empty or 0.
func oneOf[T comparable](filters []object, field string, values []T) []object {
	var zero T
	switch any := (object{"terms": object{field: values}}); {
	case len(values) == 0:
		return filters
	case slices.Contains(values, zero):
		return append(filters, object{"bool": object{"should": []object{any, lacking(field)}, "minimum_should_match": 1}})
	default:
		return append(filters, any)
	}
}

func lacking(field string) object {
	return object{"bool": object{"must_not": object{"exists": object{"field": field}}}}
}

func ranges(f *store.Filter) []object {
	window, duration := object{}, object{}
	if !f.From.IsZero() {
		window["gte"] = f.From.UTC().Format(time.RFC3339Nano)
	}
	if !f.To.IsZero() {
		window["lt"] = f.To.UTC().Format(time.RFC3339Nano)
	}
	if f.Slower != 0 {
		duration["gte"] = int64(f.Slower)
	}
	if f.Faster != 0 {
		duration["lte"] = int64(f.Faster)
	}
	var out []object
	if len(window) > 0 {
		out = append(out, object{"range": object{"@timestamp": window}})
	}
	if len(duration) > 0 {
		out = append(out, object{"range": object{"event.duration": duration}})
	}
	return out
}

// search asks for records of the store's indices.
func (s *Store) search(ctx context.Context, body object, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	yes := true
	return s.client.ask(ctx, esapi.SearchRequest{Index: []string{s.config.Index + "-*"}, Body: bytes.NewReader(text), IgnoreUnavailable: &yes, AllowNoIndices: &yes}, out)
}

// hits are an answer's.
type hits struct {
	TimedOut bool `json:"timed_out"`
	Shards   struct{ Failed int }
	Hits     struct {
		Hits []struct {
			Source json.RawMessage   `json:"_source"`
			Sort   []json.RawMessage `json:"sort"`
		}
	}
}

// List is one page.
func (s *Store) List(ctx context.Context, f store.Filter, page store.Page) (out store.Listing, err error) {
	if page, err = page.Checked(); err != nil {
		return out, err
	}
	order := "desc"
	if page.Ascending {
		order = "asc"
	}
	sort := []object{{"@timestamp": object{"order": order, "unmapped_type": "date_nanos"}}, {"squall.hash": object{"order": order, "unmapped_type": "long"}}}
	if page.Order == store.ByDuration {
		sort = slices.Insert(sort, 0, object{"event.duration": object{"order": order, "unmapped_type": "long"}})
	}
	body := object{"query": query(&f), "sort": sort, "size": page.Limit + 1, "track_total_hits": false}
	if page.After != "" {
		var after []int64
		if err := json.Unmarshal([]byte(page.After), &after); err != nil || len(after) != len(sort) {
			return out, fmt.Errorf("a page after %.60q: %w", page.After, store.ErrCursor)
		}
		body["search_after"] = after
	}
	var got hits
	if err := s.search(ctx, body, &got); err != nil {
		return out, fmt.Errorf("list records: %w", err)
	}
	if got.TimedOut || got.Shards.Failed > 0 {
		return out, errPart
	}
	found := got.Hits.Hits
	if len(found) > page.Limit {
		found = found[:page.Limit]
		next, err := json.Marshal(found[page.Limit-1].Sort)
		if err != nil {
			return out, err
		}
		out.Next = string(next)
	}
	out.Records = make([]traffic.Record, 0, len(found))
	for _, h := range found {
		r, err := traffic.ParseDocument(h.Source)
		if err != nil {
			return out, fmt.Errorf("list records: %w", err)
		}
		out.Records = append(out.Records, r)
	}
	return out, nil
}

// errPart is an answer of some shards alone.
var errPart = errors.New("Elasticsearch answered for a part of the records: some of its shards did not answer") //nolint:staticcheck // a name
