// Package sqlite keeps interface-traffic records in one file of SQLite: the store for whoever has no Elasticsearch. It takes tens of
// thousands a second, knows a record that it has by its id, and answers from sums that it keeps beside the records.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

const (
	batchSize  = 20_000
	queueSize  = 40_000
	batchEvery = 250 * time.Millisecond
	busyFor    = 10 * time.Second
)

// Store is one file. Several processes may use the same one at once.
type Store struct {
	*store.Batcher

	path  string
	write *sql.DB
	read  *sql.DB

	ids      *ids
	inserter inserter
	mu       sync.RWMutex
	known    map[int64]store.Series // what was read of the series
	newest   int64                  // the greatest id in known
	budget   int64                  // searchBudget when 0
}

var _ store.Store = (*Store)(nil)

// Open opens the file, or makes it. A file that is no database, or another program's, is refused.
func Open(ctx context.Context, path string) (s *Store, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("the records' file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o755); err != nil {
		return nil, fmt.Errorf("the records' folder: %w", err)
	}
	s = &Store{path: abs, ids: newIDs(), known: map[int64]store.Series{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("records in %s: %w", path, err), s.closeFiles())
			s = nil
		}
	}()
	if s.write, err = open(abs, "immediate", ""); err != nil {
		return s, err
	}
	s.write.SetMaxOpenConns(1)
	if err := s.prepare(ctx); err != nil {
		return s, err
	}
	if s.read, err = open(abs, "deferred", "query_only(1)"); err != nil {
		return s, err
	}
	s.read.SetMaxOpenConns(max(2, runtime.GOMAXPROCS(0)))
	s.Batcher = store.NewBatcher(ctx, store.BatchOptions{Size: batchSize, Queue: queueSize, Every: batchEvery, Write: s.store})
	return s, nil
}

// open opens a pool of connections.
func open(path, lock, also string) (*sql.DB, error) {
	q := url.Values{"_txlock": {lock}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyFor.Milliseconds()), "journal_mode(wal)", "synchronous(normal)", "cache_size(-65536)", "temp_store(memory)",
		"wal_autocheckpoint(8000)", "journal_size_limit(268435456)",
	}}
	if also != "" {
		q.Add("_pragma", also)
	}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
}

// prepare makes the tables, or sees that they are of this version.
func (s *Store) prepare(ctx context.Context) error {
	got, tables, err := s.version(ctx)
	if err != nil {
		return fmt.Errorf("it cannot be read as a database: %w", err)
	}
	if got == version {
		return nil
	}
	if got != 0 || tables != 0 {
		return fmt.Errorf("it is a database of another program or version (%d, with %d tables; this is %d): give another file", got, tables, version)
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("make its tables: %w", err)
	}
	var again int
	err = tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&again)
	if err == nil && again != version { // else another process was faster
		_, err = tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d", version))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make its tables: %w", err), tx.Rollback())
	}
	return tx.Commit()
}

func (s *Store) version(ctx context.Context) (v, tables int, err error) {
	if err := s.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v); err != nil {
		return 0, 0, err
	}
	err = s.write.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables)
	return v, tables, err
}

// Close stores what is pending, until ctx is done, and closes the file.
func (s *Store) Close(ctx context.Context) error {
	return errors.Join(s.Batcher.Close(ctx), s.closeFiles())
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Path is where the file is.
func (s *Store) Path() string { return s.path }

// dropAll is the outcome of a batch that could not be stored.
func dropAll(batch []traffic.Record, reason string) store.Outcome {
	return store.Outcome{Dropped: map[string]uint64{reason: uint64(len(batch))}}
}
