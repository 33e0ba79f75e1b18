package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

const (
	columns = 15
	rows    = 64 // in one statement
	tries   = 6  // of a batch when the file is locked by others
)

// store writes a batch in one transaction, and again when others had the file locked. What cannot be stored is dropped, and said so.
func (s *Store) store(ctx context.Context, batch []traffic.Record) store.Outcome {
	valid := batch[:0:len(batch)]
	for i := range batch {
		if batch[i].Valid() == nil {
			valid = append(valid, batch[i])
		}
	}
	invalid := uint64(len(batch) - len(valid))
	out := s.storeValid(ctx, valid)
	if invalid > 0 {
		if out.Dropped == nil {
			out.Dropped = map[string]uint64{}
		}
		out.Dropped["invalid"] += invalid
	}
	return out
}

func (s *Store) storeValid(ctx context.Context, batch []traffic.Record) store.Outcome {
	for try := 1; ; try++ {
		stored, err := s.transaction(ctx, batch)
		if err == nil {
			return store.Outcome{Stored: stored, Duplicates: uint64(len(batch)) - stored}
		}
		s.Note(func(a *store.Account) { a.LastError, a.Retried = err.Error(), a.Retried+1 })
		var failed *driver.Error
		locked := errors.As(err, &failed) && (failed.Code()&0xff == lib.SQLITE_BUSY || failed.Code()&0xff == lib.SQLITE_LOCKED)
		if !locked || try == tries || ctx.Err() != nil {
			return dropAll(batch, reason(ctx, failed))
		}
		select { // busy_timeout has waited already, unless the lock was a deadlock
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// reason is why a batch is dropped, in few words.
func reason(ctx context.Context, err *driver.Error) string {
	switch {
	case ctx.Err() != nil:
		return "closed"
	case err == nil:
		return "database error"
	case err.Code()&0xff == lib.SQLITE_FULL:
		return "disk full"
	case err.Code()&0xff == lib.SQLITE_BUSY, err.Code()&0xff == lib.SQLITE_LOCKED:
		return "database locked"
	case err.Code()&0xff == lib.SQLITE_READONLY:
		return "database read-only"
	case err.Code()&0xff == lib.SQLITE_CORRUPT, err.Code()&0xff == lib.SQLITE_NOTADB:
		return "database damaged"
	}
	return "database error"
}

// row is a record on its way into the table.
type row struct {
	r        *traffic.Record
	series   int64
	context  int64
	time     int64
	hash     int64
	inserted bool
}

// transaction stores all of a batch or nothing, and returns how many were new.
func (s *Store) transaction(ctx context.Context, batch []traffic.Record) (stored uint64, err error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("begin to store records: %w", err)
	}
	defer func() {
		if err != nil {
			s.ids.forget()
			err = errors.Join(err, ignoreDone(tx.Rollback()))
		}
	}()
	list, err := s.rows(ctx, tx, batch)
	if err != nil {
		return 0, err
	}
	if err := s.inserter.insert(ctx, tx, list); err != nil {
		return 0, fmt.Errorf("store records: %w", err)
	}
	if err := addRollups(ctx, tx, list); err != nil {
		return 0, fmt.Errorf("store the sums of records: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("store records: %w", err)
	}
	s.ids.keep()
	for i := range list {
		if list[i].inserted {
			stored++
		}
	}
	return stored, nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// rows finds the ids of what the records share, and sorts them as the table is. Of equal ones one is left.
func (s *Store) rows(ctx context.Context, tx *sql.Tx, batch []traffic.Record) ([]row, error) {
	list := make([]row, 0, len(batch))
	for i := range batch {
		r := &batch[i]
		series, err := s.ids.series(ctx, tx, store.SeriesOf(r))
		if err != nil {
			return nil, err
		}
		shared, err := s.ids.context(ctx, tx, r)
		if err != nil {
			return nil, err
		}
		list = append(list, row{r: r, series: series, context: shared, time: r.Time.UnixNano(), hash: r.ID.Hash()})
	}
	slices.SortFunc(list, func(a, b row) int { return compare(&a, &b) })
	return slices.CompactFunc(list, func(a, b row) bool { return compare(&a, &b) == 0 }), nil
}

func compare(a, b *row) int {
	for _, d := range [3][2]int64{{a.series, b.series}, {a.time, b.time}, {a.hash, b.hash}} {
		switch {
		case d[0] < d[1]:
			return -1
		case d[0] > d[1]:
			return 1
		}
	}
	return 0
}

// inserter has the memory for arguments.
type inserter struct{ args []any }

func insertSQL(n int) string {
	values := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + ")"
	return "INSERT INTO records VALUES " + strings.TrimSuffix(strings.Repeat(values+",", n), ",")
}

// insert stores rows by many at once, and one by one those among which are some that are there already.
func (in *inserter) insert(ctx context.Context, tx *sql.Tx, list []row) error {
	many, err := tx.PrepareContext(ctx, insertSQL(rows))
	if err != nil {
		return err
	}
	defer func() { _ = many.Close() }() // ends with the transaction
	for len(list) > 0 {
		n := min(rows, len(list))
		group := list[:n]
		list = list[n:]
		in.args = in.args[:0]
		for i := range group {
			in.args = appendArgs(in.args, &group[i])
			group[i].inserted = true
		}
		if n == rows {
			_, err = many.ExecContext(ctx, in.args...)
		} else {
			_, err = tx.ExecContext(ctx, insertSQL(n), in.args...)
		}
		var failed *driver.Error
		if errors.As(err, &failed) && failed.Code()&0xff == lib.SQLITE_CONSTRAINT {
			err = in.single(ctx, tx, group)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// single stores rows one by one and notes which were new.
func (in *inserter) single(ctx context.Context, tx *sql.Tx, group []row) error {
	one, err := tx.PrepareContext(ctx, strings.Replace(insertSQL(1), "INSERT", "INSERT OR IGNORE", 1))
	if err != nil {
		return err
	}
	defer func() { _ = one.Close() }()
	for i := range group {
		done, err := one.ExecContext(ctx, in.args[i*columns:(i+1)*columns]...)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return err
		}
		group[i].inserted = n == 1
	}
	return nil
}

func appendArgs(args []any, w *row) []any {
	r := w.r
	return append(args, w.series, w.time, w.hash, int64(classOf(store.Bucket(r.Duration))), int64(r.Duration), int64(r.Upstream), int64(r.FirstByte),
		r.BytesReceived, r.BytesSent, int64(r.Attempts), int64(port(r.Source.Address)), w.context, r.Path, packed(r.RequestID), packed(r.TraceID))
}

// packed is a UUID or a trace id in 17 bytes, or the text as it is: the first byte says which of the two it was.
func packed(s string) any {
	var b [17]byte
	switch {
	case len(s) == 32 && lowerHex(s):
		b[0] = 't'
		_, _ = hex.Decode(b[1:], []byte(s)) // they are digits
		return b[:]
	case len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-':
		plain := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
		if !lowerHex(plain) {
			return s
		}
		b[0] = 'u'
		_, _ = hex.Decode(b[1:], []byte(plain))
		return b[:]
	}
	return s
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// unpacked is what packed made of a text.
func unpacked(v any) string {
	b, ok := v.([]byte)
	if !ok {
		s, _ := v.(string)
		return s
	}
	if len(b) != 17 {
		return string(b)
	}
	h := hex.EncodeToString(b[1:])
	if b[0] == 'u' {
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	}
	return h
}
