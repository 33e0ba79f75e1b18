package load

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"fortio.org/fortio/periodic"
	"fortio.org/log"

	"squall/internal/record"
)

// Sink takes the records of a load, from all its connections at once. What it takes, it takes from the load's time.
type Sink interface{ Request(record.Request) }

// Output is where a load reports to.
type Output struct {
	Base     time.Time // what Request.Start and Load.Start count from; zero: when Run was called
	Sink     Sink      // nil: the records are dropped, and only counted
	Progress *Progress // nil: nobody watches
	// Begin is told once when the load begins, by who drives it at generators that take a while to be ready; nil: nobody asks.
	Begin func(at time.Time)
}

// Run makes the warm-up calls and then the load. It returns when all calls are finished: with a duration none is started
// after it is over, and the last ones have their Timeout to finish. When ctx ends, calls under way are cut off, and Run
// returns at once; that is no error, but Load.Interrupted has the cause.
//
// A call that fails is a record with an Error, not an error of Run. The errors of Run are a Spec that is not valid, when
// nothing was done, and a load generator that has run out of what its own machine gives, such as ports; the load is broken
// off then, and what is returned of it is true.
//
// Load.WarmUp, Load.Count and Load.Cut together are what a target that answers has received. A call that failed is counted
// whether or not it reached the target, and a call that was cut off only when it may have.
func Run(ctx context.Context, spec Spec, out Output) (record.Load, error) {
	if err := spec.Validate(); err != nil {
		return record.Load{}, fmt.Errorf("load: %w", err)
	}
	if out.Base.IsZero() {
		out.Base = time.Now()
	}
	log.SetLogLevelQuiet(log.Critical) // Fortio would write to stderr
	s, err := newSession(spec, out)
	if err != nil {
		return record.Load{}, fmt.Errorf("load: %w", err)
	}
	defer s.close()
	s.run(ctx)
	return s.result(), s.ours
}

// session is one load while it runs.
type session struct {
	spec    Spec
	out     Output
	workers []*worker
	stop    *periodic.Aborter
	cancel  context.CancelCauseFunc

	start   time.Time
	seconds float64
	warmUp  atomic.Int64
	count   atomic.Int64
	cut     atomic.Int64

	interrupted error

	mu     sync.Mutex
	errors map[string]string // the first by kind
	ours   error             // why the load was broken off, when it was the machine
}

// worker is one connection.
type worker struct {
	caller
	load  *session
	conn  int
	times *schedule
}

// calls is what Fortio's runner runs, from one goroutine: a worker's calls in the load's context, since Fortio's own is
// never cancelled.
type calls func() bool

// Run makes one call. Fortio also calls it a few times after the end when it is behind its schedule.
func (c calls) Run(context.Context, periodic.ThreadID) (bool, string) { return c(), "" }

func newSession(spec Spec, out Output) (*session, error) {
	s := &session{spec: spec, out: out, stop: periodic.NewAborter(), errors: map[string]string{}}
	t, err := newTarget(spec)
	if err != nil {
		return nil, err
	}
	for i := range spec.Connections {
		c, err := newCaller(t)
		if err != nil {
			s.close()
			return nil, err
		}
		s.workers = append(s.workers, &worker{caller: c, load: s, conn: i})
	}
	return s, nil
}

func newCaller(t *target) (caller, error) {
	switch t.spec.protocol() {
	case H2:
		return newH2(t), nil
	case GRPC:
		return newGRPC(t)
	default:
		return newHTTP1(t), nil
	}
}

func (s *session) close() {
	for _, w := range s.workers {
		w.close()
	}
}

// run does the whole load; the context's end, or a machine that is at its end, interrupts it.
func (s *session) run(ctx context.Context) {
	ctx, cancel := detach(ctx)
	s.cancel = cancel
	defer cancel(nil)
	interrupted := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		s.stop.Abort(false)
		for _, w := range s.workers {
			w.interrupt()
		}
	})
	s.warm(ctx)
	s.start = time.Now()
	runner := periodic.NewPeriodicRunner(s.options())
	for i, w := range s.workers {
		w.times = s.schedule(i)
		runner.Options().Runners[i] = calls(func() bool { return w.once(ctx) }) // NewPeriodicRunner empties those of options
	}
	if ctx.Err() == nil {
		runner.Run()
	}
	s.seconds = time.Since(s.start).Seconds()
	if s.spec.Requests == 0 || s.count.Load() < s.spec.Requests {
		s.interrupted = context.Cause(ctx)
	}
	runner.Options().Abort()
	if !unhook() {
		<-interrupted
	}
}

// detach is a context that ends when ctx does, without its deadline: gRPC, and the target by the header that it gets, would
// take the load's deadline for the call's and time out.
func detach(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	d, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	if ctx.Err() != nil {
		cancel(context.Cause(ctx))
	}
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	return d, func(cause error) {
		stop()
		cancel(cause)
	}
}

func (s *session) options() *periodic.RunnerOptions {
	o := &periodic.RunnerOptions{
		QPS: s.spec.QPS, NumThreads: s.spec.Connections, Exactly: s.spec.Requests, Duration: s.spec.Duration,
		Jitter: s.spec.Jitter, Uniform: s.spec.Uniform, NoCatchUp: s.spec.NoCatchUp,
		Out: io.Discard, Stop: s.stop,
	}
	if o.QPS == 0 || o.Exactly == 1 { // with a QPS Fortio would make two calls of one
		o.QPS = -1
	}
	return o
}

// warm makes the warm-up calls over all connections.
func (s *session) warm(ctx context.Context) {
	var wg sync.WaitGroup
	each, more := s.spec.WarmUp/int64(len(s.workers)), s.spec.WarmUp%int64(len(s.workers))
	for i, w := range s.workers {
		n := each
		if int64(i) < more {
			n++
		}
		if n == 0 {
			continue
		}
		wg.Go(func() {
			for range n {
				if ctx.Err() != nil {
					return
				}
				if o := w.call(ctx, time.Now()); o.err == nil || o.sent || ctx.Err() == nil {
					s.warmUp.Add(1)
				}
			}
		})
	}
	wg.Wait()
}

// once makes a call, records it and says whether an answer came. After the context's end it makes none, and what the
// context cuts off is not recorded.
func (w *worker) once(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	start := time.Now()
	late := w.times.late(start)
	o := w.call(ctx, start)
	latency := time.Since(start)
	w.times.done(start.Add(latency))
	if o.err != nil && ctx.Err() != nil {
		if o.sent {
			w.load.cut.Add(1)
		}
		return false
	}
	q := record.Request{
		Start: start.Sub(w.load.out.Base).Seconds(), Latency: latency.Seconds(), Late: late.Seconds(),
		Code: o.code, Conn: w.conn, Bytes: o.bytes, ID: o.id, Version: o.version, Found: o.found,
	}
	if o.err != nil {
		q.Error = w.load.failed(o.err)
	}
	w.load.count.Add(1)
	if w.load.out.Sink != nil {
		w.load.out.Sink.Request(q)
	}
	if w.load.out.Progress != nil {
		w.load.out.Progress.add(o.code, o.err != nil)
	}
	return o.err == nil
}

// failed is the kind of the error. Of each kind the first text is kept.
func (s *session) failed(err error) string {
	kind := kindOf(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.errors[kind]; !ok {
		s.errors[kind] = err.Error()
	}
	if isOurs(err) && s.ours == nil {
		s.ours = fmt.Errorf("load: this machine has no ports, files or memory left for more calls: "+
			"use fewer connections, or keep them from call to call: %w", err)
		s.cancel(s.ours)
	}
	return kind
}

// result is called when no call is under way any more.
func (s *session) result() record.Load {
	l := record.Load{
		URL: s.spec.URL, Protocol: string(s.spec.protocol()), Connections: s.spec.Connections,
		AskedQPS: s.spec.QPS, Asked: s.spec.Requests, Seed: s.spec.Seed, Scheduled: s.spec.Scheduled(),
		Start: s.start.Sub(s.out.Base).Seconds(), Seconds: s.seconds,
		Count: s.count.Load(), Cut: s.cut.Load(), WarmUp: s.warmUp.Load(),
	}
	if len(s.errors) > 0 {
		l.Errors = s.errors
	}
	if s.seconds > 0 {
		l.QPS = float64(l.Count) / s.seconds
	}
	if s.interrupted != nil {
		l.Interrupted = s.interrupted.Error()
	}
	return l
}
