package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"

	"squall/internal/traffic/store"
)

const (
	// searchBudget is about how many records the database looks at for one page. For those of one request or trace, which are few, it looks
	// at all.
	searchBudget = 500_000
	maxPages     = 4    // of records that one look may find
	firstLook    = 4096 // of so many parts of the time that there are records of, the first look is at one
)

// picks says whether the listing is of few of the records of its series, by what only the records have.
func (q *request) picks() bool {
	f := &q.f
	return f.RequestID != "" || f.TraceID != "" || f.Path != "" || f.Slower > 0 || f.Faster > 0
}

// condition is what only the records have.
func (q *request) condition() (text string, args []any) {
	f := &q.f
	add := func(wanted bool, term string, arg any) {
		if wanted {
			text += " AND " + term
			args = append(args, arg)
		}
	}
	add(f.RequestID != "", "request_id = ?", packed(f.RequestID))
	add(f.TraceID != "", "trace_id = ?", packed(f.TraceID))
	add(f.Path != "", "instr(path, ?) > 0", f.Path)
	add(f.Slower > 0, "duration >= ?", int64(f.Slower))
	add(f.Faster > 0, "duration <= ?", int64(f.Faster))
	return text, args
}

// search finds records by time, in one part of the time after another. The parts grow while little is found.
func (q *request) search(ctx context.Context, tx *sql.Tx) (out store.Listing, err error) {
	left, err := q.extent(ctx, tx)
	if err != nil || left.from >= left.to {
		return out, err
	}
	most := q.budget
	if q.f.RequestID != "" || q.f.TraceID != "" {
		most = math.MaxInt64
	}
	var list []listed
	step := max(1, (left.to-left.from)/firstLook)
	for looked := int64(0); ; {
		part := q.first(left, step)
		found, whole, err := q.look(ctx, tx, part)
		if err != nil {
			return out, err
		}
		if !whole {
			step = max(1, (part.to-part.from)/64)
			continue
		}
		list = append(list, found...)
		left = q.rest(left, part)
		if len(list) > q.page.Limit || left.from >= left.to {
			return q.finish(ctx, tx, list, nil)
		}
		n, err := q.count(ctx, tx, part)
		if err != nil {
			return out, err
		}
		if looked += n; looked >= most {
			return q.finish(ctx, tx, list, q.border(left))
		}
		if n < q.budget/10 {
			step *= 4
		}
	}
}

// extent is the time from the first of the series' records in the window to the last, without what earlier pages had.
func (q *request) extent(ctx context.Context, tx *sql.Tx) (span, error) {
	w := q.w
	if q.after != nil && q.page.Ascending {
		w.from = max(w.from, q.after.Time)
	} else if q.after != nil {
		w.to = min(w.to, q.after.Time+1)
	}
	const ends = "(SELECT time FROM records WHERE series = s.id AND time >= ?1 AND time < ?2 ORDER BY time %s LIMIT 1)"
	var from, to sql.NullInt64
	err := tx.QueryRowContext(ctx, fmt.Sprintf("SELECT min("+ends+"), max("+ends+") FROM series s WHERE id IN "+in(q.ids), "ASC", "DESC"), w.from, w.to).Scan(&from, &to)
	if err != nil {
		return span{}, fmt.Errorf("search records: %w", err)
	}
	if !from.Valid {
		return span{}, nil
	}
	return span{from.Int64, to.Int64 + 1}, nil
}

// first is the part of a time that comes first in the listing, and rest what it leaves.
func (q *request) first(left span, step int64) span {
	if q.page.Ascending {
		return span{left.from, min(left.to, left.from+step)}
	}
	return span{max(left.from, left.to-step), left.to}
}

func (q *request) rest(left, part span) span {
	if q.page.Ascending {
		return span{part.to, left.to}
	}
	return span{left.from, part.from}
}

// border is the place before the first that is left.
func (q *request) border(left span) *place {
	if q.page.Ascending {
		return &place{Time: left.from, Hash: math.MinInt64, Series: math.MinInt64}
	}
	return &place{Time: left.to - 1, Hash: math.MaxInt64, Series: math.MaxInt64}
}

// look finds the records of a part, in their order; whole is false when there are too many of them for one look.
func (q *request) look(ctx context.Context, tx *sql.Tx, part span) (list []listed, whole bool, err error) {
	limit := maxPages * q.page.Limit
	if part.to-part.from == 1 {
		limit = math.MaxInt64 - 1 // there is no smaller part
	}
	condition, args := q.condition()
	args = append(append([]any{part.from, part.to}, args...), limit+1)
	found, err := tx.QueryContext(ctx, "SELECT series, "+listColumns+" FROM records WHERE series IN "+in(q.ids)+" AND time >= ? AND time < ?"+condition+" LIMIT ?", args...)
	if err != nil {
		return nil, false, fmt.Errorf("search records: %w", err)
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	n := 0
	for ; found.Next(); n++ {
		var l listed
		var id int64
		if err := scanListed(withFirst{found, []any{&id}}, &l); err != nil {
			return nil, false, fmt.Errorf("search records: %w", err)
		}
		l.Duration, l.Series = 0, id
		if q.after == nil || before(q.after, &l.place, q.page.Ascending) {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b listed) int { return comparePlaces(&a.place, &b.place, q.page.Ascending) })
	return list, n <= limit, found.Err()
}

func (q *request) count(ctx context.Context, tx *sql.Tx, part span) (n int64, err error) {
	if err = tx.QueryRowContext(ctx, "SELECT count(*) FROM records WHERE series IN "+in(q.ids)+" AND time >= ? AND time < ?", part.from, part.to).Scan(&n); err != nil {
		return 0, fmt.Errorf("search records: %w", err)
	}
	return n, nil
}
