package elastic

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
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
	shardWait = 2 * time.Second // that Elasticsearch waits for a shard that is not there, while all others of the batch wait too

	// Without a spool, how often an index may refuse a record before it is dropped: where Elasticsearch takes others of the batch, some 2 s, else
	// some 20 s.
	refusedAlone = 6
	refusedAll   = 12
)

// write sends a batch. What Elasticsearch does not take for now goes to the spool, and stays pending. Without a spool it is tried until it
// is taken, but for what an index refuses again and again: that must not hold up what belongs to others.
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
	taken := false // something of it
	for try, answers := 1, 0; len(docs) > 0; try++ {
		left, err := s.try(ctx, docs, &out)
		taken = taken || len(left) < len(docs)
		if err == nil {
			answers++
		}
		docs = left
		switch {
		case len(docs) == 0:
		case s.spool != nil && (try >= quickly || ctx.Err() != nil):
			if err != nil || !taken { // else it takes what belongs elsewhere
				s.down.Store(true)
			}
			s.toSpool(docs, &out)
			return out
		case ctx.Err() != nil:
			out.Dropped["closed"] += uint64(len(docs))
			return out
		case answers >= refusedAll || taken && answers >= refusedAlone:
			docs = dropRefused(docs, &out)
		}
		if len(docs) > 0 {
			pause(ctx, try)
		}
	}
	return out
}

// dropRefused drops what its index refused, and returns what had no room for now.
func dropRefused(docs []document, out *store.Outcome) (left []document) {
	for _, d := range docs {
		if d.refused == "" {
			left = append(left, d)
			continue
		}
		out.Dropped["refused: "+d.refused]++
	}
	return left
}

// try sends once. With a spool, a server that does not answer soon is not waited for: what it has taken after all is known by its ids.
func (s *Store) try(ctx context.Context, docs []document, out *store.Outcome) ([]document, error) {
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

// answer is that of a bulk request.
type answer struct {
	Items []map[string]item `json:"items"`
}

type item struct {
	Status int
	Error  struct{ Type, Reason string }
}

// send makes one bulk request, books what became of its documents, and returns those that are to be sent again. The error is of a request
// that failed as a whole: of its documents nothing is known.
func (s *Store) send(ctx context.Context, docs []document, out *store.Outcome) (again []document, err error) {
	var got answer
	err = s.client.ask(ctx, esapi.BulkRequest{Body: bytes.NewReader(join(docs)), Timeout: shardWait, FilterPath: []string{"items.*.status", "items.*.error.type", "items.*.error.reason"}}, &got)
	var failed *statusError
	switch {
	case errors.As(err, &failed) && failed.status == http.StatusRequestEntityTooLarge && len(docs) > 1:
		half := len(docs) / 2
		left1, err1 := s.send(ctx, docs[:half], out)
		left2, err2 := s.send(ctx, docs[half:], out)
		return slices.Concat(left1, left2), errors.Join(err1, err2)
	case errors.As(err, &failed) && (failed.status == http.StatusRequestEntityTooLarge || failed.status == http.StatusBadRequest):
		s.Note(func(a *store.Account) { a.LastError = err.Error() })
		out.Dropped["rejected"] += uint64(len(docs))
		return nil, nil
	case err == nil && len(got.Items) != len(docs):
		err = fmt.Errorf("Elasticsearch answered for %d of %d records", len(got.Items), len(docs)) //nolint:staticcheck // a name
	}
	if err != nil {
		s.Note(func(a *store.Account) { a.LastError, a.Retried = err.Error(), a.Retried+1 })
		return docs, err
	}
	for i, one := range got.Items {
		it := one["create"]
		switch {
		case it.Status == http.StatusOK || it.Status == http.StatusCreated:
			out.Stored++
		case it.Status == http.StatusConflict:
			out.Duplicates++
		case retryable(it):
			docs[i].refused = refusal(it)
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
	return again, nil
}

// refusal is why an index takes a document no more, or empty when the node has too much to do.
func refusal(it item) string {
	if it.Status == http.StatusTooManyRequests && it.Error.Type != "cluster_block_exception" {
		return ""
	}
	return cmp.Or(it.Error.Type, "without a type of error")
}

// retryable is what passes: too much at once, shards that are not there yet, an index that is read-only since its disk is full, and a user
// who may not write until somebody lets them.
func retryable(it item) bool {
	return it.Status == http.StatusTooManyRequests || it.Status >= http.StatusInternalServerError || it.Status == 0 ||
		it.Error.Type == "cluster_block_exception" || it.Error.Type == "security_exception"
}
