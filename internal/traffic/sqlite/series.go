package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"squall/internal/traffic/store"
)

// matching are the series of a filter, by id, as they are in the transaction.
func (s *Store) matching(ctx context.Context, tx *sql.Tx, f *store.Filter) (map[int64]store.Series, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := tx.QueryContext(ctx, "SELECT id, labels FROM series WHERE id > ?", s.newest)
	if err != nil {
		return nil, fmt.Errorf("read the records' labels: %w", err)
	}
	defer func() { _ = found.Close() }() // Err below says what went wrong
	for found.Next() {
		var id int64
		var labels []byte
		var one store.Series
		if err := found.Scan(&id, &labels); err != nil {
			return nil, fmt.Errorf("read the records' labels: %w", err)
		}
		if err := json.Unmarshal(labels, &one); err != nil {
			return nil, fmt.Errorf("the records' labels %d are damaged: %w", id, err)
		}
		s.known[id] = one
		s.newest = max(s.newest, id)
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("read the records' labels: %w", err)
	}
	out := map[int64]store.Series{}
	for id, one := range s.known {
		if f.Matches(&one) {
			out[id] = one
		}
	}
	return out, nil
}

// span is a window in ns: from is within, to is not.
type span struct{ from, to int64 }

const (
	earliest = math.MinInt64 / 2
	latest   = math.MaxInt64 / 2
)

func spanOf(f *store.Filter) (span, error) {
	w := span{earliest, latest}
	for _, c := range []struct {
		at time.Time
		ns *int64
	}{{f.From, &w.from}, {f.To, &w.to}} {
		if c.at.IsZero() {
			continue
		}
		if y := c.at.Year(); y < 1970 || y > 2201 {
			return w, fmt.Errorf("a window of records has a bound in the year %d", y)
		}
		*c.ns = c.at.UnixNano()
	}
	return w, f.Window()
}

// part of a window, and the level of the sums that make it up; 0 are the records themselves.
type part struct {
	span
	level int64
}

// split covers a window by as few sums as it can.
func (w span) split(levels ...int64) []part {
	if w.from >= w.to {
		return nil
	}
	if len(levels) == 0 {
		return []part{{w, 0}}
	}
	step := levels[0] * second
	a, b := ceil(w.from, step), floor(w.to, step)
	if a >= b {
		return w.split(levels[1:]...)
	}
	out := span{w.from, a}.split(levels[1:]...)
	out = append(out, part{span{a, b}, levels[0]})
	return append(out, span{b, w.to}.split(levels[1:]...)...)
}

func floor(v, step int64) int64 {
	if v == earliest || v == latest {
		return v
	}
	m := v % step
	if m < 0 {
		m += step
	}
	return v - m
}

func ceil(v, step int64) int64 {
	f := floor(v, step)
	if f == v {
		return v
	}
	return f + step
}

// in is a list of ids for SQL.
func in(ids map[int64]store.Series) string {
	list := make([]int64, 0, len(ids))
	for id := range ids {
		list = append(list, id)
	}
	slices.Sort(list)
	b := []byte("(")
	for i, id := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, id, 10)
	}
	return string(append(b, ')'))
}
