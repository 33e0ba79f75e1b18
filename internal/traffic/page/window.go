package page

import (
	"context"
	"fmt"
	"sync"
	"time"

	"squall/internal/traffic/store"
)

const (
	sparkSteps = 60
	longWindow = time.Hour        // one that begins at whole 10 minutes: stores have sums of those
	wholeStart = 10 * time.Minute // of such windows
	boundsFor  = time.Second      // the newest record is looked up once for all requests of that time
	oldestFor  = 5 * time.Minute  // and the oldest one
)

// Window is the time that a view is about: whole steps, so that sums answer.
type Window struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	First time.Time `json:"first"` // the oldest record of the run
	Last  time.Time `json:"last"`  // the newest one
	// Seconds are those of the window in which there could be records: rates are over them.
	Seconds float64 `json:"seconds"`
}

// empty reports whether there is no record at all.
func (w *Window) empty() bool { return w.Last.IsZero() }

// observed is the part of the window between the first and the last record, and a second at least.
func (w *Window) observed() time.Duration {
	from, to := w.From, w.To
	if from.Before(w.First) {
		from = w.First
	}
	if to.After(w.Last) {
		to = w.Last
	}
	return max(time.Second, to.Sub(from))
}

// open leaves the bounds of a filter of the window away where no record is beyond: sums over open windows are fewer.
func (w *Window) open(f store.Filter) store.Filter {
	if !w.From.After(w.First) {
		f.From = time.Time{}
	}
	if w.To.After(w.Last) {
		f.To = time.Time{}
	}
	return f
}

// window is what a query's window is for the records that there are.
func (q *query) window(b bounds) Window {
	w := Window{From: q.filter.From, To: q.filter.To, First: b.first, Last: b.last}
	if w.To.IsZero() {
		w.To = b.last.Add(1)
	}
	switch {
	case q.last > 0:
		if w.From = w.To.Add(-q.last); q.last >= longWindow {
			w.From = w.From.Truncate(wholeStart)
		}
		if w.From.Before(b.first) {
			w.From = b.first
		}
	case w.From.IsZero():
		w.From = b.first
	}
	if !w.From.Before(w.To) { // all records are older or newer than the bound that was given
		if w.From = q.filter.From; w.From.IsZero() {
			w.From = q.filter.To
		}
		w.To = w.From.Add(1)
	}
	g := store.NewGrid(w.From, w.To, sparkSteps)
	for range 4 { // the grid of a grid may be a coarser one
		g = store.NewGrid(g.Start, g.End(), sparkSteps)
	}
	w.From, w.To = g.Start, g.End()
	w.Seconds = w.observed().Seconds()
	return w
}

// bounds are the times of the oldest and the newest record.
type bounds struct {
	first, last time.Time
	looked      time.Time // when the newest one was looked up
	oldest      time.Time // when the oldest one was
}

// edges remembers the bounds of runs.
type edges struct {
	reader store.Reader
	mu     sync.Mutex
	known  map[string]bounds
}

// of are the bounds of a run's records as one side reports them.
func (e *edges) of(ctx context.Context, f *store.Filter) (bounds, error) {
	of := store.Filter{Run: f.Run, Reporter: f.Reporter}
	key := fmt.Sprintf("%s\x00%s", of.Reporter, of.Run)
	e.mu.Lock()
	b := e.known[key]
	e.mu.Unlock()
	now := time.Now()
	if now.Sub(b.looked) < boundsFor {
		return b, nil
	}
	var err error
	if b.last, err = e.end(ctx, of, false); err != nil {
		return b, err
	}
	if b.first.IsZero() || now.Sub(b.oldest) > oldestFor {
		if b.first, err = e.end(ctx, of, true); err != nil {
			return b, err
		}
		b.oldest = now
	}
	b.looked = now
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.known) > 100 { // runs that were asked for by name
		clear(e.known)
	}
	e.known[key] = b
	return b, nil
}

// forget has the newest records looked up again.
func (e *edges) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, b := range e.known {
		b.looked = time.Time{}
		e.known[key] = b
	}
}

// end is the time of the oldest or the newest record; zero without any.
func (e *edges) end(ctx context.Context, f store.Filter, oldest bool) (time.Time, error) {
	l, err := e.reader.List(ctx, f, store.Page{Limit: 1, Ascending: oldest})
	if err != nil || len(l.Records) == 0 {
		return time.Time{}, err
	}
	return l.Records[0].Time, nil
}
