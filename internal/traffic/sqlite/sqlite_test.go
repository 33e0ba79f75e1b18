package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s
}

func fill(t testing.TB, s *Store, records []traffic.Record) {
	t.Helper()
	for part := range slices.Chunk(records, 5000) {
		must(t, s.Put(t.Context(), part))
	}
	must(t, s.Flush(t.Context()))
	if a := s.Account(); !a.Balanced() || a.Lost() > 0 || a.Pending > 0 {
		t.Fatal(a)
	}
}

func TestConform(t *testing.T) {
	traffictest.Conform(t, opened(t, filepath.Join(t.TempDir(), "records.db")))
}

// One absurd entry harms itself alone.
func TestAbsurd(t *testing.T) {
	traffictest.Absurd(t, opened(t, filepath.Join(t.TempDir(), "records.db")))
}

// A file whose sums have passed what they can hold, as before there was a bound, is read, and written to.
func TestNegativeSums(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "records.db"))
	records := traffictest.Some(200, time.Second, 1)
	fill(t, s, records[:100])
	_, err := s.write.ExecContext(t.Context(), "UPDATE rollups SET received = -9223372036854775807, sent = -1, sum = -5")
	must(t, err)
	fill(t, s, records[100:])
	got, err := s.Groups(t.Context(), store.Filter{})
	must(t, err)
	if len(got) != 1 || got[0].Summary.Records != 200 || got[0].Summary.BytesSent != math.MaxInt64 || got[0].Summary.Sum != math.MaxInt64 {
		t.Errorf("%+v", got)
	}
	if lines, err := s.Timeline(t.Context(), store.Filter{}, 1); err != nil || len(lines) != 1 || lines[0].Points[0].Records != 200 || lines[0].Points[0].Mean <= 0 {
		t.Errorf("%+v, %v", lines, err)
	}
}

func second2[T any](_ T, err error) error { return err }

// Two processes write the same file, some of it twice: nothing is lost, and the sums are right.
func TestTwoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	records := traffictest.Some(30_000, time.Minute, 1)
	var wg sync.WaitGroup
	accounts := make([]store.Account, 2)
	for i := range accounts {
		s := opened(t, path)
		wg.Go(func() {
			for part := range slices.Chunk(records[i*10_000:i*10_000+20_000], 500) {
				if err := errors.Join(s.Put(t.Context(), part), s.Flush(t.Context())); err != nil {
					t.Error(err)
				}
			}
			accounts[i] = s.Account()
		})
	}
	wg.Wait()
	if a, b := accounts[0], accounts[1]; a.Stored+b.Stored != 30_000 || a.Duplicates+b.Duplicates != 10_000 || a.Lost()+b.Lost() != 0 {
		t.Errorf("%v; %v", a, b)
	}
	got, err := opened(t, path).Groups(t.Context(), store.Filter{})
	must(t, err)
	if len(got) != 1 || got[0].Summary.Records != 30_000 {
		t.Errorf("%+v", got)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	must(t, os.WriteFile(text, []byte(strings.Repeat("no database at all\n", 100)), 0o644))
	other := filepath.Join(dir, "other.db")
	db, err := sql.Open("sqlite", other)
	must(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE TABLE t (a)")
	must(t, errors.Join(err, db.Close()))
	must(t, os.Mkdir(filepath.Join(dir, "folder.db"), 0o755))
	for _, name := range []string{"text.db", "other.db", "folder.db", "text.db/below.db"} {
		if s, err := Open(t.Context(), filepath.Join(dir, name)); err == nil || s != nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A full disk drops what it cannot take, says so, and what was stored stays.
func TestDiskFull(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "records?#%.db"))
	fill(t, s, traffictest.Some(1000, time.Second, 1))
	_, err := s.write.ExecContext(t.Context(), "PRAGMA max_page_count = 100")
	must(t, err)
	more := traffictest.Some(20_000, time.Second, 2)
	more[0].Reporter = "nobody"
	must(t, errors.Join(s.Put(t.Context(), more), s.Flush(t.Context())))
	a := s.Account()
	if a.Stored != 1000 || a.Dropped["disk full"] != 19_999 || a.Dropped["invalid"] != 1 || !a.Balanced() || !strings.Contains(a.LastError, "full") {
		t.Errorf("%v, %s", a, a.LastError)
	}
	_, err = s.write.ExecContext(t.Context(), "PRAGMA max_page_count = 1000000")
	must(t, err)
	must(t, errors.Join(s.Put(t.Context(), more), s.Flush(t.Context())))
	if a := s.Account(); a.Stored != 20_999 {
		t.Error(a)
	}
}

func TestPacked(t *testing.T) {
	for _, text := range []string{"", "x", "1c9d6cc3-93b3-9a5c-a0ab-7c9f0a7e3d11", "1C9D6CC3-93b3-9a5c-a0ab-7c9f0a7e3d11", "1c9d6cc393b39a5ca0ab7c9f0a7e3d11", "-c9d6cc3-93b3-9a5c-a0ab-7c9f0a7e3d1-"} {
		if got := unpacked(packed(text)); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, a := range []string{"", "1.2.3.4:5", "1.2.3.4", "[::1]:80", "::1", "h:0", "h:070", "unix:///x"} {
		if got := address(host(a), port(a)); got != a {
			t.Errorf("%q became %q", a, got)
		}
	}
}
