package als

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"squall/internal/traffic"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kept is a sink that keeps what it gets, or does what it is told instead.
type kept struct {
	mu      sync.Mutex
	records []traffic.Record
	put     func(context.Context) error
}

func (k *kept) Put(ctx context.Context, records []traffic.Record) error {
	if k.put != nil {
		return k.put(ctx)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records = append(k.records, records...)
	return nil
}

func newServer(t testing.TB, sink Sink, peers Peers) *Server {
	t.Helper()
	red, err1 := traffic.NewRedactor(traffic.Rules{})
	names, err2 := traffic.NewInterfaces(traffic.Caps{})
	must(t, errors.Join(err1, err2))
	return New(Options{Sink: sink, Prepare: traffic.NewPreparer(red, names, nil), Peers: peers, Phase: func() (string, string) { return "run-1", "stage-1" }})
}

// serve runs a server until the test's end, or until stop, and returns where it is.
func serve(t testing.TB, s *Server) (addr string, stop func()) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func dial(t testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func open(t testing.TB, addr string) accesslogv3.AccessLogService_StreamAccessLogsClient {
	t.Helper()
	stream, err := accesslogv3.NewAccessLogServiceClient(dial(t, addr)).StreamAccessLogs(t.Context())
	must(t, err)
	return stream
}

func socket(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}
}

func sidecar(t testing.TB, ip, pod, app, version string) *accesslogv3.StreamAccessLogsMessage_Identifier {
	t.Helper()
	meta, err := structpb.NewStruct(map[string]any{"NAMESPACE": "bookinfo", "NAME": pod, "WORKLOAD_NAME": app + "-" + version, "LABELS": map[string]any{"app": app, "version": version}})
	must(t, err)
	return &accesslogv3.StreamAccessLogsMessage_Identifier{LogName: "squall", Node: &corev3.Node{Id: "sidecar~" + ip + "~" + pod + ".bookinfo~bookinfo.svc.cluster.local", Metadata: meta}}
}

var start = time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.UTC)

func entry(cluster string) *datav3.HTTPAccessLogEntry {
	ms := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }
	return &datav3.HTTPAccessLogEntry{
		ProtocolVersion: datav3.HTTPAccessLogEntry_HTTP11,
		CommonProperties: &datav3.AccessLogCommon{
			StartTime: timestamppb.New(start), Duration: ms(20), TimeToFirstUpstreamTxByte: ms(2), TimeToLastUpstreamRxByte: ms(17), TimeToFirstDownstreamTxByte: ms(18),
			DownstreamRemoteAddress: socket("10.0.0.1", 40000), DownstreamLocalAddress: socket("10.96.0.9", 9080), UpstreamRemoteAddress: socket("10.0.0.2", 9080),
			UpstreamCluster: cluster, ResponseFlags: &datav3.ResponseFlags{UpstreamOverflow: true, UpstreamRetryLimitExceeded: true}, RouteName: "default", UpstreamRequestAttemptCount: 2,
		},
		Request: &datav3.HTTPRequestProperties{
			RequestMethod: corev3.RequestMethod_GET, Scheme: "http", Authority: "reviews:9080", Path: "/reviews/0?user=alice", UserAgent: "curl/8", RequestId: "r-1",
			RequestBodyBytes: 3, RequestHeaders: map[string]string{"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Authorization": "Bearer x"},
		},
		Response: &datav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(503), ResponseBodyBytes: 81, ResponseCodeDetails: "overflow"},
	}
}

// pods and services by their addresses.
type pods struct {
	nobody
	of map[string]traffic.Workload
}

func (p pods) Workload(ip string) (traffic.Workload, bool) {
	w, ok := p.of[ip]
	return w, ok
}

func TestEntries(t *testing.T) {
	sink := &kept{}
	s := newServer(t, sink, pods{of: map[string]traffic.Workload{"10.0.0.2": {Namespace: "bookinfo", Name: "reviews", Service: "reviews", Version: "v3", Pod: "reviews-v3-a"}}})
	addr, _ := serve(t, s)
	client, server := open(t, addr), open(t, addr)
	start2 := entry("outbound|9080||reviews.bookinfo.svc.cluster.local")
	start2.CommonProperties.AccessLogType = datav3.AccessLogType_DownstreamStart
	connection := entry("outbound|3306||mysql.bookinfo.svc.cluster.local") // what a provider for HTTP makes of TCP
	connection.CommonProperties.AccessLogType = datav3.AccessLogType_TcpConnectionEnd
	must(t, client.Send(&accesslogv3.StreamAccessLogsMessage{
		Identifier: sidecar(t, "10.0.0.1", "productpage-v1-x", "productpage", "v1"),
		LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{
			LogEntry: []*datav3.HTTPAccessLogEntry{entry("outbound|9080|v3|reviews.bookinfo.svc.cluster.local"), start2, connection},
		}},
	}))
	inbound := entry("inbound|9080||")
	inbound.CommonProperties.DownstreamLocalAddress = socket("10.0.0.2", 9080)
	inbound.CommonProperties.TlsProperties = &datav3.TLSProperties{PeerCertificateProperties: &datav3.TLSProperties_CertificateProperties{
		SubjectAltName: []*datav3.TLSProperties_CertificateProperties_SubjectAltName{{San: &datav3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: "spiffe://cluster.local/ns/front/sa/pp"}}},
	}}
	must(t, server.Send(&accesslogv3.StreamAccessLogsMessage{
		Identifier: sidecar(t, "10.0.0.2", "reviews-v3-a", "reviews", "v3"),
		LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*datav3.HTTPAccessLogEntry{inbound}}},
	}))
	tcp := &datav3.TCPAccessLogEntry{CommonProperties: entry("outbound|3306||mysql.bookinfo.svc.cluster.local").CommonProperties, ConnectionProperties: &datav3.ConnectionProperties{ReceivedBytes: 7, SentBytes: 1 << 63}}
	request := &datav3.TCPAccessLogEntry{CommonProperties: entry("outbound|9080|v3|reviews.bookinfo.svc.cluster.local").CommonProperties} // and one for TCP of HTTP
	request.CommonProperties.AccessLogType = datav3.AccessLogType_DownstreamEnd
	must(t, client.Send(&accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_TcpLogs{
		TcpLogs: &accesslogv3.StreamAccessLogsMessage_TCPAccessLogEntries{LogEntry: []*datav3.TCPAccessLogEntry{tcp, request}},
	}}))
	for _, stream := range []accesslogv3.AccessLogService_StreamAccessLogsClient{client, server} {
		_, err := stream.CloseAndRecv()
		must(t, err)
	}
	c := s.Counts()
	if c.Entries != 6 || c.Records != 3 || c.Ignored["DownstreamStart"] != 1 || c.Ignored["a connection as a request"] != 1 || c.Ignored["a request as a connection"] != 1 || c.Lost+c.Malformed != 0 || c.Streams != 0 || len(sink.records) != 3 {
		t.Fatalf("%+v, %d records", c, len(sink.records))
	}
	for _, r := range sink.records {
		if r.Run != "run-1" || r.Stage != "stage-1" || !r.Time.Equal(start) || r.Duration != 20*time.Millisecond || r.Upstream != 15*time.Millisecond ||
			r.FirstByte != 18*time.Millisecond || r.Flags != "UO,URX" || r.Attempts != 2 || r.Valid() != nil {
			t.Errorf("%+v", r)
		}
		if r.Protocol == "TCP" {
			if r.Destination.Service != "mysql" || r.BytesReceived != 7 || r.BytesSent != traffic.MaxBytes || r.Interface != "" || r.Source.Name != "productpage-v1" {
				t.Errorf("%+v", r)
			}
			continue
		}
		if r.Method != "GET" || r.Path != "/reviews/0?user=REDACTED" || r.Interface != "/reviews/{id}" || r.Code != 503 || r.RequestID != "r-1" ||
			r.TraceID != "0af7651916cd43dd8448eb211c80319c" || r.Headers["authorization"] != traffic.Redacted || r.BytesSent != 81 {
			t.Errorf("%+v", r)
		}
		if d := r.Destination; d.Namespace != "bookinfo" || d.Service != "reviews" || d.Version != "v3" || d.Pod != "reviews-v3-a" {
			t.Errorf("%+v", r)
		}
		if want := map[traffic.Reporter]string{traffic.Source: "bookinfo", traffic.Destination: "front"}[r.Reporter]; r.Source.Namespace != want {
			t.Errorf("the source of the %s is in %q, want %q", r.Reporter, r.Source.Namespace, want)
		}
	}
}

func TestReporter(t *testing.T) {
	for _, c := range []struct {
		gateway        bool
		cluster, local string
		want           traffic.Reporter
	}{
		{false, "outbound|80||a.b.svc.cluster.local", "", traffic.Source}, {false, "inbound|80||", "", traffic.Destination}, {false, "", "10.0.0.1", traffic.Destination},
		{false, "", "10.96.0.1", traffic.Source}, {true, "", "10.0.0.1", traffic.Source}, {false, "PassthroughCluster", "10.0.0.1", traffic.Source},
		{false, "InboundPassthroughCluster", "", traffic.Destination},
	} {
		n := &node{ip: "10.0.0.1", gateway: c.gateway}
		if got := n.reporter(c.cluster, c.local); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	for cluster, want := range map[string][2]string{"outbound|80|v1|a.b.svc.cluster.local": {"b", "a"}, "outbound|443||example.com": {"", "example.com"}, "inbound|80||": {"", ""}, "x": {"", ""}} {
		if namespace, service := serviceOf(cluster); namespace != want[0] || service != want[1] {
			t.Errorf("%s: %s, %s", cluster, namespace, service)
		}
	}
}

func TestFirstMessageWithoutNode(t *testing.T) {
	s := newServer(t, &kept{}, nil)
	addr, _ := serve(t, s)
	stream := open(t, addr)
	must(t, stream.Send(&accesslogv3.StreamAccessLogsMessage{}))
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.InvalidArgument || s.Counts().Malformed != 1 {
		t.Errorf("%v, %+v", err, s.Counts())
	}
}

// A client that never closes does not keep the server from ending, and a sink that ended is told to the client.
func TestNeverCloses(t *testing.T) {
	s := newServer(t, &kept{}, nil)
	addr, stop := serve(t, s)
	stream := open(t, addr)
	must(t, stream.Send(&accesslogv3.StreamAccessLogsMessage{Identifier: sidecar(t, "10.0.0.1", "p", "a", "v1")}))
	begin := time.Now()
	for s.Counts().Messages == 0 {
		runtime.Gosched()
	}
	stop()
	if took := time.Since(begin); took > stopAfter+5*time.Second {
		t.Errorf("ended after %v", took)
	}
	if err := stream.RecvMsg(&accesslogv3.StreamAccessLogsResponse{}); err == nil {
		t.Error("the client was not told")
	}
	ended := newServer(t, &kept{put: func(context.Context) error { return errors.New("the store is closed") }}, nil)
	addr, _ = serve(t, ended)
	stream = open(t, addr)
	must(t, stream.Send(message(t, 3)))
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the store is closed") {
		t.Error(err)
	}
	if c := ended.Counts(); c.Lost != 3 || c.Entries != 3 {
		t.Errorf("%+v", c)
	}
}

func message(t testing.TB, n int) *accesslogv3.StreamAccessLogsMessage {
	t.Helper()
	var list []*datav3.HTTPAccessLogEntry
	for i := range n {
		e := entry("outbound|9080||reviews.bookinfo.svc.cluster.local")
		e.Request.RequestId = fmt.Sprintf("r-%d", i)
		list = append(list, e)
	}
	return &accesslogv3.StreamAccessLogsMessage{Identifier: sidecar(t, "10.0.0.1", "p", "a", "v1"), LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: list},
	}}
}

// A sink that stands still stops the streams, and not with all that they send in memory.
func TestSlowSinkHoldsStreams(t *testing.T) {
	open1, stuck := make(chan struct{}), true
	sink := &kept{}
	sink.put = func(ctx context.Context) error {
		if stuck {
			select {
			case <-open1:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	s := newServer(t, sink, nil)
	addr, _ := serve(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := accesslogv3.NewAccessLogServiceClient(dial(t, addr)).StreamAccessLogs(ctx)
	must(t, err)
	sent := make(chan int, 1)
	go func() {
		m, n := message(t, 100), 0
		for stream.Send(m) == nil {
			n++
		}
		sent <- n
	}()
	for s.Counts().Messages == 0 {
		runtime.Gosched()
	}
	timer := time.NewTimer(500 * time.Millisecond)
	<-timer.C
	if c := s.Counts(); c.Messages != 1 || c.Records != 0 {
		t.Errorf("%+v", c)
	}
	cancel()
	if n := <-sent; n > 200 { // what fits into the windows of HTTP/2
		t.Errorf("%d messages were sent at a sink that took none", n)
	}
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Name() string { return "proto" }
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errors.New("no bytes")
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}
func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }

var _ encoding.CodecV2 = raw{}

// Streams that are cut or damaged anywhere end with an error, are counted, and leave the server as it was.
func TestDamagedStreams(t *testing.T) {
	sink := &kept{}
	s := newServer(t, sink, nil)
	addr, _ := serve(t, s)
	good, err := proto.Marshal(message(t, 2))
	must(t, err)
	conn := dial(t, addr, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
	for _, cut := range []int{1, 2, len(good) / 2, len(good) - 1} {
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, accesslogv3.AccessLogService_StreamAccessLogs_FullMethodName)
		must(t, err)
		must(t, stream.SendMsg(good[:cut]))
		must(t, stream.CloseSend())
		if err := stream.RecvMsg([]byte{}); status.Code(err) != codes.Internal {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	// gRPC tells the client before it tells the handler, which counts.
	for end := time.Now().Add(10 * time.Second); s.Counts().Streams > 0 && time.Now().Before(end); {
		runtime.Gosched()
	}
	if c := s.Counts(); c.Malformed != 4 || c.Streams != 0 || len(sink.records) != 0 {
		t.Errorf("%+v", c)
	}
	stream := open(t, addr)
	must(t, stream.Send(message(t, 2)))
	if _, err := stream.CloseAndRecv(); err != nil || s.Counts().Records != 2 {
		t.Errorf("%v, %+v", err, s.Counts())
	}
}

// Whatever a message says, its entries are accounted for and its records can be kept.
func FuzzMessage(f *testing.F) {
	for n := range 3 {
		b, err := proto.Marshal(message(f, n))
		must(f, err)
		f.Add(b)
	}
	tcp, err := proto.Marshal(&accesslogv3.StreamAccessLogsMessage{Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{}, LogEntries: &accesslogv3.StreamAccessLogsMessage_TcpLogs{
		TcpLogs: &accesslogv3.StreamAccessLogsMessage_TCPAccessLogEntries{LogEntry: []*datav3.TCPAccessLogEntry{{}, nil, {CommonProperties: &datav3.AccessLogCommon{}}}},
	}})
	must(f, err)
	f.Add(tcp)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m accesslogv3.StreamAccessLogsMessage
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		sink := &kept{}
		s := newServer(t, sink, nil)
		_, err := s.take(t.Context(), newNode(m.GetIdentifier().GetNode(), s.opts.Peers), &m, nil)
		must(t, err)
		c := s.Counts()
		for _, n := range c.Ignored {
			c.Records += n
		}
		if c.Entries != c.Records || c.Lost != 0 {
			t.Errorf("%+v", c)
		}
		for i := range sink.records {
			if r := &sink.records[i]; r.Valid() != nil || r.Duration < traffic.Unknown || r.BytesSent < 0 {
				t.Errorf("%+v: %v", r, r.Valid())
			}
		}
	})
}

// Logs are taken by what they have: those of others are counted and left.
func TestLogs(t *testing.T) {
	sink := &kept{}
	s := newServer(t, sink, nil)
	addr, _ := serve(t, s)
	all := plog.NewLogs()
	resource := all.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(resourceNode, "sidecar~10.0.0.2~reviews-v3-a.bookinfo~bookinfo.svc.cluster.local")
	entries := resource.ScopeLogs().AppendEmpty().LogRecords()
	good := entries.AppendEmpty()
	good.SetTimestamp(pcommon.NewTimestampFromTime(start))
	for name, value := range map[string]string{attrCode: "503", attrMethod: "GET", attrPath: "/reviews/0?user=alice", attrProtocol: "HTTP/2", attrCluster: "inbound|9080||", attrDuration: "1500",
		attrUpstreamTime: "-", attrAttempts: "-", attrSent: "99999999999999999999", attrReceived: "9223372036854775807", attrFirstByte: "9223372036854775807", attrTraceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", attrLocal: "10.0.0.2:9080"} {
		good.Attributes().PutStr(name, value)
	}
	entries.AppendEmpty().Body().SetStr("somebody else's")
	begun := entries.AppendEmpty()
	good.CopyTo(begun)
	begun.Attributes().PutStr(attrType, "DownstreamStart")
	_, err := plogotlp.NewGRPCClient(dial(t, addr)).Export(t.Context(), plogotlp.NewExportRequestFromLogs(all))
	must(t, err)
	if c := s.Counts(); c.Entries != 3 || c.Records != 1 || c.Ignored["other attributes"] != 1 || c.Ignored["DownstreamStart"] != 1 || len(sink.records) != 1 {
		t.Fatalf("%+v", c)
	}
	if r := sink.records[0]; r.Code != 503 || r.Path != "/reviews/0?user=REDACTED" || r.Interface != "/reviews/{id}" || r.Duration != 1500 || r.Upstream != traffic.Unknown || r.FirstByte != traffic.Unknown || r.BytesReceived != traffic.MaxBytes || r.Attempts != 0 ||
		r.Reporter != traffic.Destination || r.Destination.Pod != "reviews-v3-a" || r.TraceID != "0af7651916cd43dd8448eb211c80319c" || r.Run != "run-1" || r.Valid() != nil {
		t.Errorf("%+v", r)
	}
}

// BenchmarkStream is how many entries a second one stream takes, and what stays in memory after them.
func BenchmarkStream(b *testing.B) {
	s := newServer(b, &kept{put: func(context.Context) error { return nil }}, nil)
	addr, _ := serve(b, s)
	stream := open(b, addr)
	m := message(b, 100)
	var before, after runtime.MemStats
	n := 0
	for b.Loop() {
		if n++; n == 100 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		must(b, stream.Send(m))
	}
	_, err := stream.CloseAndRecv()
	must(b, err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(s.Counts().Records)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/1024, "KiB-more")
}
