// Package collect takes the interface traffic of one run: records come from the proxies, are completed by what the cluster knows of their
// ends, and go to a store, from which they are read back for the run's record.
package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/als"
	"squall/internal/traffic/elastic"
	"squall/internal/traffic/sqlite"
	"squall/internal/traffic/store"
)

// flushWithin bounds how long the store may take for what a phase left; it may have to wait for its server.
const flushWithin = 2 * time.Minute

// Options say what is collected, and where it goes.
type Options struct {
	Run string // the run's id
	// File is the store of SQLite. It is not used with Elastic.
	File    string
	Elastic *elastic.Config
	// Service is the Elasticsearch, when it is one of the mesh's own; it is used when the mesh is ready.
	Service *Service
	// Interfaces are those that have a name; all others are learned.
	Interfaces []traffic.Template
	// ByLog says that records come by ReadLog, and none are sent.
	ByLog bool
}

// Collector collects for one run. Records that come before it has a store wait for it.
type Collector struct {
	opts   Options
	name   string
	store  store.Store // nil until Use
	used   chan struct{}
	server *als.Server
	peers  *Peers

	mu    sync.Mutex
	run   string
	stage string
}

// New makes a collector that has no store yet. Nothing is listened at yet.
func New(o Options) (*Collector, error) {
	names, err := traffic.NewInterfaces(traffic.Caps{}, o.Interfaces...)
	if err != nil {
		return nil, err
	}
	redactor, err := traffic.NewRedactor(traffic.Rules{})
	if err != nil {
		return nil, err
	}
	c := &Collector{opts: o, run: o.Run, used: make(chan struct{}), peers: NewPeers()}
	c.server = als.New(als.Options{Sink: (*sink)(c), Prepare: traffic.NewPreparer(redactor, names, nil), Peers: c.peers, Phase: c.phase})
	return c, nil
}

// sink hands records to the store, once there is one.
type sink Collector

// Put waits for the store, and while that has no room.
func (s *sink) Put(ctx context.Context, records []traffic.Record) error {
	select {
	case <-s.used:
		return s.store.Put(ctx, records)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Use opens the store, once. Dial connects to an Elasticsearch that cannot be reached by its URL; nil is for one that can.
func (c *Collector) Use(ctx context.Context, dial func(ctx context.Context) (net.Conn, error)) error {
	if c.opts.Elastic != nil {
		config := *c.opts.Elastic
		config.Dial = dial
		c.opts.Elastic = &config
	}
	s, name, err := openStore(ctx, c.opts)
	if err != nil {
		return fmt.Errorf("the store of interface traffic: %w", err)
	}
	c.store, c.name = s, name
	close(c.used)
	return nil
}

// Reader is the store to read from, nil before Use. It may not be read any more when Close is called.
func (c *Collector) Reader() store.Reader { return c.store }

// InMesh says whether the store is in the mesh, so that it can only be used when that is ready.
func (c *Collector) InMesh() *Service { return c.opts.Service }

func openStore(ctx context.Context, o Options) (store.Store, string, error) {
	if o.Elastic != nil {
		s, err := elastic.Open(ctx, *o.Elastic)
		return s, "Elasticsearch at " + o.Elastic.URLs[0], err
	}
	s, err := sqlite.Open(ctx, o.File)
	return s, "SQLite", err
}

// Serve takes the proxies' entries at a listener until ctx is done.
func (c *Collector) Serve(ctx context.Context, l net.Listener) error { return c.server.Serve(ctx, l) }

// LogFormat is what proxies' text access logs have to have for ReadLog: keys, and Envoy's command operators.
func LogFormat() map[string]string { return als.LogFormat() }

// ByLog says whether records come by ReadLog.
func (c *Collector) ByLog() bool { return c.opts.ByLog }

// ReadLog takes what a proxy wrote to its text access log, in JSON, as if the proxy had sent it.
func (c *Collector) ReadLog(ctx context.Context, of traffic.Workload, ip string, gateway bool, log io.Reader) error {
	return c.server.Read(ctx, als.Proxy{IP: ip, Gateway: gateway, Self: of}, log)
}

// Peers is what the collector knows of the cluster, to be kept up to date.
func (c *Collector) Peers() *Peers { return c.peers }

// Stage names what records that come from now on belong to; empty is nothing that is judged.
func (c *Collector) Stage(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = name
}

func (c *Collector) phase() (run, stage string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.run, c.stage
}

// Arrived is how many records of requests came of a pod's proxy.
func (c *Collector) Arrived(pod string) int64 { return c.server.Arrived(pod) }

// AwaitArrived waits until so many have come.
func (c *Collector) AwaitArrived(ctx context.Context, pod string, want int64) error {
	return c.server.AwaitArrived(ctx, pod, want)
}

// Read waits until the store has all that came, and sums up what it has of a stage. An error beside groups says why they are not whole.
func (c *Collector) Read(ctx context.Context, stage string) (Phase, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, flushWithin, fmt.Errorf("not within %s", flushWithin))
	defer cancel()
	flushed := c.store.Flush(ctx)
	out := Phase{Store: c.name, Account: c.store.Account()}
	if flushed != nil {
		a := out.Account
		return out, fmt.Errorf("the store of records (%s) has not taken all of them, %d are pending: %w; its last error: %s", c.name, a.Pending, flushed, cmp.Or(a.LastError, "none"))
	}
	var err error
	out.Groups, err = c.store.Groups(ctx, store.Filter{Run: c.run, Stages: []string{stage}}, dimensions()...)
	if err != nil {
		err = fmt.Errorf("read records back from the store (%s): %w", c.name, err)
	}
	return out, err
}

// Phase is what the store has of one stage.
type Phase struct {
	Store   string
	Account store.Account // of all stages so far
	Groups  []store.Group
}

func dimensions() []store.Dimension {
	return []store.Dimension{
		store.ByReporter, store.BySource, store.ByService, store.ByWorkload, store.ByVersion, store.ByInterface, store.ByCode, store.ByFlags,
	}
}

// Flushed is the store, when it has taken all that came; nil when it was never used.
func (c *Collector) Flushed(ctx context.Context) (store.Reader, error) {
	if c.store == nil {
		return nil, nil
	}
	if err := c.store.Flush(ctx); err != nil {
		return nil, fmt.Errorf("the store of records (%s) has not taken all of them: %w", c.name, err)
	}
	return c.store, nil
}

// Counts are what became of the entries of access logs before they were records.
func (c *Collector) Counts() als.Counts { return c.server.Counts() }

// Account is what became of all records so far.
func (c *Collector) Account() store.Account { return c.store.Account() }

// Close waits for what is pending until ctx is done, and closes the store.
func (c *Collector) Close(ctx context.Context) error {
	if c.store == nil {
		return nil
	}
	if err := c.store.Close(ctx); err != nil {
		return errors.Join(fmt.Errorf("close the store of records (%s)", c.name), err)
	}
	return nil
}
