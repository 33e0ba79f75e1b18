package elastic

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// errSpoolFull says that the spool holds as much as it may.
var errSpoolFull = errors.New("the spool is full")

// spool keeps batches on disk, one a file, oldest first. What a process leaves is sent by the next one that opens the folder.
type spool struct {
	dir   string
	limit int64
	lock  *os.File

	mu    sync.Mutex
	next  uint64
	bytes int64
	files []spooled
	gone  chan struct{} // closed and replaced when a batch was removed
}

// spooled is one file.
type spooled struct {
	name  string
	count int // of records
	size  int64
}

// openSpool takes the folder for this process alone.
func openSpool(dir string, limit int64) (s *spool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the spool's folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the spool's lock: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("the spool %s is in use by another process: give each its own folder: %w", dir, err)
	}
	s = &spool{dir: dir, limit: limit, lock: lock, gone: make(chan struct{})}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("the spool: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") { // was being written when its process ended
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("the spool: %w", err)
			}
			continue
		}
		number, count, ok := parseName(e.Name())
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("the spool: %w", err)
		}
		s.next = max(s.next, number+1)
		s.bytes += info.Size()
		s.files = append(s.files, spooled{e.Name(), count, info.Size()})
	}
	return s, nil
}

// parseName reads NUMBER-RECORDS.ndjson.
func parseName(name string) (number uint64, count int, ok bool) {
	stem, is := strings.CutSuffix(name, ".ndjson")
	a, b, both := strings.Cut(stem, "-")
	number, err1 := strconv.ParseUint(a, 10, 63)
	count, err2 := strconv.Atoi(b)
	return number, count, is && both && err1 == nil && err2 == nil && count > 0
}

// put writes a batch, so that it is there after a crash. A batch that would exceed the limit is refused with errSpoolFull.
func (s *spool) put(body []byte, count int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+int64(len(body)) > s.limit {
		return errSpoolFull
	}
	if err := s.add(s.next, body, count); err != nil {
		return err
	}
	s.next++
	return nil
}

// add writes a file and puts it behind all others.
func (s *spool) add(number uint64, body []byte, count int) error {
	name := fmt.Sprintf("%020d-%d.ndjson", number, count)
	path := filepath.Join(s.dir, name)
	err := writeSynced(path+".tmp", body)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write to the spool: %w", err), ignoreMissing(os.Remove(path+".tmp")))
	}
	s.bytes += int64(len(body))
	s.files = append(s.files, spooled{name, count, int64(len(body))})
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func writeSynced(path string, body []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Sync(), f.Close())
}

// first is the batch to be sent next: the oldest, unless it was put behind others.
func (s *spool) first() (spooled, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) == 0 {
		return spooled{}, false
	}
	return s.files[0], true
}

func (s *spool) read(f spooled) ([]byte, error) { return os.ReadFile(filepath.Join(s.dir, f.name)) }

// behind has a batch sent after all others that are there.
func (s *spool) behind(f spooled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.files, f); i >= 0 {
		s.files = append(slices.Delete(s.files, i, i+1), f)
	}
}

// replace removes a batch, or leaves fewer records of it, behind all others and under its number: passed waits for them too. When the
// process ends in between, or the file stays, both are there for the next one, and what is sent twice is known by its ids. When it is not
// done, the batch is as it was.
func (s *spool) replace(f spooled, rest []byte, count int) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if count > 0 {
		number, _, _ := parseName(f.name)
		if err := s.add(number, rest, count); err != nil {
			return false, err
		}
	}
	if i := slices.Index(s.files, f); i >= 0 {
		s.files = slices.Delete(s.files, i, i+1)
		s.bytes -= f.size
	}
	close(s.gone)
	s.gone = make(chan struct{})
	return true, ignoreMissing(os.Remove(filepath.Join(s.dir, f.name)))
}

func (s *spool) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files)
}

// passed waits until all that is in the spool now is gone.
func (s *spool) passed(ctx context.Context) error {
	s.mu.Lock()
	mark := s.next
	s.mu.Unlock()
	for {
		s.mu.Lock()
		gone := s.gone
		older := slices.ContainsFunc(s.files, func(f spooled) bool {
			number, _, _ := parseName(f.name)
			return number < mark
		})
		s.mu.Unlock()
		if !older {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("records are still in the spool: %w", context.Cause(ctx))
		case <-gone:
		}
	}
}

// records is how many are in it.
func (s *spool) records() (n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		n += uint64(f.count)
	}
	return n
}

func (s *spool) close() error { return s.lock.Close() }
