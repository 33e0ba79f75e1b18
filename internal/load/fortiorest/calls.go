package fortiorest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"squall/internal/load"
	"squall/internal/record"
)

// gaveUp is the share of its timeout after which a client that hangs up has come to it: it counts from a moment before its proxy does.
const gaveUp = 0.95

// Calls makes the calls of one load out of the access log of the proxy that they went through, as its entries come.
type Calls struct {
	mark    []byte
	clock   Clock
	timeout time.Duration
	out     load.Output

	mu      sync.Mutex
	entries *record.AccessReader
	changed chan struct{} // closed and replaced with each call
	sockets map[string]int
	tally   Tally
	errors  map[string]string // the first of each kind
	broken  error
	over    bool
	late    int64 // entries after the end
}

// NewCalls takes the calls with the mark, of a load whose calls have that timeout and whose times are on the server's clock. out.Base has to be set.
func NewCalls(mark string, clock Clock, timeout time.Duration, out load.Output) *Calls {
	return &Calls{
		mark: []byte(mark), clock: clock, timeout: timeout, out: out, entries: record.NewAccessReader(), changed: make(chan struct{}),
		sockets: map[string]int{}, errors: map[string]string{},
		tally: Tally{Sure: map[int]int64{}, Broken: map[int]int64{}},
	}
}

// Line takes one entry of the proxy's access log. One of other requests is left out.
func (c *Calls) Line(line []byte) {
	if !bytes.Contains(line, c.mark) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a, err := c.entries.Read(line)
	switch {
	case err != nil:
		if c.broken == nil {
			c.broken = fmt.Errorf("an entry of the access log cannot be read: %w", err)
		}
	case a.Load != string(c.mark) || strings.HasPrefix(a.Cluster, "inbound|"):
		return
	case c.over:
		c.late++
		return
	default:
		c.take(a)
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Calls) take(a record.Access) {
	q, why := c.call(a)
	c.tally.add(a)
	if q.Error != "" && c.errors[q.Error] == "" {
		c.errors[q.Error] = why
	}
	if c.out.Sink != nil {
		c.out.Sink.Request(q)
	}
	if c.out.Progress != nil {
		c.out.Progress.Add(q)
	}
}

// call is what an entry says of its call, and why it failed.
func (c *Calls) call(a record.Access) (q record.Request, why string) {
	socket, ok := c.sockets[a.Downstream]
	if !ok {
		socket = len(c.sockets)
		c.sockets[a.Downstream] = socket
	}
	q = record.Request{
		Start: c.clock.local(a.Start).Sub(c.out.Base).Seconds(), Latency: latency(a), Code: a.Code, Conn: socket, Bytes: a.BytesSent,
		ID: a.RequestID,
	}
	if a.Code != 0 && !isBroken(a) {
		return q, ""
	}
	switch {
	case hungUp(a) && latency(a) >= gaveUp*c.timeout.Seconds():
		q.Error = "timeout"
	case a.Code != 0:
		q.Error = "eof"
	default:
		q.Error = "reset"
	}
	return q, fmt.Sprintf("by the log of the caller's proxy: flags %s, %s", a.Flags, a.Details)
}

// latency is in seconds, by microseconds where the proxy told them.
func latency(a record.Access) float64 {
	if a.Micros > 0 {
		return a.Micros / 1e6
	}
	return a.Duration / 1e3
}

// hungUp says whether the client ended the connection before the answer was whole.
func hungUp(a record.Access) bool { return slices.Contains(strings.Split(a.Flags, ","), "DC") }

// isBroken says whether an answer with a status was not whole. Fortio itself hangs up on each status but 2xx and 418, without reading
// further.
func isBroken(a record.Access) bool {
	if a.Code == 0 {
		return false
	}
	whole := a.Code >= 200 && a.Code <= 299 || a.Code == 418
	return whole && hungUp(a) || strings.HasPrefix(a.Details, "upstream_reset_after_response_started")
}

// Await waits for so many calls. When ctx ends first, the error says how many came.
func (c *Calls) Await(ctx context.Context, want int64) error {
	for {
		c.mu.Lock()
		n, changed, broken := c.tally.Total, c.changed, c.broken
		c.mu.Unlock()
		switch {
		case broken != nil:
			return broken
		case n >= want:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the access log has %d of %d calls: %w", n, want, context.Cause(ctx))
		}
	}
}

// End hands no more calls over, and says what there were. Entries that come afterwards are counted by Late.
func (c *Calls) End() (t Tally, errors map[string]string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	return c.tally, c.errors, c.broken
}

// Late is an error when entries of the load came after its end: calls that Fortio did not count.
func (c *Calls) Late() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late == 0 {
		return c.broken
	}
	return &MismatchError{fmt.Sprintf("the access log of its proxy has %d more entries of calls than Fortio counted", c.late)}
}
