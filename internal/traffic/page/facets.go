package page

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

const (
	facetsFor  = 10 * time.Second // what can be chosen is looked up once for all pages of that time
	mostFacets = 200              // values of each that can be chosen; others are by address
)

// facets are what the records of a window can be filtered by.
type facets struct{ Runs, Stages, Sources, Versions []string }

type facetKey struct {
	from, to int64
	reporter traffic.Reporter
}

type knownFacets struct {
	facets
	until time.Time
}

// facetCache remembers them, of the last windows.
type facetCache struct {
	reader store.Reader
	mu     sync.Mutex
	known  map[facetKey]knownFacets
}

func newFacetCache(r store.Reader) *facetCache {
	return &facetCache{reader: r, known: map[facetKey]knownFacets{}}
}

// windowed is every view.
type windowed interface{ window() Window }

func (v Services) window() Window { return v.Window }
func (v Service) window() Window  { return v.Window }
func (v Requests) window() Window { return v.Window }
func (v Graph) window() Window    { return v.Window }

// of are those of a view's window.
func (c *facetCache) of(ctx context.Context, view any, q *query) (facets, error) {
	in, ok := view.(windowed)
	if !ok || in.window().Last.IsZero() {
		return facets{}, nil
	}
	w := in.window()
	key := facetKey{w.From.UnixNano(), w.To.UnixNano(), q.filter.Reporter}
	c.mu.Lock()
	got, ok := c.known[key]
	c.mu.Unlock()
	if ok && time.Now().Before(got.until) {
		return got.facets, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	f, err := c.ask(ctx, w.open(store.Filter{From: w.From, To: w.To, Reporter: q.filter.Reporter}))
	if err != nil {
		return f, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) > 100 {
		clear(c.known)
	}
	c.known[key] = knownFacets{f, time.Now().Add(facetsFor)}
	return f, nil
}

func (c *facetCache) ask(ctx context.Context, f store.Filter) (facets, error) {
	groups, err := c.reader.Groups(ctx, f, store.ByRun, store.ByStage, store.BySource, store.ByVersion)
	if err != nil {
		return facets{}, err
	}
	var runs, stages, sources, versions = map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range groups {
		g := &groups[i]
		runs[g.Run], stages[g.Stage], sources[g.Source], versions[g.Version] = true, true, true, true
	}
	return facets{values(runs), values(stages), values(sources), values(versions)}, nil
}

func values(m map[string]bool) []string {
	delete(m, "")
	out := slices.Sorted(maps.Keys(m))
	return out[:min(len(out), mostFacets)]
}
