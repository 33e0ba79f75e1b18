package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

// view runs do on one state of the file.
func (s *Store) view(ctx context.Context, do func(*sql.Tx) error) (err error) {
	tx, err := s.read.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	return do(tx)
}

// Groups sums up.
func (s *Store) Groups(ctx context.Context, f store.Filter, by ...store.Dimension) (out []store.Group, err error) {
	w, err := summable(&f, by)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(tx *sql.Tx) error {
		ids, err := s.matching(ctx, tx, &f)
		if err != nil {
			return err
		}
		sums, err := sums(ctx, tx, ids, w)
		out = groups(ids, sums, by)
		return err
	})
	return out, err
}

// summable refuses what sums cannot answer.
func summable(f *store.Filter, by []store.Dimension) (span, error) {
	if err := f.Summable(); err != nil {
		return span{}, err
	}
	if _, err := (store.Series{}).Only(by); err != nil {
		return span{}, err
	}
	return spanOf(f)
}

// groups puts the sums of series together.
func groups(ids map[int64]store.Series, sums map[int64]*store.Summary, by []store.Dimension) []store.Group {
	found := map[store.Series]*store.Group{}
	for id, sum := range sums {
		labels := ids[id]
		key, _ := labels.Only(by) // known dimensions: summable has looked
		g := found[key]
		if g == nil {
			g = &store.Group{Series: key, Codes: map[int]uint64{}, Versions: map[string]uint64{}}
			found[key] = g
		}
		g.Summary.Merge(sum)
		g.Codes[labels.Code] += sum.Records
		g.Versions[labels.Version] += sum.Records
	}
	out := make([]store.Group, 0, len(found))
	for _, g := range found {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b store.Group) int { return store.Compare(&a.Series, &b.Series) })
	return out
}

// sums are those of each series that has records in the window.
func sums(ctx context.Context, tx *sql.Tx, ids map[int64]store.Series, w span) (map[int64]*store.Summary, error) {
	out := map[int64]*store.Summary{}
	if len(ids) == 0 {
		return out, nil
	}
	list := in(ids)
	of := func(id int64) *store.Summary {
		if out[id] == nil {
			out[id] = &store.Summary{}
		}
		return out[id]
	}
	for _, p := range w.split(coarse, fine) {
		var err error
		if p.level == 0 {
			err = eachRecord(ctx, tx, list, p.span, func(id, _ int64, d time.Duration, received, sent int64) {
				of(id).AddDuration(d, ids[id].Failed, received, sent)
			})
		} else {
			err = eachRollup(ctx, tx, list, p, func(id, _ int64, add func(*store.Summary) error) error { return add(of(id)) })
		}
		if err != nil {
			return nil, fmt.Errorf("sum up records: %w", err)
		}
	}
	return out, nil
}

// eachRecord calls do for the records of a window.
func eachRecord(ctx context.Context, tx *sql.Tx, list string, w span, do func(id, at int64, d time.Duration, received, sent int64)) error {
	found, err := tx.QueryContext(ctx, "SELECT series, time, duration, received, sent FROM records WHERE series IN "+list+" AND time >= ? AND time < ?", w.from, w.to)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var id, at, d, received, sent int64
		if err := found.Scan(&id, &at, &d, &received, &sent); err != nil {
			return err
		}
		do(id, at, time.Duration(d), received, sent)
	}
	return found.Err()
}

// withFirst scans rows whose first columns are read by somebody else than what scans the rest.
type withFirst struct {
	rows  scanner
	first []any
}

func (a withFirst) Scan(to ...any) error { return a.rows.Scan(slices.Concat(a.first, to)...) }

// eachRollup calls do for the sums of a part.
func eachRollup(ctx context.Context, tx *sql.Tx, list string, p part, do func(id, start int64, add func(*store.Summary) error) error) error {
	found, err := tx.QueryContext(ctx, "SELECT series, start, records, errors, received, sent, sum, min, max, histogram FROM rollups WHERE level = ? AND series IN "+
		list+" AND start >= ? AND start < ?", p.level, p.from/second, p.to/second)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }()
	var scratch store.Summary
	var id, start int64
	row := withFirst{found, []any{&id, &start}}
	for found.Next() {
		scratch.Reset()
		if err := scanRollup(row, &scratch); err != nil {
			return err
		}
		if err := do(id, start, func(s *store.Summary) error { s.Merge(&scratch); return nil }); err != nil {
			return err
		}
	}
	return found.Err()
}

// Timeline counts by time.
func (s *Store) Timeline(ctx context.Context, f store.Filter, n int, by ...store.Dimension) (out []store.Timeline, err error) {
	w, err := summable(&f, by)
	if err != nil {
		return nil, err
	}
	if err := store.CheckSteps(n); err != nil {
		return nil, err
	}
	err = s.view(ctx, func(tx *sql.Tx) error {
		ids, err := s.matching(ctx, tx, &f)
		if err != nil || len(ids) == 0 {
			return err
		}
		list := in(ids)
		if w, err = bounds(ctx, tx, list, w); err != nil || w.from >= w.to {
			return err
		}
		out, err = timelines(ctx, tx, ids, store.NewGrid(time.Unix(0, w.from), time.Unix(0, w.to), n), by)
		return err
	})
	return out, err
}

// bounds replaces what a window leaves open by the first and the last sum.
func bounds(ctx context.Context, tx *sql.Tx, list string, w span) (span, error) {
	var first, last sql.NullInt64
	err := tx.QueryRowContext(ctx, "SELECT min(start), max(start) FROM rollups WHERE level = ? AND series IN "+list, fine).Scan(&first, &last)
	if err != nil || !first.Valid {
		return span{}, err
	}
	if w.from == earliest {
		w.from = first.Int64 * second
	}
	if w.to == latest {
		w.to = (last.Int64 + fine) * second
	}
	return w, nil
}

// stepSums adds up what series have in each step. Each series comes with the number of its line. Durations are added up in two halves, as
// SQLite refuses a sum that passes 64 bits; a negative one has passed them.
const stepSums = `WITH of(series, line) AS (VALUES %s) SELECT line, (r.start - ?) / ?, sum(r.records), sum(r.errors),
sum(iif(r.sum < 0, 0x7fffffff, r.sum >> 32)), sum(iif(r.sum < 0, 0xffffffff, r.sum & 0xffffffff))
FROM of CROSS JOIN rollups r ON r.series = of.series WHERE r.level = ? AND r.start >= ? AND r.start < ? GROUP BY 1, 2`

func timelines(ctx context.Context, tx *sql.Tx, ids map[int64]store.Series, g store.Grid, by []store.Dimension) (out []store.Timeline, err error) {
	lines := map[store.Series]int{}
	var keys []store.Series
	var pairs []byte
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		labels := ids[id]
		key, _ := labels.Only(by)
		if _, ok := lines[key]; !ok {
			lines[key] = len(keys)
			keys = append(keys, key)
		}
		pairs = fmt.Appendf(pairs, ",(%d,%d)", id, lines[key])
	}
	start, step := g.Start.Unix(), int64(g.Step/time.Second)
	found, err := tx.QueryContext(ctx, fmt.Sprintf(stepSums, pairs[1:]), start, step, int64(g.Unit/time.Second), start, g.End().Unix())
	if err != nil {
		return nil, fmt.Errorf("sum up records: %w", err)
	}
	defer func() { _ = found.Close() }() // Err below says what went wrong
	all := make([]store.Timeline, len(keys))
	for found.Next() {
		var line, at int
		var sum store.Summary
		var high, low int64
		if err := found.Scan(&line, &at, &sum.Records, &sum.Errors, &high, &low); err != nil {
			return nil, fmt.Errorf("sum up records: %w", err)
		}
		sum.Sum = joined(high, low)
		if all[line].Points == nil {
			all[line] = store.Timeline{Series: keys[line], Points: g.Points()}
		}
		p := &all[line].Points[at]
		p.Records, p.Errors, p.Mean = sum.Records, sum.Errors, sum.Mean()
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("sum up records: %w", err)
	}
	out = slices.DeleteFunc(all, func(t store.Timeline) bool { return t.Points == nil }) // no records in the window
	slices.SortFunc(out, func(a, b store.Timeline) int { return store.Compare(&a.Series, &b.Series) })
	return out, nil
}

// joined is a sum of durations whose numbers were added up by halves of 32 bits, or the greatest that there is.
func joined(high, low int64) time.Duration {
	high += low >> 32
	if high > math.MaxInt32 {
		return math.MaxInt64
	}
	return time.Duration(high<<32 | low&math.MaxUint32)
}

// withLabels completes a record by what it has in common with its series.
func withLabels(r *traffic.Record, s *store.Series) {
	r.Run, r.Stage, r.Reporter, r.Protocol = s.Run, s.Stage, s.Reporter, s.Protocol
	r.Source.Namespace, r.Source.Name = s.SourceNamespace, s.Source
	r.Destination.Namespace, r.Destination.Service, r.Destination.Name, r.Destination.Version = s.Namespace, s.Service, s.Workload, s.Version
	r.Method, r.Interface, r.Code, r.Flags = s.Method, s.Interface, s.Code, s.Flags
}
