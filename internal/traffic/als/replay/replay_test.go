package replay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"squall/internal/traffic"
	"squall/internal/traffic/als"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve runs until the test's end.
func serve(t *testing.T, with func(context.Context, net.Listener) error) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- with(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// send has one proxy send entries.
func send(t *testing.T, addr, pod string, n int) {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close()
	stream, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(t.Context())
	must(t, err)
	m := &accesslogv3.StreamAccessLogsMessage{Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{
		Node: &corev3.Node{Id: "sidecar~10.0.0.2~" + pod + ".shop~shop.svc.cluster.local"},
	}}
	for i := range n {
		m.LogEntries = &accesslogv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{
			LogEntry: []*datav3.HTTPAccessLogEntry{{
				CommonProperties: &datav3.AccessLogCommon{
					StartTime: timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, i, time.UTC)), TimeToLastDownstreamTxByte: durationpb.New(time.Millisecond), StreamId: fmt.Sprint(i),
				},
				Request:  &datav3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_GET, Path: fmt.Sprintf("/items/%d", i)},
				Response: &datav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200)},
			}},
		}}
		must(t, stream.Send(m))
		m.Identifier = nil
	}
	_, err = stream.CloseAndRecv()
	must(t, err)
}

// sink keeps ids.
type sink struct {
	mu    sync.Mutex
	ids   map[traffic.ID]int
	paths map[string]int
	fails error
}

func (s *sink) Put(_ context.Context, records []traffic.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		s.ids[r.ID]++
		s.paths[r.Interface]++
	}
	return s.fails
}

func collector(t *testing.T, to *sink) (*als.Server, string) {
	t.Helper()
	redact, err1 := traffic.NewRedactor(traffic.Rules{})
	names, err2 := traffic.NewInterfaces(traffic.Caps{})
	must(t, errors.Join(err1, err2))
	s := als.New(als.Options{Sink: to, Prepare: traffic.NewPreparer(redact, names, nil)})
	return s, serve(t, s.Serve)
}

// TestPlay plays what two proxies sent, several times over: each entry is a record of its own.
func TestPlay(t *testing.T) {
	tape := New()
	addr := serve(t, tape.Record)
	send(t, addr, "front-1", 7)
	send(t, addr, "back-1", 40)
	must(t, tape.Await(t.Context(), 47))
	to := &sink{ids: map[traffic.ID]int{}, paths: map[string]int{}}
	s, target := collector(t, to)
	for _, n := range []int{5000, 1, 3333} {
		must(t, tape.Play(t.Context(), target, n))
	}
	if c := s.Counts(); c.Records != 8334 || c.Lost != 0 || c.Malformed != 0 || len(to.ids) != 8334 {
		t.Errorf("%+v, %d ids", c, len(to.ids))
	}
	if len(to.paths) != variants || to.paths["/a/items/{id}"] == 0 {
		t.Errorf("%v", to.paths)
	}
}

// TestPlayFails says what the service said, and that there is nothing on an empty tape.
func TestPlayFails(t *testing.T) {
	tape := New()
	if err := tape.Play(t.Context(), "127.0.0.1:1", 1); err == nil || !strings.Contains(err.Error(), "nothing to play") {
		t.Error(err)
	}
	send(t, serve(t, tape.Record), "front-1", 3)
	to := &sink{ids: map[traffic.ID]int{}, paths: map[string]int{}, fails: status.Error(codes.Unavailable, "no more")}
	_, target := collector(t, to)
	if err := tape.Play(t.Context(), target, 100_000); err == nil || !strings.Contains(err.Error(), "no more") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("that was enough"))
	if err := tape.Await(ctx, 4); err == nil || !strings.Contains(err.Error(), "3 of 4") || !strings.Contains(err.Error(), "that was enough") {
		t.Error(err)
	}
}
