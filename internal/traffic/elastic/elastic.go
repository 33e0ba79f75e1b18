// Package elastic keeps interface-traffic records in Elasticsearch, in an index for each day. A record's id and index are made of the record,
// so that sending it again never doubles it. While Elasticsearch is down or refuses, records wait on disk.
package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elastic/go-elasticsearch/v9/esapi"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

const (
	batchSize  = 5000
	queueSize  = 20_000
	batchEvery = 500 * time.Millisecond
)

// Store is the indices of one name in one Elasticsearch. Readers see what was stored within a second, and at once after Flush.
type Store struct {
	*store.Batcher

	config Config
	client *client
	spool  *spool // nil without a folder

	wake   chan struct{} // there is something in the spool
	down   atomic.Bool
	cancel context.CancelFunc
	done   sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open reaches Elasticsearch and makes its index template. It refuses a server that is none, a wrong password, another's template, and
// indices of this name with other fields. What an earlier process left in the spool is sent, and counts as received.
func Open(ctx context.Context, c Config) (s *Store, err error) {
	if c, err = c.checked(); err != nil {
		return nil, err
	}
	cl, err := newClient(c)
	if err != nil {
		return nil, err
	}
	s = &Store{config: c, client: cl, wake: make(chan struct{}, 1)}
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("records in Elasticsearch at %s: %w", c.URLs[0], err)
	}
	if c.Spool != "" {
		if s.spool, err = openSpool(c.Spool, c.SpoolBytes); err != nil {
			return nil, err
		}
	}
	s.Batcher = store.NewBatcher(ctx, store.BatchOptions{Size: batchSize, Queue: queueSize, Every: batchEvery, Write: s.write})
	if s.spool != nil {
		left := s.spool.records()
		s.Note(func(a *store.Account) { a.Received += left; a.Pending += left; a.Spooled += left; a.Waited += left })
		drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
		s.cancel = cancel
		s.done.Go(func() { s.drain(drain) })
		s.signal()
	}
	return s, nil
}

// OpenReader reaches Elasticsearch and writes nothing there: a user who may only read will do. It refuses what Open refuses.
func OpenReader(ctx context.Context, c Config) (store.Reader, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	cl, err := newClient(c)
	if err != nil {
		return nil, err
	}
	s := &Store{config: c, client: cl}
	if err := s.checkMappings(ctx); err != nil {
		return nil, fmt.Errorf("records in Elasticsearch at %s: %w", c.URLs[0], err)
	}
	return s, nil
}

// prepare sees to the template, and looks at the indices that are there.
func (s *Store) prepare(ctx context.Context) error {
	var health struct {
		Status string `json:"status"`
	}
	if err := s.client.ask(ctx, esapi.ClusterHealthRequest{}, &health); err != nil {
		return err
	}
	name := s.config.Index
	var got struct {
		Templates []struct {
			Template struct {
				Meta struct{ Owner string } `json:"_meta"`
			} `json:"index_template"`
		} `json:"index_templates"`
	}
	err := s.client.ask(ctx, esapi.IndicesGetIndexTemplateRequest{Name: name}, &got)
	var failed *statusError
	if err != nil && (!errors.As(err, &failed) || failed.status != http.StatusNotFound) {
		return err
	}
	for _, t := range got.Templates {
		if t.Template.Meta.Owner != "squall" {
			return fmt.Errorf("the index template %s is not Squall's: give another name as index", name)
		}
	}
	if err := s.checkMappings(ctx); err != nil {
		return err
	}
	body, err := json.Marshal(template(name))
	if err != nil {
		return err
	}
	return s.client.ask(ctx, esapi.IndicesPutIndexTemplateRequest{Name: name, Body: bytes.NewReader(body)}, nil)
}

// checkMappings refuses indices whose fields are others.
func (s *Store) checkMappings(ctx context.Context) error {
	var indices map[string]struct {
		Mappings struct {
			Properties map[string]any `json:"properties"`
		} `json:"mappings"`
	}
	if err := s.client.ask(ctx, esapi.IndicesGetMappingRequest{Index: []string{s.config.Index + "-*"}}, &indices); err != nil {
		return err
	}
	for index, m := range indices {
		if diff := differences(m.Mappings.Properties); len(diff) > 0 {
			return fmt.Errorf("the index %s has other fields (%s, and %d more): delete it, or give another name as index", index, diff[0], len(diff)-1)
		}
	}
	return nil
}

// indexOf is the index of a record: that of its day.
func (s *Store) indexOf(r *traffic.Record) string {
	return s.config.Index + "-" + r.Time.UTC().Format("2006.01.02")
}

// Flush waits until nothing is pending, in the spool neither, and makes all that was stored visible.
func (s *Store) Flush(ctx context.Context) error {
	if err := s.Batcher.Flush(ctx); err != nil {
		return err
	}
	if s.spool != nil { // newer records may have gone past those in the spool
		if err := s.spool.passed(ctx); err != nil {
			return err
		}
	}
	return s.client.ask(ctx, esapi.IndicesRefreshRequest{Index: []string{s.config.Index + "-*"}}, nil)
}

// Close stores what is pending until ctx is done. What is in the spool stays there for the next Open; the error says how much.
func (s *Store) Close(ctx context.Context) error {
	err := s.Batcher.Close(ctx)
	if s.spool == nil {
		return err
	}
	s.cancel()
	s.done.Wait()
	if left := s.spool.records(); left > 0 {
		err = errors.Join(err, fmt.Errorf("%d records are in the spool %s: they are sent when it is opened again", left, s.config.Spool))
	}
	return errors.Join(err, s.spool.close())
}

// document is a record on its way: the lines of a bulk request.
type document struct {
	lines   []byte
	refused string // why its index took it no more, when it was sent last
}

// encode makes the lines of each record.
func (s *Store) encode(batch []traffic.Record) (docs []document, invalid uint64) {
	docs = make([]document, 0, len(batch))
	for i := range batch {
		r := &batch[i]
		if r.Valid() != nil {
			invalid++
			continue
		}
		body, err := json.Marshal(traffic.NewDocument(r, store.Bucket(r.Duration)))
		if err != nil { // no field can fail
			invalid++
			continue
		}
		lines := make([]byte, 0, len(body)+96)
		lines = fmt.Appendf(lines, `{"create":{"_index":%q,"_id":%q}}`+"\n", s.indexOf(r), r.ID.String())
		lines = append(append(lines, body...), '\n')
		docs = append(docs, document{lines: lines})
	}
	return docs, invalid
}

func join(docs []document) []byte {
	n := 0
	for _, d := range docs {
		n += len(d.lines)
	}
	body := make([]byte, 0, n)
	for _, d := range docs {
		body = append(body, d.lines...)
	}
	return body
}

// parse is the opposite of join.
func parse(body []byte) []document {
	var docs []document
	for len(body) > 0 {
		end := 0
		for range 2 {
			i := bytes.IndexByte(body[end:], '\n')
			if i < 0 {
				return docs // a damaged end
			}
			end += i + 1
		}
		docs = append(docs, document{lines: slices.Clip(body[:end])})
		body = body[end:]
	}
	return docs
}
