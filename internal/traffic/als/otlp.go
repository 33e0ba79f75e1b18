package als

import (
	"cmp"
	"context"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"squall/internal/traffic"
)

// The attributes that entries of the otel access logger have to have.
const (
	attrMethod, attrPath, attrProtocol, attrAuthority, attrScheme = "method", "path", "protocol", "authority", "scheme"
	attrCode, attrFlags, attrDetails                              = "code", "flags", "details"
	attrDuration, attrMillis, attrUpstreamTime, attrFirstByte     = "duration_ns", "duration_ms", "upstream_ns", "first_byte_ns"
	attrReceived, attrSent, attrAttempts                          = "bytes_received", "bytes_sent", "attempts"
	attrRequestID, attrTraceparent, attrAgent, attrStream         = "request_id", "traceparent", "user_agent", "stream_id"
	attrPrincipal, attrRoute, attrCluster                         = "principal", "route_name", "upstream_cluster"
	attrUpstreamHost, attrLocal, attrRemote, attrType             = "upstream_host", "downstream_local", "downstream_remote", "log_type"
	resourceNode                                                  = "node_name" // Envoy's own
	nothing                                                       = "-"         // Envoy's word for it
)

// LogLabels are the attributes that Envoy's otel access logger is to be told to write: for logFormat.labels of an extension provider
// envoyOtelAls of Istio's, or for attributes of Envoy's own configuration.
func LogLabels() map[string]string {
	return map[string]string{
		attrMethod: "%REQ(:METHOD)%", attrPath: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", attrProtocol: "%PROTOCOL%", attrAuthority: "%REQ(:AUTHORITY)%", attrScheme: "%REQ(:SCHEME)%",
		attrCode: "%RESPONSE_CODE%", attrFlags: "%RESPONSE_FLAGS%", attrDetails: "%RESPONSE_CODE_DETAILS%",
		attrDuration: "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:ns)%", attrMillis: "%DURATION%", attrUpstreamTime: "%COMMON_DURATION(US_TX_BEG:US_RX_END:ns)%",
		attrFirstByte: "%COMMON_DURATION(DS_RX_BEG:DS_TX_BEG:ns)%", attrReceived: "%BYTES_RECEIVED%", attrSent: "%BYTES_SENT%",
		attrAttempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", attrRequestID: "%REQ(X-REQUEST-ID)%", attrTraceparent: "%REQ(TRACEPARENT)%", attrAgent: "%REQ(USER-AGENT)%",
		attrStream: "%STREAM_ID%", attrPrincipal: "%DOWNSTREAM_PEER_URI_SAN%", attrRoute: "%ROUTE_NAME%", attrCluster: "%UPSTREAM_CLUSTER%",
		attrUpstreamHost: "%UPSTREAM_HOST%", attrLocal: "%DOWNSTREAM_LOCAL_ADDRESS%", attrRemote: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", attrType: "%ACCESS_LOG_TYPE%",
	}
}

// logs is the OpenTelemetry side of a Server.
type logs struct {
	plogotlp.UnimplementedGRPCServer
	s *Server
}

// Export takes one message of entries. An error makes the sender try again, which doubles nothing.
func (l *logs) Export(ctx context.Context, request plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	answer := plogotlp.NewExportResponse()
	all := request.Logs()
	n := all.LogRecordCount()
	l.s.count(func(c *Counts) { c.Messages++; c.Entries += uint64(n) })
	b := batch{s: l.s, left: n}
	b.run, b.stage = l.s.opts.Phase()
	for i := range all.ResourceLogs().Len() {
		resource := all.ResourceLogs().At(i)
		b.of = newNode(&corev3.Node{Id: attributes(resource.Resource().Attributes()).text(resourceNode)}, l.s.opts.Peers)
		for j := range resource.ScopeLogs().Len() {
			entries := resource.ScopeLogs().At(j).LogRecords()
			for k := range entries.Len() {
				if err := b.log(ctx, entries.At(k)); err != nil {
					return answer, err
				}
			}
		}
		if err := b.flush(ctx); err != nil { // before the next node
			return answer, err
		}
	}
	return answer, nil
}

// log takes one entry.
func (b *batch) log(ctx context.Context, e plog.LogRecord) error {
	trace := ""
	if id := e.TraceID(); !id.IsEmpty() {
		trace = id.String()
	}
	return b.said(ctx, attributes(e.Attributes()), e.Timestamp().AsTime(), trace)
}

// said takes an entry by its attributes, those of LogLabels. Trace is its trace where no header names one.
func (b *batch) said(ctx context.Context, a said, at time.Time, trace string) error {
	if a(attrCode) == "" {
		b.ignore("other attributes")
		return nil
	}
	switch t := a.text(attrType); t {
	case "", "NotSet", "DownstreamEnd", "TcpConnectionEnd":
	default:
		if len(t) > 40 {
			t = "other type"
		}
		b.ignore(t)
		return nil
	}
	r := a.record()
	r.Time, r.TraceID = at, cmp.Or(r.TraceID, trace)
	h := hop{localAddress: a.text(attrLocal), remoteAddress: a.text(attrRemote), upstreamAddress: a.text(attrUpstreamHost)}
	h.local, h.remote, h.upstream = bareIP(h.localAddress), bareIP(h.remoteAddress), bareIP(h.upstreamAddress)
	b.of.ends(&r, h)
	return b.prepared(ctx, &r, a.text(attrStream))
}

// said are the attributes of an entry by their names, each in Envoy's words.
type said func(name string) string

func attributes(m pcommon.Map) said {
	return func(name string) string {
		if v, ok := m.Get(name); ok {
			return v.AsString()
		}
		return ""
	}
}

// record is what an entry says, but for its time.
func (a said) record() traffic.Record {
	r := traffic.Record{
		Protocol: a.text(attrProtocol), Method: a.text(attrMethod), Path: a.text(attrPath), Authority: a.text(attrAuthority),
		Scheme: a.text(attrScheme), Flags: a.text(attrFlags), Details: a.text(attrDetails), Duration: a.nanos(attrDuration),
		Upstream: a.nanos(attrUpstreamTime), FirstByte: a.nanos(attrFirstByte), BytesReceived: max(0, a.integer(attrReceived)), BytesSent: max(0, a.integer(attrSent)),
		RequestID: a.text(attrRequestID), TraceID: traceID(a.text(attrTraceparent)), UserAgent: a.text(attrAgent), Principal: a.text(attrPrincipal),
		Route: a.text(attrRoute), Cluster: a.text(attrCluster),
	}
	if n := a.integer(attrCode); n > 0 && n < 1000 {
		r.Code = int(n)
	}
	if n := a.integer(attrAttempts); n > 0 && n < 1<<20 {
		r.Attempts = int(n)
	}
	if ms := a.integer(attrMillis); r.Duration == traffic.Unknown && ms >= 0 && ms < int64(math.MaxInt64/time.Millisecond) { // of TCP Envoy tells no other
		r.Duration = time.Duration(ms) * time.Millisecond
	}
	if r.Protocol == "" && r.Method == "" {
		r.Protocol, r.Code = "TCP", 0
		if r.RequestID == "" {
			r.RequestID = a.text(attrStream)
		}
	}
	return r
}

// text is empty where Envoy had nothing to say.
func (a said) text(name string) string {
	if s := a(name); s != nothing {
		return s
	}
	return ""
}

// integer is an attribute's number, or -1.
func (a said) integer(name string) int64 {
	n, err := strconv.ParseInt(a.text(name), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// nanos is an attribute's duration, or Unknown.
func (a said) nanos(name string) time.Duration {
	return traffic.Plausible(time.Duration(a.integer(name)))
}

func bareIP(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return strings.Trim(address, "[]")
	}
	return host
}
