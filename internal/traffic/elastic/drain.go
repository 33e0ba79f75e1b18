package elastic

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"squall/internal/traffic/store"
)

// drained is what became of a file of the spool.
type drained int

const (
	taken   drained = iota // all of it, or a part
	refused                // nothing of it, though Elasticsearch answers, or it cannot be read for now
	failed                 // Elasticsearch does not answer
)

// drain sends what is in the spool, the oldest first, until ctx is done. A file whose index refuses it goes behind all others, so that it
// holds up none; where nothing is taken it waits.
func (s *Store) drain(ctx context.Context) {
	try, row := 0, 0 // pauses without success, and files that were refused in a row
	for ctx.Err() == nil {
		f, ok := s.spool.first()
		if !ok {
			s.down.Store(false)
			try, row = 0, 0
			select {
			case <-ctx.Done():
			case <-s.wake:
			}
			continue
		}
		switch s.drainFile(ctx, f) {
		case taken:
			s.down.Store(false)
			try, row = 0, 0
			continue
		case refused:
			s.spool.behind(f)
			if row++; row < s.spool.len() {
				continue
			}
		case failed:
		}
		try, row = try+1, 0
		pause(ctx, try)
	}
}

// drainFile sends a file once. What is taken of it is booked, and what is not stays in the spool, behind all others.
func (s *Store) drainFile(ctx context.Context, f spooled) drained {
	body, err := s.spool.read(f)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may be as it was: too many files are open, or the disk is away
		s.Note(func(a *store.Account) { a.LastError = err.Error() })
		return refused
	}
	docs := parse(body)
	docs = docs[:min(len(docs), f.count)]
	out := store.Outcome{Dropped: map[string]uint64{}}
	if len(docs) < f.count {
		out.Dropped["spool damaged"] = uint64(f.count - len(docs))
		s.Note(func(a *store.Account) {
			a.LastError = fmt.Sprintf("%s in the spool has %d of %d records: %v", f.name, len(docs), f.count, err)
		})
	}
	left := docs
	if len(docs) > 0 {
		left, err = s.send(ctx, docs, &out)
		switch {
		case len(left) < len(docs):
		case err != nil:
			return failed
		default:
			return refused
		}
	}
	done, err := s.spool.replace(f, join(left), len(left))
	if err != nil {
		s.Note(func(a *store.Account) { a.LastError = err.Error() })
	}
	if !done { // all of it is sent again: what is stored is known by its ids, and booked then
		return refused
	}
	s.Note(func(a *store.Account) { a.Spooled -= uint64(f.count - len(left)) })
	s.Settle(out)
	return taken
}
