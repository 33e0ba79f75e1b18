package elastic

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

// One day's index takes no writes; connections that were opened that day still end today. What belongs to other days is stored all the same,
// and with a spool what was refused waits until it is taken.
func TestOneBlockedIndex(t *testing.T) {
	for name, c := range map[string]struct {
		block, free string // settings of the index
		spool       bool
	}{
		"with a spool":    {`{"index.blocks.write": true}`, `{"index.blocks.write": null}`, true},
		"without a spool": {`{"index.blocks.write": true}`, ``, false},
		"without a shard": {`{"index.routing.allocation.require._name": "nobody"}`, `{"index.routing.allocation.require._name": null}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			if c.spool {
				cfg.Spool = filepath.Join(t.TempDir(), "spool")
			}
			s := opened(t, cfg)
			records := traffictest.Some(3004, time.Second, 1)
			old, now := records[:4], records[4:]
			for i := range old {
				old[i].Time = old[i].Time.Add(-24 * time.Hour)
			}
			must(t, errors.Join(s.Put(t.Context(), now[:1]), s.Flush(t.Context())))
			index := "/" + s.indexOf(&old[0])
			if status := call(t.Context(), t, http.MethodPut, index+"?wait_for_active_shards=0", `{"settings": `+c.block+`}`); status != http.StatusOK {
				t.Fatal(status)
			}
			must(t, s.Put(t.Context(), append(now[1:1000:1000], old[0], old[1])))
			until(t, s, func(a store.Account) bool { return a.Stored >= 1000 })
			must(t, s.Put(t.Context(), old[2:3])) // a batch in which nothing is taken
			until(t, s, func(a store.Account) bool { return a.Spooled+a.Lost() >= 3 })
			for part := now[1000:]; len(part) > 0; part = part[1000:] {
				before := s.Account().Stored
				must(t, s.Put(t.Context(), part[:1000]))
				until(t, s, func(a store.Account) bool { return a.Stored >= before+1000 })
			}
			must(t, s.Put(t.Context(), old[3:]))
			until(t, s, func(a store.Account) bool { return a.Spooled+a.Lost() >= 4 })
			a := s.Account()
			if !c.spool {
				if a.Dropped["refused: cluster_block_exception"] != 4 || a.Stored != 3000 || a.Pending != 0 || !a.Balanced() {
					t.Errorf("%v", a)
				}
				return
			}
			if a.Spooled != 4 || a.Stored != 3000 || a.Lost() != 0 || !a.Balanced() {
				t.Errorf("%v", a)
			}
			if status := call(t.Context(), t, http.MethodPut, index+"/_settings", c.free); status != http.StatusOK {
				t.Fatal(status)
			}
			must(t, s.Flush(t.Context()))
			if a := s.Account(); a.Stored != 3004 || a.Spooled != 0 || !a.Balanced() || stored(t, s) != 3004 {
				t.Errorf("%v", a)
			}
		})
	}
}

// spooling is a store that has two files of 100 records in its spool, whose folder is returned, as the server fails until it is told not to.
func spooling(t *testing.T, f *fails) (s *Store, dir string) {
	t.Helper()
	cfg := config(t)
	cfg.Spool = filepath.Join(t.TempDir(), "spool")
	cfg.URLs = []string{f.serve(t)}
	s = opened(t, cfg)
	f.status.Store(503)
	f.times.Store(-1)
	must(t, s.Put(t.Context(), traffictest.Some(100, time.Minute, 1)))
	until(t, s, func(a store.Account) bool { return a.Spooled >= 100 })
	must(t, s.Put(t.Context(), traffictest.Some(100, time.Minute, 2)))
	until(t, s, func(a store.Account) bool { return a.Spooled >= 200 })
	return s, cfg.Spool
}

// newest is the newest file of a spool.
func newest(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("nothing is in the spool")
	}
	return files[len(files)-1]
}

// A file of the spool that cannot be read for now, as with too many files open, is read again: its records are not damaged.
func TestSpoolUnreadable(t *testing.T) {
	var f fails
	s, dir := spooling(t, &f)
	path := newest(t, dir)
	must(t, errors.Join(os.Link(path, path+".aside"), os.Symlink(".", path+".link"), os.Rename(path+".link", path))) // a folder, from one moment to the next
	f.times.Store(0)
	until(t, s, func(a store.Account) bool {
		return a.Stored == 100 && strings.Contains(a.LastError, "directory") || a.Lost() > 0
	})
	if a := s.Account(); a.Lost() != 0 || a.Spooled != 100 || !a.Balanced() {
		t.Errorf("%v, %s", a, a.LastError)
	}
	must(t, os.Rename(path+".aside", path))
	must(t, s.Flush(t.Context()))
	if a := s.Account(); a.Stored != 200 || a.Pending != 0 || !a.Balanced() || stored(t, s) != 200 {
		t.Errorf("%v, %s", a, a.LastError)
	}
}

// What a file of the spool lacks is lost; what it has is stored.
func TestSpoolDamaged(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"half of it": func(path string) error {
			text, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, text[:len(text)/2], 0o600))
		},
		"all of it": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			var f fails
			s, dir := spooling(t, &f)
			must(t, damage(newest(t, dir)))
			f.times.Store(0)
			must(t, s.Flush(t.Context()))
			a := s.Account()
			if a.Dropped["spool damaged"] == 0 || a.Stored+a.Dropped["spool damaged"] != 200 || a.Spooled != 0 || !a.Balanced() || stored(t, s) != a.Stored {
				t.Errorf("%v, %s", a, a.LastError)
			}
		})
	}
}
