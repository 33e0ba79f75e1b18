package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"squall/internal/traffic/store"
)

// Reader reads one file, which others may write to meanwhile.
type Reader struct {
	store.Reader
	db *sql.DB
}

// OpenReader opens a file that is there, and changes nothing in it. One in a folder that cannot be written to will do.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	db, err := openExisting(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("records in %s: %w", path, err)
	}
	return &Reader{&Store{path: path, read: db, known: map[int64]store.Series{}}, db}, nil
}

func openExisting(ctx context.Context, path string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, err
	}
	db, err := readOnly(ctx, abs, url.Values{"mode": {"ro"}})
	if err == nil {
		return db, nil
	}
	if _, missing := os.Stat(abs + "-wal"); !errors.Is(missing, fs.ErrNotExist) {
		return nil, err
	}
	// SQLite makes files beside a database that it reads, unless it is told that nobody writes to it.
	db, again := readOnly(ctx, abs, url.Values{"mode": {"ro"}, "immutable": {"1"}})
	if again != nil {
		return nil, err
	}
	return db, nil
}

// readOnly opens a pool of connections, if the file is of this version.
func readOnly(ctx context.Context, path string, q url.Values) (*sql.DB, error) {
	q["_pragma"] = []string{fmt.Sprintf("busy_timeout(%d)", busyFor.Milliseconds()), "query_only(1)", "cache_size(-65536)", "temp_store(memory)"}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(max(2, runtime.GOMAXPROCS(0)))
	var got int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&got); err != nil {
		return nil, errors.Join(fmt.Errorf("it cannot be read as a database: %w", err), db.Close())
	}
	if got != version {
		return nil, errors.Join(fmt.Errorf("it is a database of another program or version (%d; this is %d): give another file", got, version), db.Close())
	}
	return db, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.db.Close() }
