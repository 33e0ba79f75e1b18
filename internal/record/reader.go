package record

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// maxLine is the longest line that is read.
const maxLine = 1 << 20

// ErrTruncated is the error of a last line that was cut off: whatever wrote the file was killed.
var ErrTruncated = errors.New("the last line is cut off: its writer was killed")

// LineError is a line of a record that cannot be read.
type LineError struct {
	File string
	Line int64 // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

var errLineTooLong = errors.New("a line of more than 1 MiB")

// lineReader reads a file's lines one after the other, each valid until the next call.
type lineReader struct {
	f    *os.File
	r    *bufio.Reader
	line int64
	at   int64 // offset of the next line
	long []byte
}

func openReader(path string) (*lineReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	return &lineReader{f: f, r: bufio.NewReaderSize(f, bufferSize)}, nil
}

// seek goes to the line that begins at the offset.
func (l *lineReader) seek(at, line int64) error {
	if _, err := l.f.Seek(at, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", l.f.Name(), err)
	}
	l.r.Reset(l.f)
	l.at, l.line = at, line
	return nil
}

// close gives the file back. An error of closing a file that was only read loses nothing.
func (l *lineReader) close() { _ = l.f.Close() }

// next returns the next line that is not empty, and whether the file ends without its end of line. The error is io.EOF at
// the end.
func (l *lineReader) next() (b []byte, cut bool, err error) {
	for {
		b, err := l.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			b, err = l.nextLong(b)
		}
		l.at += int64(len(b))
		if len(b) > 0 {
			l.line++
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, false, l.wrap(err)
		}
		if t := bytes.TrimSpace(b); len(t) > 0 {
			return t, err != nil, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

func (l *lineReader) nextLong(first []byte) ([]byte, error) {
	l.long = append(l.long[:0], first...)
	for {
		b, err := l.r.ReadSlice('\n')
		l.long = append(l.long, b...)
		if len(l.long) > maxLine {
			return l.long, errLineTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return l.long, err
		}
	}
}

func (l *lineReader) wrap(err error) error {
	return &LineError{File: l.f.Name(), Line: l.line, Err: err}
}

// parsed reads the file's next line by parse. A line that is wrong gives a *LineError, and reading can go on; more is false
// when it cannot, or at the end.
func parsed[T any](l *lineReader, parse func([]byte, *parser) (T, error), p *parser) (v T, more bool, err error) {
	b, cut, err := l.next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return v, false, err
	}
	v, err = parse(b, p)
	switch {
	case err != nil && cut:
		return v, true, l.wrap(ErrTruncated)
	case err != nil:
		return v, true, l.wrap(err)
	}
	return v, true, nil
}

// all yields each line of the file. A line that is wrong is yielded as its error, and the following lines come too. A file
// that is not there is yielded as fs.ErrNotExist.
func all[T any](path string, parse func([]byte, *parser) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		l, err := openReader(path)
		if err != nil {
			yield(zero, err)
			return
		}
		defer l.close()
		p := newParser()
		for {
			v, more, err := parsed(l, parse, p)
			if (more || err != nil) && !yield(v, err) {
				return
			}
			if !more {
				return
			}
		}
	}
}

func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		yield(zero, err)
	}
}

func parseEvent(line []byte, _ *parser) (Event, error) {
	var e Event
	err := json.Unmarshal(line, &e)
	return e, err
}

// ReadEvents yields the timeline in the order in which it was written. Errors are those of Requests.
func (r *Run) ReadEvents() iter.Seq2[Event, error] { return all(r.Path(EventsFile), parseEvent) }

// Requests yields the phase's requests in the order in which they were finished. A line that cannot be read is yielded as
// a *LineError with a zero Request, and the following lines come too: a caller that ignores errors judges less than there
// was. A last line cut off by a killed writer is ErrTruncated; a file that is not there is fs.ErrNotExist.
func (r *Run) Requests(phase string) iter.Seq2[Request, error] {
	if err := checkSegment("phase", phase); err != nil {
		return failed[Request](err)
	}
	return all(r.Path(requestsFile(phase)), parseRequest)
}

// OpenAccess opens the access log of a pod's proxy in the phase, as the proxy wrote it.
func (r *Run) OpenAccess(phase, pod string) (io.ReadCloser, error) {
	if err := checkSegments(phase, pod); err != nil {
		return nil, err
	}
	return os.Open(r.Path(accessFile(phase, pod)))
}

// Access yields the access log entries of a pod's proxy in the phase. Errors are those of Requests.
func (r *Run) Access(phase, pod string) iter.Seq2[Access, error] {
	if err := checkSegments(phase, pod); err != nil {
		return failed[Access](err)
	}
	return all(r.Path(accessFile(phase, pod)), parseAccess)
}
