// Package als collects interface-traffic records from proxies: it serves Envoy's gRPC access log service (ALS v3) and the OpenTelemetry
// protocol's logs, to which Envoy's otel access logger writes. Entries become records, and go on to a sink. A slow sink slows the streams
// down: Envoy then buffers, and counts what it has to drop itself.
package als

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"squall/internal/traffic"
)

const (
	maxMessage   = 8 << 20          // bytes; Envoy sends 16 KiB at once by default, and one entry with long headers is some more
	maxStreams   = 4096             // at once, of all connections
	stopAfter    = 2 * time.Second  // streams that their clients do not end are cut then
	deadAfter    = 90 * time.Second // a connection that answers no ping is closed
	putAtOnce    = 1000             // records that are handed over at once
	minimumPings = 10 * time.Second
)

// Sink takes records. Its errors end the stream.
type Sink interface {
	Put(ctx context.Context, records []traffic.Record) error
}

// Peers knows the workloads of the mesh, for what proxies do not say themselves.
type Peers interface {
	// Workload is the pod with that IP.
	Workload(ip string) (traffic.Workload, bool)
	// Service is the Kubernetes service with that cluster IP or host, without a port.
	Service(host string) (namespace, name string, ok bool)
}

// Options are what a Server needs.
type Options struct {
	Sink    Sink
	Prepare *traffic.Preparer
	Peers   Peers                      // may be nil
	Phase   func() (run, stage string) // what records that come now belong to; may be nil
}

// Server is the service.
type Server struct {
	opts    Options
	slot    chan struct{}
	arrived *arrivals

	mu     sync.Mutex
	counts Counts
}

var _ accesslogv3.AccessLogServiceServer = (*Server)(nil)

// New makes a server, which Serve or Register put to use.
func New(opts Options) *Server {
	if opts.Phase == nil {
		opts.Phase = func() (string, string) { return "", "" }
	}
	if opts.Peers == nil {
		opts.Peers = nobody{}
	}
	return &Server{opts: opts, slot: make(chan struct{}, maxStreams), arrived: newArrivals(), counts: Counts{Ignored: map[string]uint64{}}}
}

// Serve answers at a listener, without TLS, until ctx is done. It then waits 2 s for what is on its way; clients that never close are cut.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(10*time.Second), grpc.MaxHeaderListSize(64<<10),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: deadAfter / 3, Timeout: deadAfter / 3}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minimumPings, PermitWithoutStream: true}),
	)
	s.Register(g)
	up := health.NewServer()
	healthv1.RegisterHealthServer(g, up)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve access logs at %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	up.Shutdown()
	gone := make(chan struct{})
	go func() {
		g.GracefulStop()
		close(gone)
	}()
	timer := time.NewTimer(stopAfter)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
		g.Stop()
		<-gone
	}
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve access logs at %s: %w", l.Addr(), err)
	}
	return nil
}

// Register adds both services to a gRPC server.
func (s *Server) Register(g *grpc.Server) {
	accesslogv3.RegisterAccessLogServiceServer(g, s)
	plogotlp.RegisterGRPCServer(g, &logs{s: s})
}

func (s *Server) count(change func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counts)
}

// StreamAccessLogs takes one proxy's entries, message by message.
func (s *Server) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	select {
	case s.slot <- struct{}{}:
		defer func() { <-s.slot }()
	default:
		return status.Errorf(codes.ResourceExhausted, "%d streams of access logs are open already", maxStreams)
	}
	s.count(func(c *Counts) { c.Streams++ })
	defer s.count(func(c *Counts) { c.Streams-- })
	var of *node
	var records []traffic.Record
	for {
		message, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		case err != nil:
			if code := status.Code(err); code == codes.Internal || code == codes.ResourceExhausted {
				s.count(func(c *Counts) { c.Malformed++ })
			}
			return err
		}
		if id := message.GetIdentifier(); id != nil {
			of = newNode(id.GetNode(), s.opts.Peers)
		}
		if of == nil {
			s.count(func(c *Counts) { c.Malformed++ })
			return status.Error(codes.InvalidArgument, "the first message of a stream of access logs has to say which node it is of")
		}
		if records, err = s.take(stream.Context(), of, message, records[:0]); err != nil {
			return err
		}
	}
}

// take hands the records of one message on, by as many as the sink gets at once.
func (s *Server) take(ctx context.Context, of *node, message *accesslogv3.StreamAccessLogsMessage, records []traffic.Record) ([]traffic.Record, error) {
	http, tcp := message.GetHttpLogs().GetLogEntry(), message.GetTcpLogs().GetLogEntry()
	s.count(func(c *Counts) { c.Messages++; c.Entries += uint64(len(http) + len(tcp)) })
	b := batch{s: s, of: of, records: records, left: len(http) + len(tcp)}
	b.run, b.stage = s.opts.Phase()
	for _, e := range http {
		if reason := unwanted(e.GetCommonProperties(), datav3.AccessLogType_DownstreamEnd); reason != "" {
			b.ignore(reason)
			continue
		}
		r := fromHTTP(e)
		if err := b.add(ctx, &r, e.GetCommonProperties()); err != nil {
			return b.records, err
		}
	}
	for _, e := range tcp {
		if reason := unwanted(e.GetCommonProperties(), datav3.AccessLogType_TcpConnectionEnd); reason != "" {
			b.ignore(reason)
			continue
		}
		r := fromTCP(e)
		if err := b.add(ctx, &r, e.GetCommonProperties()); err != nil {
			return b.records, err
		}
	}
	return b.records, b.flush(ctx)
}
