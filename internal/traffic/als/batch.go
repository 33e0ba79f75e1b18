package als

import (
	"context"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"squall/internal/traffic"
)

// batch are the records of one message.
type batch struct {
	s          *Server
	of         *node
	run, stage string
	records    []traffic.Record
	left       int   // entries that are neither handed over nor ignored
	http       int64 // of the records, those of requests
}

func (b *batch) ignore(reason string) {
	b.left--
	b.s.count(func(c *Counts) { c.Ignored[reason]++ })
}

// add completes a record by what its proxy is and what its peers are.
func (b *batch) add(ctx context.Context, r *traffic.Record, c *datav3.AccessLogCommon) error {
	b.of.place(r, c)
	return b.prepared(ctx, r, c.GetStreamId())
}

func (b *batch) prepared(ctx context.Context, r *traffic.Record, stream string) error {
	r.Run, r.Stage = b.run, b.stage
	if r.Method != "" || r.Path != "" { // of a method that HTTP does not define, Envoy tells none
		b.http++
	}
	b.s.opts.Prepare.Prepare(r, b.of.id, stream)
	if b.records = append(b.records, *r); len(b.records) >= putAtOnce {
		return b.flush(ctx)
	}
	return nil
}

func (b *batch) flush(ctx context.Context) error {
	if len(b.records) == 0 {
		return nil
	}
	if err := b.s.opts.Sink.Put(ctx, b.records); err != nil {
		lost := uint64(b.left)
		b.s.count(func(c *Counts) { c.Lost += lost })
		return status.Errorf(codes.Unavailable, "no more access logs are taken: %v", err)
	}
	n := len(b.records)
	b.left -= n
	b.s.count(func(c *Counts) { c.Records += uint64(n) })
	b.s.arrived.add(b.of.self.Pod, b.http)
	b.http = 0
	clear(b.records)
	b.records = b.records[:0]
	return nil
}

// unwanted is why an entry is none of the end of a request or connection, or empty. A Telemetry has each of its providers log both, so that
// a request comes as an entry of TCP too, and a connection as one of HTTP: ends is the type of what the entry is meant for.
func unwanted(c *datav3.AccessLogCommon, ends datav3.AccessLogType) string {
	switch t := c.GetAccessLogType(); t {
	case datav3.AccessLogType_NotSet, ends:
		//nolint:staticcheck // deprecated for the type, which older proxies do not send
		if c.GetIntermediateLogEntry() {
			return "intermediate"
		}
		return ""
	case datav3.AccessLogType_DownstreamEnd:
		return "a request as a connection"
	case datav3.AccessLogType_TcpConnectionEnd:
		return "a connection as a request"
	default:
		return t.String()
	}
}
