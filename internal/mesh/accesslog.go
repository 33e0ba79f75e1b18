package mesh

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// AccessLogs takes the entries of proxies' access logs, counts them, and sends them where the running capture says. Environments feed it.
type AccessLogs struct {
	mu      sync.Mutex
	changed chan struct{}    // closed and replaced when a total changes
	totals  map[string]int64 // entries of HTTP requests by pod
	capture *capture         // nil: nobody captures, lines are dropped
}

// NewAccessLogs has seen nothing yet.
func NewAccessLogs() *AccessLogs {
	return &AccessLogs{changed: make(chan struct{}), totals: map[string]int64{}}
}

// capture is one window of captured access logs, guarded by logs.mu.
type capture struct {
	logs    *AccessLogs
	open    func(pod string) (LineWriter, error)
	writers map[string]LineWriter
	errs    []error
}

// Capture sends the entries to the writers that open makes, one a pod, until the capture is stopped. There is one capture at a time.
func (l *AccessLogs) Capture(open func(pod string) (LineWriter, error)) (Capture, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.capture != nil {
		return nil, errors.New("the access logs are being captured already")
	}
	l.capture = &capture{logs: l, open: open, writers: map[string]LineWriter{}}
	return l.capture, nil
}

// Await waits for the pod's total to reach want. When ctx ends first, the error says how many entries came.
func (l *AccessLogs) Await(ctx context.Context, pod string, want int64) error {
	for {
		l.mu.Lock()
		n, changed := l.totals[pod], l.changed
		l.mu.Unlock()
		if n >= want {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the access log of %s has %d entries, its proxy counted %d requests: %w", pod, n, want, context.Cause(ctx))
		}
	}
}

// Lull waits until no entry has come from the pod for d. When ctx ends first, the pod is too busy.
func (l *AccessLogs) Lull(ctx context.Context, pod string, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for last := l.Total(pod); ; {
		l.mu.Lock()
		n, changed := l.totals[pod], l.changed
		l.mu.Unlock()
		if n != last {
			last = n
			timer.Reset(d)
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the proxy of %s has requests of others without a pause of %s, so that its access log cannot be counted: %w", pod, d, context.Cause(ctx))
		}
	}
}

// Total is how many entries of HTTP requests came from the pod.
func (l *AccessLogs) Total(pod string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals[pod]
}

// Read copies one proxy's log, line by line, until its end.
func (l *AccessLogs) Read(pod string) func(io.Reader) error {
	return func(r io.Reader) error { return EachLine(r, func(line []byte) { l.Write(pod, line) }) }
}

// EachLine calls f with each line of r, its end included, until the end of r. A line is only f's until f returns.
func EachLine(r io.Reader, f func(line []byte)) error {
	br := bufio.NewReaderSize(r, 256<<10)
	for {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			var rest []byte
			line = bytes.Clone(line)
			rest, err = br.ReadBytes('\n')
			line = append(line, rest...)
		}
		if len(line) > 0 {
			f(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Write takes one entry of a pod's proxy.
func (l *AccessLogs) Write(pod string, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.capture != nil {
		l.capture.write(pod, line)
	}
	// Entries of connections that never became a request have no method; no counter counts them.
	if !bytes.Contains(line, []byte(`"method":null`)) {
		l.totals[pod]++
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

func (c *capture) write(pod string, line []byte) {
	w, ok := c.writers[pod]
	if !ok {
		var err error
		if w, err = c.open(pod); err != nil {
			c.errs = append(c.errs, err)
		}
		c.writers[pod] = w
	}
	if w == nil {
		return
	}
	if err := w.Line(line); err != nil {
		c.errs = append(c.errs, err, w.Close())
		c.writers[pod] = nil
	}
}

// Stop ends the capture and closes the writers.
func (c *capture) Stop() error {
	c.logs.mu.Lock()
	defer c.logs.mu.Unlock()
	if c.logs.capture == c {
		c.logs.capture = nil
	}
	errs := c.errs
	for _, w := range c.writers {
		if w != nil {
			errs = append(errs, w.Close())
		}
	}
	c.writers = map[string]LineWriter{}
	return errors.Join(errs...)
}
