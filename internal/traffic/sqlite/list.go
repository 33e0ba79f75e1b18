package sqlite

import (
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

// place is where a record stands in a listing, and the cursor of a page: the last one of the page before.
type place struct {
	Duration int64 `json:"d,omitempty"`
	Time     int64 `json:"t"`
	Hash     int64 `json:"h"`
	Series   int64 `json:"s"`
}

// request is a listing on its way.
type request struct {
	f     store.Filter
	page  store.Page
	after *place
	ids   map[int64]store.Series
	w     span
	// budget is how many records the database looks at for the page.
	budget int64
}

// List is one page.
func (s *Store) List(ctx context.Context, f store.Filter, page store.Page) (out store.Listing, err error) {
	q := request{f: f, budget: cmp.Or(s.budget, searchBudget)}
	if q.w, err = spanOf(&f); err != nil {
		return out, err
	}
	if q.page, err = page.Checked(); err != nil {
		return out, err
	}
	if page.After != "" {
		q.after = &place{}
		if err := json.Unmarshal([]byte(page.After), q.after); err != nil {
			return out, fmt.Errorf("a page after %.60q: %w (%w)", page.After, store.ErrCursor, err)
		}
	}
	err = s.view(ctx, func(tx *sql.Tx) error {
		if q.ids, err = s.matching(ctx, tx, &f); err != nil || len(q.ids) == 0 {
			return err
		}
		switch {
		case q.page.Order == store.ByDuration:
			out, err = q.byDuration(ctx, tx)
		case q.picks():
			out, err = q.search(ctx, tx)
		default:
			out, err = q.byTime(ctx, tx)
		}
		return err
	})
	return out, err
}

// listed is a record with its place.
type listed struct {
	place
	context int64
	port    int
	record  traffic.Record
}

const listColumns = "time, hash, duration, upstream, first_byte, received, sent, attempts, port, context, path, request_id, trace_id"

func scanListed(from scanner, l *listed) error {
	r := &l.record
	var request, trace any
	if err := from.Scan(&l.Time, &l.Hash, &l.Duration, &r.Upstream, &r.FirstByte, &r.BytesReceived, &r.BytesSent, &r.Attempts, &l.port, &l.context,
		&r.Path, &request, &trace); err != nil {
		return err
	}
	r.Duration = time.Duration(l.Duration)
	r.RequestID, r.TraceID = unpacked(request), unpacked(trace)
	return nil
}

// complete adds what a record shares with others.
func (q *request) complete(ctx context.Context, tx *sql.Tx, list []listed) ([]traffic.Record, error) {
	contexts := map[int64]shared{}
	out := make([]traffic.Record, 0, len(list))
	for i := range list {
		l := &list[i]
		c, ok := contexts[l.context]
		if !ok {
			var fields []byte
			if err := tx.QueryRowContext(ctx, "SELECT fields FROM contexts WHERE id = ?", l.context).Scan(&fields); err != nil {
				return nil, fmt.Errorf("read what records share: %w", err)
			}
			if err := json.Unmarshal(fields, &c); err != nil {
				return nil, fmt.Errorf("what records share is damaged (%d): %w", l.context, err)
			}
			contexts[l.context] = c
		}
		r := l.record
		r.ID, r.Time = traffic.NewID(l.Time, l.Hash), time.Unix(0, l.Time).UTC()
		labels := q.ids[l.Series]
		withLabels(&r, &labels)
		if err := c.into(&r, l.port); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (c *shared) into(r *traffic.Record, port int) error {
	r.Authority, r.Scheme, r.Details, r.UserAgent, r.Principal, r.Route, r.Cluster = c.Authority, c.Scheme, c.Details, c.UserAgent, c.Principal, c.Route, c.Cluster
	r.Source.Service, r.Source.Version, r.Source.Pod, r.Source.Address = c.SourceService, c.SourceVersion, c.SourcePod, address(c.SourceIP, port)
	r.Destination.Pod, r.Destination.Address = c.DestinationPod, c.Destination
	if c.Headers == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(c.Headers), &r.Headers); err != nil {
		return fmt.Errorf("the headers of a record are damaged: %w", err)
	}
	return nil
}

// finish makes the page of what was found, of which there may be one more than was asked for.
func (q *request) finish(ctx context.Context, tx *sql.Tx, list []listed, stopped *place) (out store.Listing, err error) {
	next := stopped
	if len(list) > q.page.Limit {
		list = list[:q.page.Limit]
		next, stopped = &list[len(list)-1].place, nil
	}
	if out.Records, err = q.complete(ctx, tx, list); err != nil {
		return out, err
	}
	out.Partial = stopped != nil
	if next != nil {
		text, err := json.Marshal(next)
		if err != nil {
			return out, err
		}
		out.Next = string(text)
	}
	return out, nil
}

// stream is one series in the order of time. It reads a few records at a time.
type stream struct {
	id      int64
	ready   []listed
	last    *place
	through bool
}

// streams are a heap: the one whose record comes first is on top.
type streams struct {
	list      []*stream
	ascending bool
}

func (s *streams) Len() int      { return len(s.list) }
func (s *streams) Swap(i, j int) { s.list[i], s.list[j] = s.list[j], s.list[i] }
func (s *streams) Push(any)      {}
func (s *streams) Pop() any {
	s.list = s.list[:len(s.list)-1]
	return nil
}
func (s *streams) Less(i, j int) bool {
	a, b := &s.list[i].ready[0].place, &s.list[j].ready[0].place
	return before(a, b, s.ascending)
}

// comparePlaces orders by duration, which is 0 in listings by time, then time, hash and series.
func comparePlaces(a, b *place, ascending bool) int {
	if !ascending {
		a, b = b, a
	}
	return cmp.Or(cmp.Compare(a.Duration, b.Duration), cmp.Compare(a.Time, b.Time), cmp.Compare(a.Hash, b.Hash), cmp.Compare(a.Series, b.Series))
}

func before(a, b *place, ascending bool) bool { return comparePlaces(a, b, ascending) < 0 }

// byTime merges the series.
func (q *request) byTime(ctx context.Context, tx *sql.Tx) (out store.Listing, err error) {
	read, err := q.newTimeReader(ctx, tx)
	if err != nil {
		return out, err
	}
	defer read.close()
	h := &streams{ascending: q.page.Ascending}
	for id := range q.ids {
		s := &stream{id: id, last: q.after}
		if err := read.fill(ctx, s); err != nil {
			return out, err
		}
		if len(s.ready) > 0 {
			h.list = append(h.list, s)
		}
	}
	heap.Init(h)
	var list []listed
	for h.Len() > 0 && len(list) <= q.page.Limit {
		s := h.list[0]
		list = append(list, s.ready[0])
		if s.ready = s.ready[1:]; len(s.ready) == 0 {
			if err := read.fill(ctx, s); err != nil {
				return out, err
			}
		}
		if len(s.ready) > 0 {
			heap.Fix(h, 0)
		} else {
			heap.Remove(h, 0)
		}
	}
	return q.finish(ctx, tx, list, nil)
}
