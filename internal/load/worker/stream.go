package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"squall/internal/record"
)

// stream hands the calls of a load over. Making a call never waits for it: what the client does not take is kept up to a limit,
// beyond which the load is broken off rather than slowed down.
type stream struct {
	out    io.Writer
	limit  int
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	waiting []byte
	calls   int64 // lines that were taken
	broken  error // why no more are taken
	over    bool
	ending  []byte
	more    chan struct{} // has room for one: there is something to send
}

func newStream(out io.Writer, limit int, cancel context.CancelCauseFunc) *stream {
	return &stream{out: out, limit: limit, cancel: cancel, more: make(chan struct{}, 1)}
}

// Request takes one call.
func (s *stream) Request(q record.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return
	}
	if len(s.waiting) > s.limit {
		s.fail(fmt.Errorf("%w (%d MiB wait)", ErrSlow, s.limit>>20))
		return
	}
	s.waiting = append(record.AppendRequest(s.waiting, &q), '\n')
	s.calls++
	s.wake()
}

// fail breaks the load off, with mu held.
func (s *stream) fail(err error) {
	if s.broken == nil {
		s.broken = err
		s.cancel(err)
	}
}

func (s *stream) wake() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// end takes how the load ended.
func (s *stream) end(l record.Load, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = s.broken
	}
	e := endLine{Load: l, Lines: s.calls}
	if err != nil {
		e.Error = err.Error()
	}
	s.over, s.ending = true, line("end", e)
	s.wake()
}

// line is an object with one key.
func line(key string, v any) []byte {
	b, err := json.Marshal(map[string]any{key: v})
	if err != nil {
		b = []byte(`{"end":{"error":"the end of the load cannot be written"}}`) // numbers and strings can
	}
	return append(b, '\n')
}

// send writes what there is until the load's end was written, or writing fails.
func (s *stream) send() {
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	var b []byte
	for {
		tell := false
		select {
		case <-s.more:
		case <-alive.C:
			tell = true
		}
		var over bool
		b, over = s.take(b, tell)
		if len(b) > 0 {
			if _, err := s.out.Write(b); err != nil {
				s.mu.Lock()
				s.fail(fmt.Errorf("the client does not take the records: %w", err))
				s.mu.Unlock()
				return
			}
		}
		if over {
			return
		}
	}
}

// take swaps what waits for the buffer that was sent.
func (s *stream) take(sent []byte, tell bool) (b []byte, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b = s.waiting
	s.waiting = sent[:0]
	if tell && !s.over {
		b = append(b, line("alive", aliveLine{Calls: s.calls, Waiting: len(b)})...)
	}
	return append(b, s.ending...), s.over
}
