package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"fortio.org/fortio/fgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// reconnect is how soon gRPC tries a connection again after it failed. Calls in between fail without reaching the target.
// connecting is how long it tries: longer than any call waits, so that a target that says nothing is each call's timeout.
const (
	reconnect  = 10 * time.Millisecond
	connecting = time.Hour
)

// grpcPing calls Fortio's ping service on one connection.
type grpcPing struct {
	*target
	conn    *grpc.ClientConn
	client  fgrpc.PingServerClient
	message *fgrpc.PingMessage
	md      metadata.MD
	broken  lastError // gRPC itself has it as text only
}

func newGRPC(t *target) (*grpcPing, error) {
	g := &grpcPing{target: t, message: &fgrpc.PingMessage{Payload: string(t.spec.Body)}, md: metadata.MD{}}
	for _, h := range t.spec.Headers {
		if name := strings.ToLower(h.Name); name != "host" && name != "user-agent" {
			g.md.Append(name, h.Value)
		}
	}
	return g, g.connect()
}

// connect makes the client; the first call connects it.
func (g *grpcPing) connect() error {
	creds := insecure.NewCredentials()
	if g.tls != nil {
		creds = &notedCreds{TransportCredentials: credentials.NewTLS(g.tls), broken: &g.broken}
	}
	conn, err := grpc.NewClient("passthrough:///"+g.address,
		grpc.WithTransportCredentials(creds),
		grpc.WithAuthority(g.spec.host(g.url)),
		grpc.WithUserAgent(g.userAgent()),
		grpc.WithContextDialer(g.dialNoted),
		grpc.WithStatsHandler(sentNoter{}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnect, Multiplier: 1, MaxDelay: reconnect},
			MinConnectTimeout: connecting,
		}),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0), grpc.WithNoProxy(),
	)
	if err != nil {
		return fmt.Errorf("grpc client for %s: %w", g.address, err)
	}
	g.conn, g.client = conn, fgrpc.NewPingServerClient(conn)
	return nil
}

func (g *grpcPing) userAgent() string {
	for _, h := range g.spec.Headers {
		if strings.EqualFold(h.Name, "User-Agent") {
			return h.Value
		}
	}
	return userAgent
}

func (g *grpcPing) dialNoted(ctx context.Context, _ string) (net.Conn, error) {
	c, err := g.dial(ctx, time.Time{})
	g.broken.note(err)
	if err != nil {
		return nil, err
	}
	return &notedConn{Conn: c, broken: &g.broken}, nil
}

// notedCreds notes why a handshake failed.
type notedCreds struct {
	credentials.TransportCredentials
	broken *lastError
}

func (c *notedCreds) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		c.broken.note(&handshakeError{err})
	}
	return conn, info, err
}

func (c *notedCreds) Clone() credentials.TransportCredentials {
	return &notedCreds{TransportCredentials: c.TransportCredentials.Clone(), broken: c.broken}
}

// sentKey is the context's key of a call's *atomic.Bool, which sentNoter sets.
type sentKey struct{}

// sentNoter notes in a call's context that the call's headers were handed to the connection: it may have reached the target.
type sentNoter struct{}

func (sentNoter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sentNoter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentNoter) HandleConn(context.Context, stats.ConnStats)                       {}

func (sentNoter) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); !ok {
		return
	}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
		sent.Store(true)
	}
}

func (g *grpcPing) call(ctx context.Context, _ time.Time) (o outcome) {
	if g.spec.NewConnectionPerRequest && g.conn == nil {
		if o.err = g.connect(); o.err != nil {
			return o
		}
	}
	ctx, cancel := context.WithTimeout(ctx, g.spec.CallTimeout())
	defer cancel()
	if g.ids != nil {
		o.id = g.ids.text()
		ctx = metadata.AppendToOutgoingContext(metadata.NewOutgoingContext(ctx, g.md), strings.ToLower(requestIDHeader), o.id)
	} else if len(g.md) > 0 {
		ctx = metadata.NewOutgoingContext(ctx, g.md)
	}
	var sent atomic.Bool
	ctx = context.WithValue(ctx, sentKey{}, &sent)
	var header, trailer metadata.MD
	reply, err := g.client.Ping(ctx, g.message, grpc.Header(&header), grpc.Trailer(&trailer))
	o.sent = sent.Load()
	g.fill(&o, header, trailer, err)
	if err == nil {
		o.bytes = int64(len(reply.GetPayload()))
	}
	if g.spec.NewConnectionPerRequest {
		g.close()
	}
	return o
}

// fill tells an answer from a failure: gRPC gives a status for both, but only an answer has headers or trailers.
func (g *grpcPing) fill(o *outcome, header, trailer metadata.MD, err error) {
	if err != nil && header.Len()+trailer.Len() == 0 {
		o.err = g.failure(err)
		return
	}
	o.code = int(status.Code(err))
	for _, md := range []metadata.MD{header, trailer} {
		if id := md.Get(requestIDHeader); len(id) > 0 {
			o.id = id[0]
		}
		if v := md.Get(g.spec.VersionHeader); len(v) > 0 {
			o.version = v[0]
		}
	}
}

func (g *grpcPing) failure(err error) error {
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return errors.Join(context.DeadlineExceeded, err)
	case codes.Canceled:
		return errors.Join(context.Canceled, err)
	}
	return g.broken.explain(err)
}

// interrupt has nothing to do: gRPC follows the context.
func (g *grpcPing) interrupt() {}

func (g *grpcPing) close() {
	if g.conn != nil {
		_ = g.conn.Close() // only fails when it was closed before
		g.conn = nil
	}
}
