package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // client-go's own dialers still have these types
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// saidWithin is how long after the end of a connection the kubelet may say why.
const saidWithin = time.Second

// key names a pod.
type key struct{ namespace, name string }

func (k key) String() string { return k.namespace + "/" + k.name }

// tunnels keeps one streaming connection to each pod, over which any number of TCP connections into it are forwarded, as kubectl
// port-forward does, without listening anywhere.
type tunnels struct {
	config *rest.Config
	kube   kubernetes.Interface

	mu   sync.Mutex
	open map[key]*tunnel
	next int // request id of the next forwarded connection
}

// tunnel is the streaming connection to one pod.
type tunnel struct {
	mu   sync.Mutex // held while the connection is made, so that other pods do not wait for it
	conn httpstream.Connection
}

func newTunnels(config *rest.Config, kube kubernetes.Interface) *tunnels {
	return &tunnels{config: config, kube: kube, open: map[key]*tunnel{}}
}

// Dial makes a connection to a port at the pod's own loopback address. A tunnel that broke is made anew once.
func (t *tunnels) Dial(ctx context.Context, k key, port int) (net.Conn, error) {
	conn, err := t.dialOnce(ctx, k, port)
	if err != nil && ctx.Err() == nil {
		t.drop(k)
		conn, err = t.dialOnce(ctx, k, port)
	}
	if err != nil {
		return nil, fmt.Errorf("port %d of pod %s: %w", port, k, err)
	}
	return conn, nil
}

func (t *tunnels) dialOnce(ctx context.Context, k key, port int) (net.Conn, error) {
	c, err := t.tunnel(ctx, k)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.next++
	id := strconv.Itoa(t.next)
	t.mu.Unlock()
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, id)
	failures, err := c.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	if err := failures.Close(); err != nil { // nothing is sent on it
		return nil, fmt.Errorf("open stream: %w", err)
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := c.CreateStream(headers)
	if err != nil {
		c.RemoveStreams(failures)
		return nil, fmt.Errorf("open stream: %w", err)
	}
	out := &conn{data: data, failures: failures, tunnel: c, to: address(k.String() + ":" + strconv.Itoa(port)), said: make(chan struct{})}
	go out.watch()
	return out, nil
}

// tunnel is the open one, or a new one.
func (t *tunnels) tunnel(ctx context.Context, k key) (httpstream.Connection, error) {
	t.mu.Lock()
	p := t.open[k]
	if p == nil {
		p = &tunnel{}
		t.open[k] = p
	}
	t.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		select {
		case <-p.conn.CloseChan():
		default:
			return p.conn, nil
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	c, err := t.connect(k)
	if err != nil {
		return nil, err
	}
	p.conn = c
	return c, nil
}

// connect opens a tunnel by WebSocket, or by SPDY where the API server is too old for it.
func (t *tunnels) connect(k key) (httpstream.Connection, error) {
	url := t.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(k.namespace).Name(k.name).SubResource("portforward").URL()
	roundTripper, upgrader, err := spdy.RoundTripperFor(t.config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialer(upgrader, &http.Client{Transport: roundTripper, Timeout: tunnelWithin}, http.MethodPost, url)
	websocket, err := portforward.NewSPDYOverWebsocketDialer(url, t.config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialer(websocket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	c, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	return c, nil
}

// drop closes the tunnel to a pod, and all connections in it.
func (t *tunnels) drop(k key) {
	t.mu.Lock()
	p := t.open[k]
	delete(t.open, k)
	t.mu.Unlock()
	if p != nil {
		_ = p.close() // it is given up because it failed
	}
}

// Close closes all tunnels.
func (t *tunnels) Close() error {
	t.mu.Lock()
	open := t.open
	t.open = map[key]*tunnel{}
	t.mu.Unlock()
	var errs []error
	for _, p := range open {
		errs = append(errs, ignoreClosed(p.close()))
	}
	return errors.Join(errs...)
}

func (p *tunnel) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return nil
	}
	return p.conn.Close()
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// address is what a forwarded connection calls its ends.
type address string

func (address) Network() string  { return "port-forward" }
func (a address) String() string { return string(a) }

// conn is one forwarded connection.
type conn struct {
	data, failures httpstream.Stream
	tunnel         httpstream.Connection
	to             address
	once           sync.Once
	said           chan struct{} // closed when the kubelet has said all it had to; why is set before
	why            error
}

// watch reads what the kubelet says about the connection: nothing, or why it failed.
func (c *conn) watch() {
	defer close(c.said)
	text, err := io.ReadAll(io.LimitReader(c.failures, 4<<10))
	if err == nil && len(text) == 0 {
		return
	}
	if why := strings.TrimSpace(string(text)); why != "" {
		err = errors.New(why)
	}
	c.why = fmt.Errorf("port-forward to %s: %w", c.to, err)
	_ = c.data.Reset() // ends what waits for an answer
}

// failed is err, or what the kubelet said in place of an end, which it does right after it.
func (c *conn) failed(err error) error {
	if err == nil {
		return nil
	}
	limit := time.NewTimer(saidWithin)
	defer limit.Stop()
	select {
	case <-c.said:
		if c.why != nil {
			return c.why
		}
	case <-limit.C:
	}
	return err
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.data.Read(b)
	return n, c.failed(err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.data.Write(b)
	return n, c.failed(err)
}

// Close ends the connection. It never fails: the other side learns of it or is gone.
func (c *conn) Close() error {
	c.once.Do(func() {
		_, _ = c.data.Close(), c.data.Reset()
		c.tunnel.RemoveStreams(c.data, c.failures)
	})
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return address("squall") }
func (c *conn) RemoteAddr() net.Addr { return c.to }

// Deadlines are not kept: whoever uses the connection closes it when its context ends.
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
