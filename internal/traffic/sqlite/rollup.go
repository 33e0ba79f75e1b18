package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"squall/internal/traffic/store"
)

const (
	getRollup = "SELECT records, errors, received, sent, sum, min, max, histogram FROM rollups WHERE level = ? AND series = ? AND start = ?"
	putRollup = "INSERT OR REPLACE INTO rollups VALUES (?,?,?,?,?,?,?,?,?,?,?)"
)

// addRollups adds the new ones of rows, which are sorted by series and time, to the sums. They are read each time, since other processes
// may write to them too.
func addRollups(ctx context.Context, tx *sql.Tx, list []row) (err error) {
	get, err := tx.PrepareContext(ctx, getRollup)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, get.Close()) }()
	put, err := tx.PrepareContext(ctx, putRollup)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, put.Close()) }()
	for _, level := range []int64{fine, coarse} {
		var sum store.Summary
		for i := 0; i < len(list); {
			series, start := list[i].series, begin(list[i].time, level)
			sum.Reset()
			for ; i < len(list) && list[i].series == series && begin(list[i].time, level) == start; i++ {
				if list[i].inserted {
					sum.Add(list[i].r)
				}
			}
			if sum.Records == 0 {
				continue
			}
			if err := scanRollup(get.QueryRowContext(ctx, level, series, start), &sum); err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			if _, err := put.ExecContext(ctx, level, series, start, int64(sum.Records), int64(sum.Errors), int64(sum.BytesReceived), int64(sum.BytesSent),
				int64(sum.Sum), int64(sum.Min), int64(sum.Max), sum.AppendHistogram(nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin is the start of a level's interval, in s since 1970.
func begin(nanos, level int64) int64 { return nanos / second / level * level }

type scanner interface{ Scan(to ...any) error }

// scanRollup adds a row of sums. A negative one was written before sums had a bound, and passed it.
func scanRollup(from scanner, into *store.Summary) error {
	var one store.Summary
	var received, sent, sum int64
	var blob []byte
	if err := from.Scan(&one.Records, &one.Errors, &received, &sent, &sum, &one.Min, &one.Max, &blob); err != nil {
		return err
	}
	one.BytesReceived, one.BytesSent, one.Sum = uint64(most(received)), uint64(most(sent)), time.Duration(most(sum))
	into.Merge(&one)
	return into.AddHistogram(blob)
}

func most(sum int64) int64 {
	if sum < 0 {
		return math.MaxInt64
	}
	return sum
}
