package local

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"

	"squall/internal/mesh"
)

// accessLogs takes the proxies' access logs off their standard outputs and sends them where the running capture says.
type accessLogs struct {
	mu   sync.Mutex
	open func(pod string) (io.WriteCloser, error) // nil: nobody captures, lines are dropped
	cap  *capture
}

func newAccessLogs() *accessLogs { return &accessLogs{} }

// capture is one window of captured access logs.
type capture struct {
	logs    *accessLogs
	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a count changes
	counts  map[string]int64
	writers map[string]io.WriteCloser
	errs    []error
}

// CaptureAccess sends the proxies' access logs to the writers that open makes, one a pod, until the capture is stopped. There is
// one capture at a time.
func (m *Mesh) CaptureAccess(open func(pod string) (io.WriteCloser, error)) (mesh.Capture, error) {
	l := m.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cap != nil {
		return nil, errors.New("the access logs are being captured already")
	}
	l.open = open
	l.cap = &capture{logs: l, changed: make(chan struct{}), counts: map[string]int64{}, writers: map[string]io.WriteCloser{}}
	return l.cap, nil
}

// read copies one proxy's standard output, line by line, until its end.
func (l *accessLogs) read(pod string) func(io.Reader) error {
	return func(r io.Reader) error {
		br := bufio.NewReaderSize(r, 256<<10)
		for {
			line, err := br.ReadSlice('\n')
			if len(line) > 0 {
				l.write(pod, line)
			}
			switch {
			case err == nil, errors.Is(err, bufio.ErrBufferFull):
			case errors.Is(err, io.EOF):
				return nil
			default:
				return err
			}
		}
	}
}

func (l *accessLogs) write(pod string, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cap != nil {
		l.cap.write(pod, line, l.open)
	}
}

func (c *capture) write(pod string, line []byte, open func(string) (io.WriteCloser, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.writers[pod]
	if !ok {
		var err error
		if w, err = open(pod); err != nil {
			c.errs = append(c.errs, err)
			w = nil
		}
		c.writers[pod] = w
	}
	if w != nil {
		if _, err := w.Write(line); err != nil {
			c.errs = append(c.errs, err)
			c.writers[pod] = nil
		}
	}
	if line[len(line)-1] != '\n' {
		return
	}
	c.counts[pod]++
	close(c.changed)
	c.changed = make(chan struct{})
}

// Await returns when the pod's log has at least want entries, or with how many there are when ctx ends.
func (c *capture) Await(ctx context.Context, pod string, want int64) (int64, error) {
	for {
		c.mu.Lock()
		n, changed := c.counts[pod], c.changed
		c.mu.Unlock()
		if n >= want {
			return n, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

// Stop ends the capture and closes the writers.
func (c *capture) Stop() error {
	c.logs.mu.Lock()
	c.logs.cap, c.logs.open = nil, nil
	c.logs.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := c.errs
	for _, w := range c.writers {
		if w != nil {
			errs = append(errs, w.Close())
		}
	}
	c.writers = nil
	return errors.Join(errs...)
}
