package sqlite

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

// TestReader reads while another writes, and afterwards; it changes nothing, and takes no other program's file.
func TestReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s, err := Open(t.Context(), path)
	must(t, err)
	r, err := OpenReader(t.Context(), path)
	must(t, err)
	records := traffictest.Some(2000, time.Minute, 1)
	for i, part := range [][2]int{{0, 1000}, {1000, 2000}} {
		must(t, s.Put(t.Context(), records[part[0]:part[1]]))
		must(t, s.Flush(t.Context()))
		g, err := r.Groups(t.Context(), store.Filter{})
		must(t, err)
		if len(g) != 1 || g[0].Summary.Records != uint64(1000*(i+1)) {
			t.Errorf("after %d parts: %+v", i+1, g)
		}
	}
	must(t, s.Close(t.Context()))
	must(t, r.Close())
	before, err := os.ReadFile(path)
	must(t, err)
	r, err = OpenReader(t.Context(), path)
	must(t, err)
	l, err := r.List(t.Context(), store.Filter{}, store.Page{Limit: 1})
	if err != nil || len(l.Records) != 1 || l.Records[0].ID != records[len(records)-1].ID {
		t.Errorf("%+v, %v", l, err)
	}
	must(t, r.Close())
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("the file was changed", err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	must(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE TABLE t (a)")
	must(t, err)
	must(t, db.Close())
	text := filepath.Join(t.TempDir(), "text.db")
	must(t, os.WriteFile(text, []byte("hello"), 0o600))
	for path, word := range map[string]string{foreign: "another program", text: "cannot be read as a database", filepath.Join(t.TempDir(), "none.db"): "no such file"} {
		before, _ := os.ReadFile(path)
		if _, err := OpenReader(t.Context(), path); err == nil || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", path)
		}
		for _, beside := range []string{"-wal", "-shm", "-journal"} {
			if _, err := os.Stat(path + beside); err == nil {
				t.Errorf("%s has a file beside it: %s", path, beside)
			}
		}
	}
}
