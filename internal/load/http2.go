package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// h2 makes HTTP/2 calls over a transport of its own, which keeps one connection.
type h2 struct {
	*target
	transport *http.Transport
	header    http.Header
	mu        sync.Mutex
	conns     map[*keptConn]bool
	closed    bool
	broken    lastError
}

func newH2(t *target) *h2 {
	h := &h2{target: t, header: http.Header{}, conns: map[*keptConn]bool{}}
	if !t.spec.HasHeader("User-Agent") {
		h.header.Set("User-Agent", userAgent)
	}
	for _, x := range t.spec.Headers {
		if http.CanonicalHeaderKey(x.Name) != "Host" {
			h.header.Add(x.Name, x.Value)
		}
	}
	h.renew()
	return h
}

// renew starts anew, without a connection.
func (h *h2) renew() {
	var p http.Protocols
	p.SetHTTP2(h.tls != nil)
	p.SetUnencryptedHTTP2(h.tls == nil)
	h.transport = &http.Transport{
		DialContext:         h.dialKept,
		DisableCompression:  true,
		Protocols:           &p,
		TLSClientConfig:     h.tls.Clone(), // the transport writes into it
		TLSHandshakeTimeout: h.spec.CallTimeout(),
	}
}

// dialKept remembers the connection for close: the transport does not close those that it still cleans up after a call.
func (h *h2) dialKept(ctx context.Context, _, _ string) (net.Conn, error) {
	c, err := h.dial(ctx, time.Now().Add(h.spec.CallTimeout()))
	h.broken.note(err)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	kept := &keptConn{notedConn: notedConn{Conn: c, broken: &h.broken}, h2: h}
	h.conns[kept] = true
	return kept, nil
}

// keptConn is a connection that h2 forgets when it is closed.
type keptConn struct {
	notedConn
	h2 *h2
}

func (c *keptConn) Close() error {
	c.h2.mu.Lock()
	delete(c.h2.conns, c)
	c.h2.mu.Unlock()
	return c.Conn.Close()
}

func (h *h2) request(ctx context.Context) *http.Request {
	u := url.URL{Scheme: h.url.Scheme, Host: h.url.Host, Path: h.url.Path, RawPath: h.url.RawPath, RawQuery: h.url.RawQuery}
	req := (&http.Request{
		Method: h.spec.HTTPMethod(), URL: &u, Host: h.spec.host(h.url), Header: h.header,
		Proto: "HTTP/2.0", ProtoMajor: 2,
	}).WithContext(ctx)
	if len(h.spec.Body) > 0 {
		req.ContentLength = int64(len(h.spec.Body))
		req.Body = io.NopCloser(bytes.NewReader(h.spec.Body))
	}
	return req
}

func (h *h2) call(ctx context.Context, _ time.Time) (o outcome) {
	ctx, cancel := context.WithTimeout(ctx, h.spec.CallTimeout())
	defer cancel()
	var sent atomic.Bool
	req := h.request(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }, // what was written cannot be known when RoundTrip is cut off
	}))
	if h.ids != nil {
		o.id = h.ids.text()
		req.Header = req.Header.Clone()
		req.Header.Set(requestIDHeader, o.id)
	}
	resp, err := h.transport.RoundTrip(req)
	o.sent = sent.Load()
	if err == nil {
		err = h.answer(&o, resp)
	}
	if h.spec.NewConnectionPerRequest {
		h.drop()
		h.renew()
	}
	o.err = h.broken.explain(err)
	return o
}

func (h *h2) answer(o *outcome, resp *http.Response) error {
	if id := resp.Header.Get(requestIDHeader); id != "" {
		o.id = id
	}
	o.version = resp.Header.Get(h.spec.VersionHeader)
	var kept *body
	to := io.Discard
	if h.finder != nil {
		kept = &body{}
		to = kept
	}
	n, err := io.Copy(to, resp.Body)
	o.bytes = n
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if h.finder != nil {
		o.found = h.finder.in(kept)
	}
	o.code = resp.StatusCode
	return nil
}

// interrupt has nothing to do: the transport follows the context.
func (h *h2) interrupt() {}

func (h *h2) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.drop()
}

// drop closes all connections.
func (h *h2) drop() {
	h.transport.CloseIdleConnections()
	h.mu.Lock()
	conns := slices.Collect(maps.Keys(h.conns))
	h.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // the calls on it are over: nothing is lost with it
	}
}
