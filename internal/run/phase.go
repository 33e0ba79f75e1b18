package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"squall/internal/check"
	"squall/internal/load"
	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// phase makes the phase's changes and drives its load, and saves what client and proxies saw of it.
func (r *runner) phase(ctx context.Context, p *plan.Phase) error {
	r.Progress.Phase(p.Name)
	if p.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, p.Timeout, fmt.Errorf("took longer than its timeout of %s", p.Timeout))
		defer cancel()
	}
	if p.ApplyAt == 0 {
		if err := r.apply(ctx, p); err != nil {
			return err
		}
	}
	crew, err := r.crew(ctx, p)
	if err != nil {
		return err
	}
	defer crew.close()
	spec := p.Load
	if p.SignIn != nil {
		session, err := crew.signIn(ctx, *p.SignIn, spec) // its headers are not recorded
		if err != nil {
			return err
		}
		spec.Headers = append(slices.Clip(spec.Headers), session...)
	}
	warm, err := crew.warmUp(ctx, spec)
	if err != nil {
		return err
	}
	spec.WarmUp = 0
	if err := errors.Join(r.snapshot(ctx, p.Name, record.Before), r.usage(ctx, p, record.Before), r.flowCounts(ctx, p.Name, record.Before)); err != nil {
		return err
	}
	requests, err := r.Record.RequestWriter(p.Name)
	if err != nil {
		return err
	}
	capture, err := r.capture(p.Name, crew)
	if err != nil {
		return errors.Join(err, requests.Close())
	}
	before := r.present()
	r.recorder.stage(p.Name)
	result, loadErr := r.load(ctx, p, func(ctx context.Context, out load.Output) (record.Load, error) { return crew.run(ctx, spec, out) }, requests)
	unmeasured := r.usageAfter(ctx, p)
	gather, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), gatherWithin, fmt.Errorf("not within %s", gatherWithin))
	defer cancel()
	incomplete := errors.Join(unmeasured, r.flowCounts(gather, p.Name, record.After), r.snapshot(gather, p.Name, record.After), capture.Stop())
	r.recorder.stage("")
	if result == nil {
		return errors.Join(loadErr, incomplete) // no load: that is not a load of 0 requests
	}
	if late := crew.late(); late != nil {
		loadErr = errors.Join(loadErr, late)
		result.Lost = late.Error()
	}
	result.Direct, result.WarmUp, result.Complete = p.Direct, warm, "ok"
	if incomplete != nil {
		result.Complete = incomplete.Error()
		r.event(record.Event{Phase: p.Name, Kind: "error", Text: incomplete.Error()})
	}
	told := r.partings(p, before)
	r.dismiss(*result)
	err = errors.Join(loadErr, told, r.Record.WriteLoad(p.Name, *result), r.unchanged(gather), r.settingsHold(gather), r.sameProxies(gather),
		r.saveRecords(ctx, p.Name, before)) // last, as it may take the store a while
	if err != nil || !result.HasLost() {
		return err
	}
	return r.replace(ctx)
}

// capture sends the access logs of all proxies to files of the phase, and those of the generators' own to them too. The files are made at
// once: an empty one says that a proxy had no request, a missing one says nothing.
func (r *runner) capture(phase string, to *crew) (mesh.Capture, error) {
	if err := r.Record.WritePhaseProxies(phase, r.present()); err != nil {
		return nil, err
	}
	for _, p := range r.present() {
		w, err := r.Record.AccessWriter(phase, p.Pod)
		if err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	return r.Env.CaptureAccess(func(pod string) (mesh.LineWriter, error) {
		w, err := r.Record.AccessWriter(phase, pod)
		if err != nil {
			return nil, err
		}
		return to.tapped(pod, w), nil
	})
}

// snapshot saves each proxy's stats, and waits until the access log has caught up with them. One that cannot be read is an
// error, but the others are saved.
func (r *runner) snapshot(ctx context.Context, phase string, when record.When) error {
	ctx, cancel := context.WithTimeout(ctx, gatherWithin)
	defer cancel()
	var errs []error
	finished := map[string]int64{}
	for _, p := range r.proxies {
		stats, err := mesh.Stats(ctx, r.Env, p.Pod)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		finished[p.Pod] = mesh.LoggedRequests(stats)
		errs = append(errs, r.Record.WriteStats(phase, p.Pod, when, stats), r.Env.AwaitAccess(ctx, p.Pod, finished[p.Pod]))
	}
	r.recorder.awaitAll(ctx, finished)
	return errors.Join(errs...)
}

// driver runs a phase's load.
type driver func(context.Context, load.Output) (record.Load, error)

// load drives the phase's load, shows its progress and watches the halt conditions. What it returns is nil when there was no load.
// It closes requests.
func (r *runner) load(ctx context.Context, p *plan.Phase, run driver, requests *record.RequestWriter) (result *record.Load, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sink := &sink{requests: requests, midway: newMidway(p)}
	for _, h := range p.Halts {
		sink.halts = append(sink.halts, h.Watch())
	}
	progress := &load.Progress{}
	watch, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() {
		err := r.guarded(func() error { r.watchLoad(watch, cancel, p, progress, sink); return nil })
		if err != nil {
			cancel(err)
		}
		watched <- err
	}()
	changed := r.applyMidway(ctx, cancel, p, sink.midway, watch.Done())
	at := r.since()
	got, err := run(ctx, load.Output{Sink: sink, Progress: progress, Begin: sink.midway.begin})
	took := r.since() - at
	stop()
	late, unended := r.endChange(ctx, p, changed, got.Start+got.Seconds)
	err = errors.Join(err, <-watched, unended, requests.Close())
	if got.URL == "" {
		return nil, err // it was refused
	}
	r.event(record.Event{At: at, Took: took, Phase: p.Name, Kind: "load", Text: fmt.Sprintf("%d requests at %.0f/s", got.Count, got.QPS)})
	if got.Interrupted != "" && got.Lost == "" {
		err = errors.Join(err, fmt.Errorf("the load was broken off: %w", context.Cause(ctx)))
	}
	if got.Interrupted == "" && got.Lost == "" {
		got.Lost = late
	}
	return &got, errors.Join(err, r.guarded(func() error {
		r.Progress.Load(p.Name, time.Duration(took*float64(time.Second)), p.Load.Requests, progress.Snapshot())
		return nil
	}))
}

// watchLoad shows the progress, and breaks the load off when a halt condition holds or its records cannot be written.
func (r *runner) watchLoad(ctx context.Context, cancel context.CancelCauseFunc, p *plan.Phase, progress *load.Progress, s *sink) {
	start := time.Now()
	every := 200 * time.Millisecond
	for _, h := range p.Halts {
		every = min(every, max(5*time.Millisecond, time.Duration(h.Window()/10*float64(time.Second))))
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.Progress.Load(p.Name, time.Since(start), p.Load.Requests, progress.Snapshot())
		if err := s.requests.Err(); err != nil {
			cancel(err) // what is not recorded cannot be judged
			return
		}
		for i, h := range s.halts {
			if tripped, why := h.Check(r.since()); tripped {
				reason := fmt.Sprintf("%s: %s: %s", p.Name, p.Halts[i], why)
				r.event(record.Event{Phase: p.Name, Kind: "halt", Text: reason})
				cancel(&haltError{reason})
				return
			}
		}
	}
}

// sink sends each request to disk and to the halt conditions.
type sink struct {
	requests *record.RequestWriter
	halts    []*check.HaltCond
	midway   *midway
}

// Request takes one request.
func (s *sink) Request(q record.Request) {
	s.requests.Request(q)
	s.midway.count()
	for _, h := range s.halts {
		h.Add(q)
	}
}
