package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"squall/internal/load"
	"squall/internal/record"
)

// Start is when a load begins: at a time of the client's clock, by what is known of the worker's.
type Start struct {
	Clock Clock
	At    time.Time
}

// Run drives a load at the worker as load.Run does here: it returns when the load is over, and soon after ctx has ended. All times
// are on the client's clock, counted from out.Base, to within the clock's uncertainty.
//
// A worker that is lost is a *LostError. What is returned of the load then is what is known of it: the calls that the worker told
// of, with Interrupted saying why there are no more.
func (c *Client) Run(ctx context.Context, start Start, s load.Spec, out load.Output) (record.Load, error) {
	if out.Base.IsZero() {
		out.Base = start.At
	}
	order, err := json.Marshal(loadRequest{Process: start.Clock.process, At: start.Clock.at(start.At), Spec: specOf(s)})
	if err != nil {
		return record.Load{}, fmt.Errorf("load: %w", err)
	}
	link, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	body, wanted := io.Pipe()
	defer func() { _ = wanted.Close() }() // never fails
	go func() {
		_, _ = wanted.Write(append(order, '\n')) // fails when the request has failed, which Do says
	}()
	// The worker is asked to end the load, and has a while to say how it ended.
	stop := context.AfterFunc(ctx, func() {
		_ = wanted.Close()
		timer := time.NewTimer(abortWithin)
		defer timer.Stop()
		select {
		case <-timer.C:
			cut(context.Cause(ctx))
		case <-link.Done():
		}
	})
	defer stop()
	shift := start.At.Sub(out.Base).Seconds()
	f := &follower{out: out, shift: shift, last: shift, cut: cut, requests: record.NewRequestReader()}
	resp, err := c.send(link, http.MethodPost, "/load", body)
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		return record.Load{}, c.lost(err)
	case err != nil: // it may have begun: a worker says nothing before its first call
		return c.result(ctx, f, nil, err, s)
	}
	end, err := f.follow(resp.Body)
	if err != nil {
		end = nil
	}
	if cause := context.Cause(link); err != nil && cause != nil {
		err = cause
	}
	_ = resp.Body.Close() // all that was wanted of it is read
	return c.result(ctx, f, end, err, s)
}

// result is what is known of a load.
func (c *Client) result(ctx context.Context, f *follower, end *endLine, err error, s load.Spec) (record.Load, error) {
	if end == nil {
		took := f.last - f.shift
		l := record.Load{
			URL: s.URL, Protocol: string(s.Protocol), Connections: s.Connections, AskedQPS: s.QPS, Asked: s.Requests, Seed: s.Seed,
			Scheduled: s.Scheduled(), Start: f.shift, Seconds: took, Count: f.lines,
		}
		if took > 0 {
			l.QPS = float64(l.Count) / took
		}
		lost := c.lost(err)
		l.Interrupted = lost.Error()
		if ctx.Err() != nil {
			l.Interrupted = context.Cause(ctx).Error()
		}
		return l, lost
	}
	l := end.Load
	l.Start += f.shift
	switch cause := context.Cause(ctx); {
	case end.Error != "":
		l.Count = f.lines
		return l, fmt.Errorf("worker %s: %s", c.name, end.Error)
	case l.Interrupted != "" && cause != nil:
		l.Interrupted = cause.Error()
	case l.Interrupted != "":
		lost := &LostError{Worker: c.name, Err: errors.New(l.Interrupted)}
		l.Interrupted = lost.Error()
		return l, lost
	}
	return l, nil
}

// follower takes the lines of a load.
type follower struct {
	out      load.Output
	shift    float64 // seconds from out.Base to the load's start
	cut      context.CancelCauseFunc
	requests *record.RequestReader
	lines    int64   // calls so far
	last     float64 // when the last of them ended, in seconds since out.Base
}

// message is what a line says: one of them is not nil.
type message struct {
	Alive *aliveLine `json:"alive"`
	End   *endLine   `json:"end"`

	request *record.Request
}

// follow reads lines until the end of the load, which has to be as long as it says. Without an error there is an end.
func (f *follower) follow(r io.Reader) (*endLine, error) {
	silence := time.AfterFunc(silentAfter, func() { f.cut(fmt.Errorf("it gave no sign of life for %s", silentAfter)) })
	defer silence.Stop()
	in := bufio.NewReaderSize(r, maxLine)
	for {
		b, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("it sent a line of more than %d bytes", maxLine)
		case errors.Is(err, io.EOF):
			return nil, errors.New("the connection ended before the load did")
		case err != nil:
			return nil, err
		}
		silence.Reset(silentAfter)
		m, err := f.parse(b)
		switch {
		case err != nil:
			return nil, err
		case m.End != nil:
			return m.End, f.whole(m.End)
		case m.request != nil:
			f.take(*m.request)
		}
	}
}

// parse reads one line.
func (f *follower) parse(b []byte) (message, error) {
	if len(b) > 4 && string(b[:5]) == `{"t":` {
		q, err := f.requests.Read(b)
		if err != nil {
			return message{}, fmt.Errorf("it sent a call that cannot be read: %w", err)
		}
		return message{request: &q}, nil
	}
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("it sent a line that cannot be read: %w", err)
	}
	if (m.Alive == nil) == (m.End == nil) {
		return m, fmt.Errorf("it sent a line that says nothing that is known: %.100q", b)
	}
	return m, nil
}

func (f *follower) take(q record.Request) {
	f.lines++
	q.Start += f.shift
	f.last = max(f.last, q.Start+q.Latency)
	if f.out.Sink != nil {
		f.out.Sink.Request(q)
	}
	if f.out.Progress != nil {
		f.out.Progress.Add(q)
	}
}

// whole compares the lines that came with those that the end says.
func (f *follower) whole(end *endLine) error {
	switch {
	case end.Lines != f.lines:
		return fmt.Errorf("it sent %d calls, and %d came", end.Lines, f.lines)
	case end.Error == "" && end.Load.Count != f.lines:
		return fmt.Errorf("it made %d calls, and told of %d", end.Load.Count, f.lines)
	}
	return nil
}
