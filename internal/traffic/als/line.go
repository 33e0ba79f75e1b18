package als

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"squall/internal/traffic"
)

// attrStart is when a request began, in a text access log: entries of the other kinds have a field for it.
const attrStart = "start"

// LogFormat is what a proxy's text access log in JSON has to have for Read, beside whatever else.
func LogFormat() map[string]string {
	out := LogLabels()
	out[attrStart] = "%START_TIME(%Y-%m-%dT%H:%M:%E9SZ)%"
	return out
}

// Proxy is whose text access log is read.
type Proxy struct {
	IP      string
	Gateway bool
	Self    traffic.Workload
}

// node is what the proxy calls itself when it sends its entries.
func (p Proxy) node(peers Peers) *node {
	kind := "sidecar"
	if p.Gateway {
		kind = "router"
	}
	return &node{
		id: fmt.Sprintf("%s~%s~%s.%s~%s.svc.cluster.local", kind, p.IP, p.Self.Pod, p.Self.Namespace, p.Self.Namespace),
		ip: p.IP, gateway: p.Gateway, self: p.Self, peers: peers,
	}
}

// Read makes records of the text access log of a proxy, as if it had sent it, and hands them on. What cannot be read counts as Malformed,
// and ends it.
func (s *Server) Read(ctx context.Context, p Proxy, log io.Reader) error {
	b := batch{s: s, of: p.node(s.opts.Peers)}
	b.run, b.stage = s.opts.Phase()
	d := json.NewDecoder(log)
	d.UseNumber()
	for {
		var line map[string]any
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			return b.flush(ctx)
		} else if err != nil {
			s.count(func(c *Counts) { c.Malformed++ })
			return errors.Join(fmt.Errorf("the access log of %s: %w", p.Self.Pod, err), b.flush(ctx))
		}
		s.count(func(c *Counts) { c.Entries++ })
		b.left++
		if err := b.line(ctx, line); err != nil {
			return err
		}
	}
}

func (b *batch) line(ctx context.Context, line map[string]any) error {
	a := said(func(name string) string {
		switch v := line[name].(type) {
		case string:
			return v
		case json.Number:
			return v.String()
		default: // null is what Envoy does not know
			return ""
		}
	})
	at, _ := time.Parse(time.RFC3339Nano, a(attrStart)) // of what is no time, none: the record then gets the one at which it came
	return b.said(ctx, a, at, "")
}
