package als

import (
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"squall/internal/traffic"
)

// fromHTTP reads what an entry says about its request.
func fromHTTP(e *datav3.HTTPAccessLogEntry) traffic.Record {
	q, a := e.GetRequest(), e.GetResponse()
	r := common(e.GetCommonProperties())
	r.Protocol = protocol(e.GetProtocolVersion())
	if m := q.GetRequestMethod(); m != corev3.RequestMethod_METHOD_UNSPECIFIED {
		r.Method = m.String()
	}
	r.Path, r.Authority, r.Scheme = q.GetPath(), q.GetAuthority(), q.GetScheme()
	if original := q.GetOriginalPath(); original != "" {
		r.Path = original // before a route rewrote it
	}
	r.UserAgent, r.RequestID = q.GetUserAgent(), q.GetRequestId()
	if c := a.GetResponseCode().GetValue(); c < 1000 {
		r.Code = int(c)
	}
	r.Details = a.GetResponseCodeDetails()
	r.BytesReceived, r.BytesSent = signed(q.GetRequestBodyBytes()), signed(a.GetResponseBodyBytes())
	if headers := q.GetRequestHeaders(); len(headers) > 0 {
		r.Headers = make(map[string]string, len(headers))
		for name, value := range headers {
			switch name = strings.ToLower(name); name {
			case "traceparent", "x-b3-traceid":
				r.TraceID = traceID(value)
			default:
				r.Headers[name] = value
			}
		}
	}
	if id := e.GetCommonProperties().GetCustomTags()["trace.id"]; id != "" {
		r.TraceID = traceID(id)
	}
	return r
}

// fromTCP reads what an entry says about its connection.
func fromTCP(e *datav3.TCPAccessLogEntry) traffic.Record {
	r := common(e.GetCommonProperties())
	r.Protocol = "TCP"
	r.RequestID = e.GetCommonProperties().GetStreamId()
	r.Details = e.GetCommonProperties().GetConnectionTerminationDetails()
	r.BytesReceived, r.BytesSent = signed(e.GetConnectionProperties().GetReceivedBytes()), signed(e.GetConnectionProperties().GetSentBytes())
	return r
}

// common reads what both kinds have.
func common(c *datav3.AccessLogCommon) traffic.Record {
	r := traffic.Record{
		Time: c.GetStartTime().AsTime(), Flags: flags(c.GetResponseFlags()), Route: c.GetRouteName(), Cluster: c.GetUpstreamCluster(),
		Attempts: int(c.GetUpstreamRequestAttemptCount()), Duration: duration(c.GetDuration()), FirstByte: duration(c.GetTimeToFirstDownstreamTxByte()),
		Upstream: traffic.Unknown,
	}
	if c.GetStartTime() == nil {
		r.Time = time.Time{}
	}
	if r.Duration == traffic.Unknown {
		r.Duration = duration(c.GetTimeToLastDownstreamTxByte())
	}
	first, last := duration(c.GetTimeToFirstUpstreamTxByte()), duration(c.GetTimeToLastUpstreamRxByte())
	if first >= 0 && last >= first {
		r.Upstream = last - first
	}
	if names := c.GetTlsProperties().GetPeerCertificateProperties().GetSubjectAltName(); len(names) > 0 {
		r.Principal = names[0].GetUri()
	}
	return r
}

// duration is Unknown where Envoy says nothing, or what cannot be.
func duration(d *durationpb.Duration) time.Duration {
	if d == nil || d.GetSeconds() < 0 || d.GetNanos() < 0 {
		return traffic.Unknown
	}
	return traffic.Plausible(d.AsDuration())
}

func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// traceID takes it out of a traceparent header, or is the text when it is none.
func traceID(s string) string {
	if parts := strings.Split(s, "-"); len(parts) >= 4 && len(parts[1]) == 32 {
		return parts[1]
	}
	return s
}

func protocol(v datav3.HTTPAccessLogEntry_HTTPVersion) string {
	switch v {
	case datav3.HTTPAccessLogEntry_HTTP10:
		return "HTTP/1.0"
	case datav3.HTTPAccessLogEntry_HTTP11:
		return "HTTP/1.1"
	case datav3.HTTPAccessLogEntry_HTTP2:
		return "HTTP/2"
	case datav3.HTTPAccessLogEntry_HTTP3:
		return "HTTP/3"
	default:
		return "HTTP"
	}
}

// address is IP:port, or what else the address is.
func address(a *corev3.Address) string {
	if s := a.GetSocketAddress(); s != nil {
		return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
	}
	if p := a.GetPipe(); p != nil {
		return "unix:" + p.GetPath()
	}
	return a.GetEnvoyInternalAddress().GetServerListenerName()
}

func ip(a *corev3.Address) string { return a.GetSocketAddress().GetAddress() }

// flags are Envoy's short names, as in its text logs.
func flags(f *datav3.ResponseFlags) string {
	if f == nil {
		return ""
	}
	var out []string
	for _, c := range []struct {
		set  bool
		name string
	}{
		{f.GetFailedLocalHealthcheck(), "LH"}, {f.GetNoHealthyUpstream(), "UH"}, {f.GetUpstreamRequestTimeout(), "UT"}, {f.GetLocalReset(), "LR"},
		{f.GetUpstreamRemoteReset(), "UR"}, {f.GetUpstreamConnectionFailure(), "UF"}, {f.GetUpstreamConnectionTermination(), "UC"},
		{f.GetUpstreamOverflow(), "UO"}, {f.GetNoRouteFound(), "NR"}, {f.GetDelayInjected(), "DI"}, {f.GetFaultInjected(), "FI"},
		{f.GetRateLimited(), "RL"}, {f.GetUnauthorizedDetails() != nil, "UAEX"}, {f.GetRateLimitServiceError(), "RLSE"},
		{f.GetDownstreamConnectionTermination(), "DC"}, {f.GetUpstreamRetryLimitExceeded(), "URX"}, {f.GetStreamIdleTimeout(), "SI"},
		{f.GetInvalidEnvoyRequestHeaders(), "IH"}, {f.GetDownstreamProtocolError(), "DPE"}, {f.GetUpstreamMaxStreamDurationReached(), "UMSDR"},
		{f.GetResponseFromCacheFilter(), "RFCF"}, {f.GetNoFilterConfigFound(), "NFCF"}, {f.GetDurationTimeout(), "DT"},
		{f.GetUpstreamProtocolError(), "UPE"}, {f.GetNoClusterFound(), "NC"}, {f.GetOverloadManager(), "OM"}, {f.GetDnsResolutionFailure(), "DF"},
		{f.GetDownstreamRemoteReset(), "DR"},
	} {
		if c.set {
			out = append(out, c.name)
		}
	}
	return strings.Join(out, ",")
}
