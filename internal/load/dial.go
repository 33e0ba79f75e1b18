package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"
)

// target is where a load goes, made once from its Spec.
type target struct {
	spec    Spec
	url     *url.URL
	address string      // host:port to connect to
	tls     *tls.Config // nil for http
	ids     *requestIDs // nil when calls carry no id of ours
	finder  *finder     // nil when nothing is looked for
}

func newTarget(s Spec) (*target, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	t := &target{spec: s, url: u, address: s.Dial}
	if t.finder, err = newFinder(s.Find); err != nil {
		return nil, err
	}
	if t.address == "" {
		t.address = net.JoinHostPort(u.Hostname(), Port(u))
	}
	if u.Scheme == "https" {
		if t.tls, err = s.TLS.config(); err != nil {
			return nil, err
		}
		if t.tls.ServerName == "" {
			t.tls.ServerName = u.Hostname()
		}
	}
	if s.RequestID && !s.HasHeader(requestIDHeader) {
		t.ids = newRequestIDs()
	}
	return t, nil
}

// Port is the port that a load's URL means.
func Port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// dial connects until the deadline or the context's end.
func (t *target) dial(ctx context.Context, deadline time.Time) (net.Conn, error) {
	d := net.Dialer{Deadline: deadline, KeepAlive: -1}
	return d.DialContext(ctx, "tcp", t.address)
}

// secure does the TLS handshake for the protocol on a connection whose deadline is set.
func (t *target) secure(ctx context.Context, raw net.Conn, alpn string) (net.Conn, error) {
	cfg := t.tls.Clone()
	cfg.NextProtos = []string{alpn}
	c := tls.Client(raw, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(&handshakeError{err}, raw.Close())
	}
	return c, nil
}

// lastError is why a connection failed last, for libraries that do not say. It is safe for concurrent use.
type lastError struct {
	mu  sync.Mutex
	err error
}

func (l *lastError) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// explain adds the noted error to one that does not tell its kind.
func (l *lastError) explain(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil || err == nil || kindOf(err) != kindOther {
		return err
	}
	return fmt.Errorf("%w (%w)", err, l.err)
}

// notedConn notes why reading or writing failed.
type notedConn struct {
	net.Conn
	broken *lastError
}

func (c *notedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.noted(err)
}

func (c *notedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.noted(err)
}

func (c *notedConn) noted(err error) error {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.broken.note(err)
	}
	return err
}
