package elastic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/elastic/go-elasticsearch/v9/esapi"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

const (
	firstWait = 100 * time.Millisecond
	longWait  = 5 * time.Second
	quickly   = 3               // tries before a batch goes to the spool
	soon      = 5 * time.Second // that one of these tries may take
)

// write sends a batch. What Elasticsearch does not take for now goes to the spool, and stays pending; without a spool it is tried until it
// is taken.
func (s *Store) write(ctx context.Context, batch []traffic.Record) store.Outcome {
	docs, invalid := s.encode(batch)
	out := store.Outcome{Dropped: map[string]uint64{}}
	if invalid > 0 {
		out.Dropped["invalid"] = invalid
	}
	if s.spool != nil && s.down.Load() {
		s.toSpool(docs, &out)
		return out
	}
	for try := 1; len(docs) > 0; try++ {
		docs = s.try(ctx, docs, &out)
		switch {
		case len(docs) == 0:
		case s.spool != nil && (try >= quickly || ctx.Err() != nil):
			s.down.Store(true)
			s.toSpool(docs, &out)
			return out
		case ctx.Err() != nil:
			out.Dropped["closed"] += uint64(len(docs))
			return out
		default:
			pause(ctx, try)
		}
	}
	return out
}

// try sends once. With a spool, a server that does not answer soon is not waited for: what it has taken after all is known by its ids.
func (s *Store) try(ctx context.Context, docs []document, out *store.Outcome) []document {
	if s.spool != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, soon)
		defer cancel()
	}
	return s.send(ctx, docs, out)
}

// pause waits longer from try to try, and not as long as others do.
func pause(ctx context.Context, try int) {
	wait := min(longWait, firstWait<<min(try-1, 10))
	timer := time.NewTimer(wait/2 + rand.N(wait/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// toSpool keeps documents on disk, or drops them and says why.
func (s *Store) toSpool(docs []document, out *store.Outcome) {
	switch err := s.spool.put(join(docs), len(docs)); {
	case err == nil:
		s.Note(func(a *store.Account) { a.Spooled += uint64(len(docs)); a.Waited += uint64(len(docs)) })
		s.signal()
	case errors.Is(err, errSpoolFull):
		out.Dropped["spool full"] += uint64(len(docs))
	default:
		s.Note(func(a *store.Account) { a.LastError = err.Error() })
		out.Dropped["spool failed"] += uint64(len(docs))
	}
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// drain sends what is in the spool, the oldest first, until ctx is done.
func (s *Store) drain(ctx context.Context) {
	try := 0
	for ctx.Err() == nil {
		f, ok := s.spool.first()
		if !ok {
			s.down.Store(false)
			select {
			case <-ctx.Done():
			case <-s.wake:
			}
			continue
		}
		body, err := s.spool.read(f)
		docs := parse(body)
		out := store.Outcome{Dropped: map[string]uint64{}}
		if err != nil || len(docs) < f.count {
			out.Dropped["spool damaged"] = uint64(f.count - len(docs))
			s.Note(func(a *store.Account) {
				a.LastError = fmt.Sprintf("%s in the spool has %d of %d records: %v", f.name, len(docs), f.count, err)
			})
		}
		for docs = docs[:min(len(docs), f.count)]; len(docs) > 0 && ctx.Err() == nil; {
			before := len(docs)
			if docs = s.send(ctx, docs, &out); len(docs) == before {
				try++
			} else {
				try = 1
			}
			if len(docs) > 0 {
				pause(ctx, try)
			}
		}
		if len(docs) > 0 { // told to end: the file stays as it is, and what was stored of it is known by its id
			return
		}
		s.down.Store(false)
		s.Note(func(a *store.Account) { a.Spooled -= uint64(f.count) })
		s.Settle(out)
		if err := s.spool.done(f); err != nil {
			s.Note(func(a *store.Account) { a.LastError = err.Error() })
		}
	}
}

// answer is that of a bulk request.
type answer struct {
	Items []map[string]item `json:"items"`
}

type item struct {
	Status int
	Error  struct{ Type, Reason string }
}

// send makes one bulk request, books what became of its documents, and returns those that are to be sent again.
func (s *Store) send(ctx context.Context, docs []document, out *store.Outcome) (again []document) {
	var got answer
	err := s.client.ask(ctx, esapi.BulkRequest{Body: bytes.NewReader(join(docs)), FilterPath: []string{"items.*.status", "items.*.error.type", "items.*.error.reason"}}, &got)
	var failed *statusError
	switch {
	case errors.As(err, &failed) && failed.status == http.StatusRequestEntityTooLarge && len(docs) > 1:
		half := len(docs) / 2
		return append(s.send(ctx, docs[:half], out), s.send(ctx, docs[half:], out)...)
	case errors.As(err, &failed) && (failed.status == http.StatusRequestEntityTooLarge || failed.status == http.StatusBadRequest):
		s.Note(func(a *store.Account) { a.LastError = err.Error() })
		out.Dropped["rejected"] += uint64(len(docs))
		return nil
	case err == nil && len(got.Items) != len(docs):
		err = fmt.Errorf("Elasticsearch answered for %d of %d records", len(got.Items), len(docs)) //nolint:staticcheck // a name
	}
	if err != nil {
		s.Note(func(a *store.Account) { a.LastError, a.Retried = err.Error(), a.Retried+1 })
		return docs
	}
	for i, one := range got.Items {
		it := one["create"]
		switch {
		case it.Status == http.StatusOK || it.Status == http.StatusCreated:
			out.Stored++
		case it.Status == http.StatusConflict:
			out.Duplicates++
		case retryable(it):
			again = append(again, docs[i])
			s.Note(func(a *store.Account) {
				a.LastError = fmt.Sprintf("%d, %s: %.300s", it.Status, it.Error.Type, it.Error.Reason)
			})
		default:
			out.Dropped["rejected: "+it.Error.Type]++
			s.Note(func(a *store.Account) {
				a.LastError = fmt.Sprintf("%d, %s: %.300s", it.Status, it.Error.Type, it.Error.Reason)
			})
		}
	}
	if len(again) > 0 {
		s.Note(func(a *store.Account) { a.Retried++ })
	}
	return again
}

// retryable is what passes: too much at once, shards that are not there yet, an index that is read-only since its disk is full, and a user
// who may not write until somebody lets them.
func retryable(it item) bool {
	return it.Status == http.StatusTooManyRequests || it.Status >= http.StatusInternalServerError || it.Status == 0 ||
		it.Error.Type == "cluster_block_exception" || it.Error.Type == "security_exception"
}
