package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// bufferSize is how much a writer holds before it writes to disk.
const bufferSize = 64 << 10

// lines appends lines to a file. It is safe for concurrent use. After the first failed write nothing more is written, so
// that the file has no gap, and each lost line is counted.
type lines struct {
	mu      sync.Mutex
	name    string
	out     io.WriteCloser
	sync    func() error
	buf     []byte
	pending int64 // lines in buf
	written int64
	lost    int64
	err     error
	closed  bool
}

// openLines opens the file for appending. A last line that a killed writer left unfinished is ended, so that it spoils no
// other.
func openLines(path string) (*lines, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	if err := endLastLine(f); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), f.Close())
	}
	return &lines{name: path, out: f, sync: f.Sync, buf: make([]byte, 0, bufferSize+4096)}, nil
}

func endLastLine(f *os.File) error {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	_, err = f.Write([]byte("\n"))
	return err
}

// added is called with mu held after a line was appended to buf.
func (l *lines) added() {
	l.pending++
	if len(l.buf) >= bufferSize {
		l.flush()
	}
}

// writable says, with mu held, whether a line may be added, and counts it as lost when not.
func (l *lines) writable() bool {
	if l.closed && l.err == nil {
		l.err = fmt.Errorf("write %s: it is closed", l.name)
	}
	if l.err != nil {
		l.lost++
		return false
	}
	return true
}

func (l *lines) flush() {
	if l.err == nil && len(l.buf) > 0 {
		n, err := l.out.Write(l.buf)
		if err != nil {
			whole := int64(bytes.Count(l.buf[:n], []byte("\n")))
			l.written += whole
			l.lost += l.pending - whole
			l.err = fmt.Errorf("write %s: %w", l.name, err)
		} else {
			l.written += l.pending
		}
	}
	l.buf, l.pending = l.buf[:0], 0
}

func (l *lines) append(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.writable() {
		return l.problem()
	}
	l.buf = append(l.buf, line...)
	l.buf = append(l.buf, '\n')
	l.added()
	return l.problem()
}

func (l *lines) problem() error {
	if l.err == nil || l.lost == 0 {
		return l.err
	}
	return fmt.Errorf("%w (%d lines are not in it)", l.err, l.lost)
}

// Err is the first error of writing, with the file's name and how many lines are missing.
func (l *lines) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problem()
}

// Count is how many lines were taken, written or still buffered; lost ones are not among them.
func (l *lines) Count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written + l.pending
}

// Flush hands what is buffered to the operating system.
func (l *lines) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	return l.problem()
}

// Sync flushes and waits until the disk has it.
func (l *lines) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	if err := l.problem(); err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		l.err = fmt.Errorf("sync %s: %w", l.name, err)
	}
	return l.problem()
}

// Close flushes, closes the file and returns the first error of the writer's life. Closing again changes nothing.
func (l *lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.problem()
	}
	l.flush()
	l.closed = true
	if err := l.out.Close(); err != nil {
		l.err = errors.Join(l.err, fmt.Errorf("close %s: %w", l.name, err))
	}
	return l.problem()
}

// Log appends values to a file, one line of JSON each. It is safe for concurrent use.
type Log struct{ *lines }

// Log opens the file name, relative to the run's folder, for appending. What is appended is on disk after Flush or Close,
// and survives a power cut after Sync.
func (r *Run) Log(name string) (*Log, error) {
	l, err := openLines(r.Path(name))
	if err != nil {
		return nil, err
	}
	return &Log{l}, nil
}

// Append adds v as one line. The error of an earlier line is returned again: a log with a gap is not written on.
func (l *Log) Append(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", l.name, err)
	}
	return l.append(b)
}

// EventLog is the run's timeline. It is safe for concurrent use.
type EventLog struct{ log *Log }

// Events opens the timeline for appending.
func (r *Run) Events() (*EventLog, error) {
	l, err := r.Log(EventsFile)
	if err != nil {
		return nil, err
	}
	return &EventLog{l}, nil
}

// Append adds an event and hands it to the operating system at once, so that it is there when Squall is killed.
func (e *EventLog) Append(ev Event) error {
	if err := e.log.Append(ev); err != nil {
		return err
	}
	return e.log.Flush()
}

// Close closes the timeline and returns the first error of writing it.
func (e *EventLog) Close() error { return e.log.Close() }

// RequestWriter streams requests to disk. It is safe for concurrent use and allocates nothing.
type RequestWriter struct{ *lines }

// RequestWriter opens the phase's requests for writing; Close it to have them all on disk.
func (r *Run) RequestWriter(phase string) (*RequestWriter, error) {
	if err := checkSegment("phase", phase); err != nil {
		return nil, err
	}
	l, err := openLines(r.Path(requestsFile(phase)))
	if err != nil {
		return nil, err
	}
	return &RequestWriter{l}, nil
}

// Request adds a request. It returns nothing, so that a full disk does not stop the load: see Err and Close. A request
// whose times are not finite numbers is an error of the writer.
func (w *RequestWriter) Request(q Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.writable() {
		return
	}
	if !finite(q.Start) || !finite(q.Latency) || !finite(q.Late) {
		w.lost++
		w.err = fmt.Errorf("write %s: a request has start %v, latency %v and is %v late", w.name, q.Start, q.Latency, q.Late)
		return
	}
	w.buf = appendRequest(w.buf, &q)
	w.buf = append(w.buf, '\n')
	w.added()
}

// AccessWriter streams the access log entries of a pod's proxy to disk. It is safe for concurrent use.
type AccessWriter struct{ *lines }

// AccessWriter opens the access log of a pod's proxy in a phase for writing.
func (r *Run) AccessWriter(phase, pod string) (*AccessWriter, error) {
	if err := checkSegments(phase, pod); err != nil {
		return nil, err
	}
	l, err := openLines(r.Path(accessFile(phase, pod)))
	if err != nil {
		return nil, err
	}
	return &AccessWriter{l}, nil
}

// Line adds one entry as the proxy wrote it, with or without its end of line. It is not parsed: reading does that, and says
// which line is wrong.
func (w *AccessWriter) Line(raw []byte) error {
	raw = bytes.TrimRight(raw, "\r\n")
	if bytes.IndexByte(raw, '\n') >= 0 {
		return fmt.Errorf("write %s: an access log entry of more than one line", w.name)
	}
	return w.append(raw)
}
