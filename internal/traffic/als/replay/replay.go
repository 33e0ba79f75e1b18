// Package replay keeps what proxies sent to an access log service, and sends it again as fast as it is taken: what a collector of interface
// traffic can do is measured with what Envoy says of real requests.
package replay

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// messageSize is about how many bytes Envoy sends at once unless it is told otherwise.
const messageSize = 16 << 10

// Tape is what proxies sent of their HTTP requests. Its methods may be used by many at once.
type Tape struct {
	mu      sync.Mutex
	proxies []*track
	changed chan struct{}
}

// track is what one proxy sent.
type track struct {
	of      *accesslogv3.StreamAccessLogsMessage_Identifier
	entries []*datav3.HTTPAccessLogEntry
	played  uint64 // entries so far
}

// New makes an empty tape.
func New() *Tape { return &Tape{changed: make(chan struct{})} }

// Record serves proxies at a listener until ctx is done, and keeps what they send.
func (t *Tape) Record(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer()
	accesslogv3.RegisterAccessLogServiceServer(g, t)
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	if err := g.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("record access logs at %s: %w", l.Addr(), err)
	}
	return nil
}

// StreamAccessLogs keeps one proxy's entries.
func (t *Tape) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	var of *track
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		case err != nil:
			return err
		}
		if m.GetIdentifier() != nil {
			of = t.track(m.GetIdentifier())
		}
		if of != nil {
			t.keep(of, m.GetHttpLogs().GetLogEntry())
		}
	}
}

func (t *Tape) track(of *accesslogv3.StreamAccessLogsMessage_Identifier) *track {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.proxies {
		if p.of.GetNode().GetId() == of.GetNode().GetId() {
			return p
		}
	}
	p := &track{of: of}
	t.proxies = append(t.proxies, p)
	return p
}

func (t *Tape) keep(of *track, entries []*datav3.HTTPAccessLogEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of.entries = append(of.entries, entries...)
	close(t.changed)
	t.changed = make(chan struct{})
}

// len is how many entries there are, and what tells of more.
func (t *Tape) len() (int, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, p := range t.proxies {
		n += len(p.entries)
	}
	return n, t.changed
}

// Await waits until there are so many entries.
func (t *Tape) Await(ctx context.Context, want int) error {
	for {
		n, changed := t.len()
		if n >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d access log entries have come: %w", n, want, context.Cause(ctx))
		case <-changed:
		}
	}
}

// Play sends n entries to an access log service, those of each proxy on a stream of its own, over and over: each time, and in
// each call of Play, they are other requests, at other times. It returns when the service has taken all; what is too fast for the service
// waits here. One Play goes on at a time.
func (t *Tape) Play(ctx context.Context, addr string, n int) (err error) {
	t.mu.Lock()
	tracks := slices.DeleteFunc(slices.Clone(t.proxies), func(p *track) bool { return len(p.entries) == 0 })
	t.mu.Unlock()
	if len(tracks) == 0 {
		return errors.New("there is nothing to play: no proxy has sent an access log entry")
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("play access logs to %s: %w", addr, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	failed := make([]error, len(tracks))
	var streams sync.WaitGroup
	for i, p := range tracks {
		share := n / len(tracks)
		if i < n%len(tracks) {
			share++
		}
		streams.Go(func() { failed[i] = p.play(ctx, accesslogv3.NewAccessLogServiceClient(conn), share) })
	}
	streams.Wait()
	return errors.Join(failed...)
}

func (p *track) play(ctx context.Context, client accesslogv3.AccessLogServiceClient, n int) error {
	stream, err := client.StreamAccessLogs(ctx)
	if err != nil {
		return fmt.Errorf("play access logs: %w", err)
	}
	v := newVariety(p.entries, p.played)
	defer func() { p.played = v.count }()
	for sent := 0; sent < n; {
		m := &accesslogv3.StreamAccessLogsMessage{}
		if sent == 0 {
			m.Identifier = p.of
		}
		part := v.next(min(v.atOnce, n-sent))
		m.LogEntries = &accesslogv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: part}}
		if err := stream.Send(m); err != nil {
			if errors.Is(err, io.EOF) { // why is what is received
				_, err = stream.CloseAndRecv()
			}
			return fmt.Errorf("play access logs: %w", err)
		}
		sent += len(part)
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		return fmt.Errorf("play access logs: %w", err)
	}
	return nil
}

// variety makes more entries of some: each is one of them, some time later and with other ids.
type variety struct {
	entries []*datav3.HTTPAccessLogEntry
	began   []time.Time
	paths   []string
	atOnce  int
	count   uint64
}

// variants is how many times there is each interface, under another name.
const variants = 10

func newVariety(entries []*datav3.HTTPAccessLogEntry, played uint64) *variety {
	v := &variety{count: played}
	size := 0
	for _, e := range entries {
		e = proto.CloneOf(e)
		size += proto.Size(e)
		v.entries = append(v.entries, e)
		v.began = append(v.began, e.GetCommonProperties().GetStartTime().AsTime())
		v.paths = append(v.paths, e.GetRequest().GetPath())
	}
	v.atOnce = max(1, min(len(entries), messageSize*len(entries)/max(1, size)))
	return v
}

// next are n entries, at most as many as there were, until it is called again.
func (v *variety) next(n int) []*datav3.HTTPAccessLogEntry {
	out := make([]*datav3.HTTPAccessLogEntry, n)
	for i := range out {
		k := v.count % uint64(len(v.entries))
		round := v.count / uint64(len(v.entries))
		out[i] = v.entries[k]
		v.count++
		c, r := out[i].GetCommonProperties(), out[i].GetRequest()
		c.StartTime = timestamppb.New(v.began[k].Add(time.Duration(round) * time.Second)) //nolint:gosec // far from 292 years
		id := v.id()
		c.StreamId = id
		if r != nil {
			r.RequestId = id
			r.Path = "/" + string(rune('a'+round%variants)) + v.paths[k]
		}
	}
	return out
}

// id is a UUID that no other entry of the same proxy has.
func (v *variety) id() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], v.count*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(b[8:], v.count)
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
