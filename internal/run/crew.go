package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"squall/internal/load"
	"squall/internal/load/fortiorest"
	"squall/internal/load/worker"
	"squall/internal/record"
)

// together is how long generators that start together have to be there.
const together = 5 * time.Millisecond

// part is what one generator made of its part of a load.
type part struct {
	load      record.Load
	err       error
	lost      *worker.LostError
	uncertain time.Duration
	latencies []float64 // seconds, in no order
}

// signIn makes the request before a load at the first generator: the load is one user, whoever makes the calls.
func (c *crew) signIn(ctx context.Context, s load.SignIn, of load.Spec) ([]load.Header, error) {
	var err error
	if s.Dial, err = c.dial(ctx, c.generators[0], s.URL); err != nil {
		return nil, err
	}
	return c.generators[0].SignIn(ctx, s, of)
}

// warmUp makes the calls that come before what is counted and recorded, and returns how many there were.
func (c *crew) warmUp(ctx context.Context, spec load.Spec) (int64, error) {
	if spec.WarmUp == 0 {
		return 0, nil
	}
	specs := spec.Split(len(c.generators))
	for i := range specs {
		s := &specs[i]
		s.Requests, s.Duration, s.QPS, s.WarmUp = s.WarmUp, 0, 0, 0
		s.Jitter, s.Uniform, s.NoCatchUp = false, false, false
		s.Connections = int(min(int64(s.Connections), s.Requests))
	}
	parts, err := c.drive(ctx, specs, load.Output{Base: c.base})
	if err != nil {
		return 0, fmt.Errorf("warm-up: %w", err)
	}
	var n int64
	for _, p := range parts {
		n += p.load.Count
	}
	return n, context.Cause(ctx)
}

// run drives a load by all generators and merges what they made of it: each call is a record of its own, so that nothing is lost by
// it. What is returned with an error is what is known of the load, and nothing when it was refused.
func (c *crew) run(ctx context.Context, spec load.Spec, out load.Output) (record.Load, error) {
	out.Base = c.base
	parts, err := c.drive(ctx, spec.Split(len(c.generators)), out)
	if !slices.ContainsFunc(parts, func(p part) bool { return p.load.URL != "" }) {
		return record.Load{}, err
	}
	l := c.merge(parts, spec)
	var lost *worker.LostError
	var mismatch *fortiorest.MismatchError
	switch {
	case errors.As(err, &lost):
		l.Lost, l.Interrupted = lost.Error(), lost.Error()
	case errors.As(err, &mismatch):
		l.Lost = mismatch.Error()
	}
	return l, err
}

// drive runs one load a generator, all from the same instant on; one without calls is left out. The first error breaks the others
// off; so does a generator that is lost when no more may be.
func (c *crew) drive(ctx context.Context, specs []load.Spec, out load.Output) ([]part, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parts := make([]part, len(specs))
	lead, err := c.prepare(ctx, specs, parts)
	if err != nil {
		return parts, err
	}
	at := time.Now().Add(lead)
	if out.Begin != nil {
		out.Begin(at)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		lost  int
		fatal error
	)
	for i, g := range c.generators {
		if specs[i].Requests == 0 && specs[i].Duration == 0 {
			continue
		}
		wg.Go(func() {
			p := &parts[i]
			own := out
			sink := &numbered{sink: out.Sink, worker: i, keep: c.counted()}
			own.Sink = sink
			p.load, p.err = g.run(ctx, at, specs[i], own)
			p.latencies = sink.latencies
			mu.Lock()
			defer mu.Unlock()
			if errors.As(p.err, &p.lost) {
				lost++
			}
			if p.err != nil && fatal == nil && (p.lost == nil || lost > c.allowLost) {
				fatal = p.err
				cancel(p.err)
			}
		})
	}
	wg.Wait()
	return parts, fatal
}

// prepare gets all generators ready, and takes the way to the target. It returns how long before the start they need the order.
func (c *crew) prepare(ctx context.Context, specs []load.Spec, parts []part) (lead time.Duration, err error) {
	var wg sync.WaitGroup
	leads, errs := make([]time.Duration, len(parts)), make([]error, len(parts))
	for i, g := range c.generators {
		wg.Go(func() {
			var err error
			if specs[i].Dial, err = c.dial(ctx, g, specs[i].URL); err == nil {
				leads[i], parts[i].uncertain, err = g.ready(ctx)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if lead = slices.Max(leads); len(parts) > 1 {
		lead += together
	}
	return lead, errors.Join(errs...)
}

// counted says whether the generators are told apart in the record.
func (c *crew) counted() bool {
	_, own := c.generators[0].(*ownProcess)
	return len(c.generators) > 1 || !own
}

// merge is the load that the parts are together. One that was lost, and could be, does not interrupt it.
func (c *crew) merge(parts []part, spec load.Spec) record.Load {
	out := record.Load{
		URL: spec.URL, Protocol: string(spec.Protocol), Connections: spec.Connections, AskedQPS: spec.QPS, Asked: spec.Requests, Seed: spec.Seed,
		Scheduled: spec.Scheduled(), Start: math.Inf(1),
	}
	end := 0.0
	for i, p := range parts {
		if p.load.URL == "" {
			continue
		}
		l := p.load
		out.Protocol = l.Protocol
		out.Count, out.Cut, out.WarmUp = out.Count+l.Count, out.Cut+l.Cut, out.WarmUp+l.WarmUp
		out.Start, end = min(out.Start, l.Start), max(end, l.Start+l.Seconds)
		if l.Interrupted != "" && out.Interrupted == "" && (p.lost == nil || c.allowLost == 0) {
			out.Interrupted = l.Interrupted
		}
		for kind, text := range l.Errors {
			if out.Errors == nil {
				out.Errors = map[string]string{}
			}
			if _, ok := out.Errors[kind]; !ok {
				out.Errors[kind] = text
			}
		}
		if c.counted() {
			out.Workers = append(out.Workers, c.ofWorker(i, p))
		}
	}
	if len(parts) == 1 {
		workers := out.Workers
		out = parts[0].load
		out.Errors, out.Workers = maps.Clone(out.Errors), workers
		return out
	}
	out.Seconds = end - out.Start
	if out.Seconds > 0 {
		out.QPS = float64(out.Count) / out.Seconds
	}
	return out
}

func (c *crew) ofWorker(i int, p part) record.WorkerLoad {
	w := record.WorkerLoad{
		Pod: c.generators[i].Name(), Count: p.load.Count, QPS: p.load.QPS, Start: p.load.Start, Seconds: p.load.Seconds,
		P50: quantile(p.latencies, 0.5), P99: quantile(p.latencies, 0.99), Clock: p.uncertain.Seconds(),
	}
	if p.lost != nil {
		w.Lost = p.lost.Err.Error()
	}
	return w
}

// quantile is the smallest value that so large a share of all does not exceed. It sorts them.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[max(0, int(math.Ceil(q*float64(len(values))))-1)]
}

// numbered marks each call with the worker that made it.
type numbered struct {
	sink   load.Sink
	worker int
	keep   bool // the latencies

	mu        sync.Mutex
	latencies []float64
}

// Request takes one request.
func (n *numbered) Request(q record.Request) {
	q.Worker = n.worker
	if n.keep {
		n.mu.Lock()
		n.latencies = append(n.latencies, q.Latency)
		n.mu.Unlock()
	}
	if n.sink != nil {
		n.sink.Request(q)
	}
}
