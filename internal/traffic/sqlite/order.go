package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"squall/internal/traffic/store"
)

// timeReader reads the records of a series by time.
type timeReader struct {
	q        *request
	from, on *sql.Stmt // with the first place, and after it
	chunk    int
}

func (q *request) newTimeReader(ctx context.Context, tx *sql.Tx) (*timeReader, error) {
	r := &timeReader{q: q, chunk: min(q.page.Limit+1, max(8, 4*q.page.Limit/len(q.ids)))}
	text := "SELECT " + listColumns + " FROM records WHERE series = ? AND time >= ? AND time < ? AND (time, hash) %s (?, ?) ORDER BY time %s, hash %[2]s LIMIT ?"
	var err error
	for to, sign := range map[**sql.Stmt]string{&r.from: "=", &r.on: ""} {
		sign, order := "<"+sign, "DESC"
		if q.page.Ascending {
			sign, order = ">"+sign[1:], "ASC"
		}
		if *to, err = tx.PrepareContext(ctx, fmt.Sprintf(text, sign, order)); err != nil {
			r.close()
			return nil, fmt.Errorf("list records: %w", err)
		}
	}
	return r, nil
}

func (r *timeReader) close() {
	for _, s := range []*sql.Stmt{r.from, r.on} {
		if s != nil {
			_ = s.Close() // ends with the transaction
		}
	}
}

// fill reads the next records of a series.
func (r *timeReader) fill(ctx context.Context, s *stream) (err error) {
	if s.through {
		return nil
	}
	after, statement := place{Time: math.MaxInt64, Hash: math.MaxInt64}, r.from
	if r.q.page.Ascending {
		after = place{Time: math.MinInt64, Hash: math.MinInt64}
	}
	if s.last != nil {
		after = *s.last
		if (after.Series < s.id) != r.q.page.Ascending || after.Series == s.id { // its record of the same id was before
			statement = r.on
		}
	}
	found, err := statement.QueryContext(ctx, s.id, r.q.w.from, r.q.w.to, after.Time, after.Hash, r.chunk)
	if err != nil {
		return fmt.Errorf("list records: %w", err)
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	s.ready = s.ready[:0]
	for found.Next() {
		var l listed
		if err := scanListed(found, &l); err != nil {
			return fmt.Errorf("list records: %w", err)
		}
		l.Duration, l.Series = 0, s.id
		s.ready = append(s.ready, l)
	}
	if s.through = len(s.ready) < r.chunk; len(s.ready) > 0 {
		last := s.ready[len(s.ready)-1].place
		s.last = &last
	}
	return found.Err()
}

// class is one class of durations, and the series that have records in it.
type class struct {
	number int
	series []int64
	count  uint64
}

// classes are those that the window has, in the order of the listing.
func (q *request) classes(ctx context.Context, tx *sql.Tx) ([]class, error) {
	found, err := sums(ctx, tx, q.ids, q.w)
	if err != nil {
		return nil, err
	}
	all := map[int]*class{}
	for id, sum := range found {
		for bucket, n := range sum.Buckets {
			c := all[classOf(bucket)]
			if c == nil {
				c = &class{number: classOf(bucket)}
				all[c.number] = c
			}
			c.count += n
			if len(c.series) == 0 || c.series[len(c.series)-1] != id {
				c.series = append(c.series, id)
			}
		}
	}
	out := make([]class, 0, len(all))
	for _, c := range all {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b class) int {
		if q.page.Ascending {
			return cmp.Compare(a.number, b.number)
		}
		return cmp.Compare(b.number, a.number)
	})
	return out, nil
}

// byDuration goes through the classes.
func (q *request) byDuration(ctx context.Context, tx *sql.Tx) (out store.Listing, err error) {
	classes, err := q.classes(ctx, tx)
	if err != nil {
		return out, err
	}
	one, err := tx.PrepareContext(ctx, "SELECT "+listColumns+" FROM records WHERE series = ? AND time = ? AND hash = ?")
	if err != nil {
		return out, fmt.Errorf("list records: %w", err)
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	var list []listed
	looked := int64(0)
	for i, c := range classes {
		if q.after != nil && q.passed(c, q.after) {
			continue
		}
		places, err := q.inClass(ctx, tx, c, q.page.Limit+1-len(list))
		if err != nil {
			return out, err
		}
		for _, p := range places {
			l := listed{}
			if err := scanListed(one.QueryRowContext(ctx, p.Series, p.Time, p.Hash), &l); err != nil {
				return out, fmt.Errorf("list records: %w", err)
			}
			l.Series = p.Series
			list = append(list, l)
		}
		if len(list) > q.page.Limit {
			break
		}
		if looked += int64(c.count); q.picks() && looked >= q.budget && i+1 < len(classes) {
			return q.finish(ctx, tx, list, q.edge(c))
		}
	}
	return q.finish(ctx, tx, list, nil)
}

// edge is the place between a class and the next one.
func (q *request) edge(c class) *place {
	shortest := func(class int) int64 {
		us := sort.Search(1<<42, func(us int) bool { return classOf(store.Bucket(time.Duration(us)*time.Microsecond)) >= class })
		return int64(us) * int64(time.Microsecond)
	}
	if q.page.Ascending {
		return &place{shortest(c.number + 1), math.MinInt64, math.MinInt64, math.MinInt64}
	}
	return &place{shortest(c.number) - 1, math.MaxInt64, math.MaxInt64, math.MaxInt64}
}

// passed reports whether all of a class was on the pages before.
func (q *request) passed(c class, after *place) bool {
	at := classOf(store.Bucket(time.Duration(after.Duration)))
	if q.page.Ascending {
		return c.number < at
	}
	return c.number > at
}

// inClass are the first places of a class that the page has not had, at most limit.
func (q *request) inClass(ctx context.Context, tx *sql.Tx, c class, limit int) ([]place, error) {
	sign, order := "<=", "DESC"
	first := place{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}
	if q.page.Ascending {
		sign, order = ">=", "ASC"
		first = place{math.MinInt64, math.MinInt64, math.MinInt64, math.MinInt64}
	}
	after := q.after
	if after == nil {
		after = &first
	}
	condition, args := q.condition()
	read, err := tx.PrepareContext(ctx, fmt.Sprintf("SELECT duration, time, hash FROM records INDEXED BY by_class WHERE series = ? AND class = ? AND time >= ? AND time < ? "+
		"AND (duration, time, hash) %s (?, ?, ?)%s ORDER BY duration %s, time %[3]s, hash %[3]s LIMIT ?", sign, condition, order))
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	defer func() { _ = read.Close() }()
	var out []place
	for _, id := range c.series {
		found, err := read.QueryContext(ctx, append(append([]any{id, c.number, q.w.from, q.w.to, after.Duration, after.Time, after.Hash}, args...), limit+1)...)
		if err != nil {
			return nil, fmt.Errorf("list records: %w", err)
		}
		for found.Next() {
			p := place{Series: id}
			if err := found.Scan(&p.Duration, &p.Time, &p.Hash); err != nil {
				return nil, errors.Join(err, found.Close())
			}
			if before(after, &p, q.page.Ascending) {
				out = append(out, p)
			}
		}
		if err := errors.Join(found.Err(), found.Close()); err != nil {
			return nil, fmt.Errorf("list records: %w", err)
		}
	}
	slices.SortFunc(out, func(a, b place) int { return comparePlaces(&a, &b, q.page.Ascending) })
	return out[:min(limit, len(out))], nil
}
