package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outcome is what came of a call.
type outcome struct {
	code    int
	bytes   int64
	id      string
	version string
	found   string
	sent    bool  // the request, or the beginning of it, may have reached the target
	err     error // why there is no answer
}

// caller makes calls, one at a time.
type caller interface {
	// call makes one call, which starts at the time given. It returns soon after the context's end, or after interrupt.
	call(ctx context.Context, start time.Time) outcome
	// interrupt makes a call that is under way fail. The context has ended before. Safe for concurrent use.
	interrupt()
	// close gives the connection back. No call is under way.
	close()
}

// link is one connection with what is known about it.
type link struct {
	net.Conn         // to read and write
	raw      rawConn // nil when the socket cannot be asked
	br       *bufio.Reader
	used     time.Time // when its last call started
	broken   error     // why reading failed
}

func (l *link) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if err != nil {
		l.broken = err
	}
	return n, err
}

// http1 makes HTTP/1.1 calls on one kept connection, or on a new one for each call.
type http1 struct {
	*target
	request []byte
	idAt    int           // where in it the id of ours is, or 0
	ask     *http.Request // what ReadResponse needs to know of it
	ver     []byte        // the version header's name
	version string        // the last one's value
	body    body          // of the last answer, when something is looked for
	link    *link
	conn    atomic.Pointer[net.Conn] // link's, for interrupt
}

func newHTTP1(t *target) *http1 {
	h := &http1{
		target: t,
		ask:    &http.Request{Method: t.spec.HTTPMethod()},
		ver:    []byte(http.CanonicalHeaderKey(t.spec.VersionHeader)),
	}
	h.request, h.idAt = t.wire()
	return h
}

// wire is the request in bytes, with its headers in the author's order, and where in it the id of ours belongs.
func (t *target) wire() (b []byte, idAt int) {
	s := t.spec
	var w bytes.Buffer
	line := func(parts ...string) {
		for _, p := range parts {
			w.WriteString(p)
		}
		w.WriteString("\r\n")
	}
	line(s.HTTPMethod(), " ", t.url.RequestURI(), " HTTP/1.1")
	line("Host: ", s.host(t.url))
	for _, h := range s.Headers {
		if http.CanonicalHeaderKey(h.Name) != "Host" {
			line(h.Name, ": ", h.Value)
		}
	}
	if !s.HasHeader("User-Agent") {
		line("User-Agent: ", userAgent)
	}
	if t.ids != nil {
		w.WriteString("X-Request-Id: ")
		idAt = w.Len()
		line(t.ids.text())
	}
	if s.NewConnectionPerRequest {
		line("Connection: close")
	}
	if m := s.HTTPMethod(); len(s.Body) > 0 || m == http.MethodPost || m == http.MethodPut || m == http.MethodPatch {
		line("Content-Length: ", strconv.Itoa(len(s.Body)))
	}
	line()
	w.Write(s.Body)
	return w.Bytes(), idAt
}

func (h *http1) call(ctx context.Context, start time.Time) (o outcome) {
	deadline := start.Add(h.spec.CallTimeout())
	if h.link != nil && !h.link.alive(start) {
		h.close()
	}
	if h.idAt > 0 {
		id := h.request[h.idAt : h.idAt+idLength]
		h.ids.next(id)
		o.id = string(id)
	}
	if o.err = h.ready(ctx, deadline); o.err != nil {
		return o
	}
	o.sent, h.link.used = true, start
	n, writeErr := h.link.Write(h.request)
	if writeErr != nil && n == 0 && !isReset(writeErr) {
		h.close()
		o.sent, o.err = false, writeErr
		return o
	}
	// A target may answer and hang up before it has read all, so the answer counts even when writing failed.
	keep, err := h.answer(&o)
	if err != nil {
		o.err = errors.Join(writeErr, err, h.link.broken) // net/http calls a head that is cut off malformed
	}
	if !keep || o.err != nil || writeErr != nil {
		h.close()
	}
	return o
}

// ready makes sure that there is a connection with the call's deadline. The context is looked at after the deadline was
// set: interrupt, which comes after the context's end, sets another one.
func (h *http1) ready(ctx context.Context, deadline time.Time) error {
	if h.link == nil {
		raw, err := h.dial(ctx, deadline)
		if err != nil {
			return err
		}
		h.conn.Store(&raw)
		if err := h.open(ctx, raw, deadline); err != nil {
			h.conn.Store(nil)
			return err
		}
	}
	if err := h.link.SetDeadline(deadline); err != nil {
		h.close()
		return err
	}
	return ctx.Err()
}

func (h *http1) open(ctx context.Context, raw net.Conn, deadline time.Time) error {
	l := &link{Conn: raw, raw: newRawConn(raw)}
	if h.tls != nil {
		if err := raw.SetDeadline(deadline); err != nil {
			return errors.Join(err, raw.Close())
		}
		c, err := h.secure(ctx, raw, "http/1.1")
		if err != nil {
			return err
		}
		l.Conn = c
	}
	l.br = bufio.NewReaderSize(l, 16<<10)
	h.link = l
	return nil
}

// answer reads the answer to its end and says whether the connection can be used again.
func (h *http1) answer(o *outcome) (keep bool, err error) {
	if _, err := h.link.br.Peek(1); err != nil {
		return false, err
	}
	got, _ := h.link.br.Peek(h.link.br.Buffered())
	if q, ok := quickHead(got, h.ver); ok && h.ask.Method != http.MethodHead {
		return !h.spec.NewConnectionPerRequest, h.quickAnswer(o, q)
	}
	return h.slowAnswer(o)
}

// quickAnswer takes an answer whose head was read, and reads its body.
func (h *http1) quickAnswer(o *outcome, q head) error {
	if q.id != nil {
		o.id = string(q.id)
	}
	if string(q.version) != h.version {
		h.version = string(q.version)
	}
	o.version = h.version
	keep := 0 // of the body, for the finder
	if h.finder != nil {
		keep = q.length
	}
	n, err := h.link.br.Discard(q.size + q.length - keep)
	o.bytes = int64(n - q.size)
	if err != nil {
		return err
	}
	if keep > 0 {
		h.body.reset()
		if o.bytes, err = io.CopyN(&h.body, h.link.br, int64(keep)); err != nil {
			return err
		}
	}
	o.code = q.code
	h.find(o, q.length == 0)
	return nil
}

// find looks for the load's texts in the whole answer that was read.
func (h *http1) find(o *outcome, empty bool) {
	if h.finder == nil {
		return
	}
	if empty {
		h.body.reset()
	}
	o.found = h.finder.in(&h.body)
}

// slowAnswer reads any answer.
func (h *http1) slowAnswer(o *outcome) (keep bool, err error) {
	resp, err := http.ReadResponse(h.link.br, h.ask)
	for err == nil && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
		resp, err = http.ReadResponse(h.link.br, h.ask)
	}
	if err != nil {
		return false, err
	}
	if id := resp.Header[requestIDHeader]; len(id) > 0 {
		o.id = id[0]
	}
	if v := resp.Header[string(h.ver)]; len(v) > 0 {
		o.version = v[0]
	}
	h.body.reset()
	to := io.Discard
	if h.finder != nil {
		to = &h.body
	}
	o.bytes, err = io.Copy(to, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return false, err
	}
	o.code = resp.StatusCode
	h.find(o, false)
	return !resp.Close && !h.spec.NewConnectionPerRequest && resp.StatusCode >= 200, nil
}

func (h *http1) interrupt() {
	if c := h.conn.Load(); c != nil {
		_ = (*c).SetDeadline(time.Unix(1, 0)) // fails on a closed connection only, which needs no interruption
	}
}

func (h *http1) close() {
	if h.link == nil {
		return
	}
	_ = h.link.Close() // what was to be read was read: nothing is lost with it
	h.link = nil
	h.conn.Store(nil)
}

// rawConn asks a socket whether it is still open.
type rawConn struct {
	conn syscall.RawConn
	ask  func(fd uintptr) bool
	err  *error
	n    *int
}

func newRawConn(c net.Conn) rawConn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return rawConn{}
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return rawConn{}
	}
	r := rawConn{conn: rc, err: new(error), n: new(int)}
	buf := make([]byte, 1)
	r.ask = func(fd uintptr) bool {
		*r.n, _, *r.err = unix.Recvfrom(int(fd), buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	}
	return r
}

// idle is how long after a call's start its connection is asked whether it is open: sooner, a call costs less than the
// asking.
const idle = time.Millisecond

// alive says whether a kept connection can take another request: the target has neither closed it nor sent what nobody
// asked for. A connection that the target closes later than this fails the call; the request is never sent again, since
// the target may have seen it.
func (l *link) alive(now time.Time) bool {
	if l.br.Buffered() > 0 {
		return false
	}
	if l.raw.conn == nil || now.Sub(l.used) < idle {
		return true
	}
	if err := l.raw.conn.Read(l.raw.ask); err != nil {
		return false
	}
	return errors.Is(*l.raw.err, unix.EAGAIN) || errors.Is(*l.raw.err, unix.EINTR)
}
