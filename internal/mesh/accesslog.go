package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"squall/internal/mesh"
)

// accessLogs takes the proxies' access logs off their standard outputs, counts them, and sends them where the running
// capture says.
type accessLogs struct {
	mu      sync.Mutex
	changed chan struct{}    // closed and replaced when a total changes
	totals  map[string]int64 // entries of HTTP requests by pod, since its proxy started
	capture *capture         // nil: nobody captures, lines are dropped
}

func newAccessLogs() *accessLogs {
	return &accessLogs{changed: make(chan struct{}), totals: map[string]int64{}}
}

// capture is one window of captured access logs, guarded by logs.mu.
type capture struct {
	logs    *accessLogs
	open    func(pod string) (mesh.LineWriter, error)
	writers map[string]mesh.LineWriter
	errs    []error
}

// CaptureAccess sends the proxies' access logs to the writers that open makes, one a pod, until the capture is stopped. There is
// one capture at a time.
func (m *Mesh) CaptureAccess(open func(pod string) (mesh.LineWriter, error)) (mesh.Capture, error) {
	l := m.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.capture != nil {
		return nil, errors.New("the access logs are being captured already")
	}
	l.capture = &capture{logs: l, open: open, writers: map[string]mesh.LineWriter{}}
	return l.capture, nil
}

// AwaitAccess waits for the pod's total to reach want.
func (m *Mesh) AwaitAccess(ctx context.Context, pod string, want int64) error {
	l := m.log
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

// read copies one proxy's standard output, line by line, until its end.
func (l *accessLogs) read(pod string) func(io.Reader) error {
	return func(r io.Reader) error {
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
				l.write(pod, line)
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

func (l *accessLogs) write(pod string, line []byte) {
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
	c.writers = map[string]mesh.LineWriter{}
	return errors.Join(errs...)
}
