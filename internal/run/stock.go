package run

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"squall/internal/load"
	"squall/internal/load/fortiorest"
	"squall/internal/mesh"
	"squall/internal/record"
)

// A server that has just started is asked so often and so long whether it answers.
const (
	answersEvery  = 50 * time.Millisecond
	answersWithin = 20 * time.Second
)

// strayWithin is how long after the end of a load the proxy may log calls that Fortio gave up.
const strayWithin = 3 * time.Second

// stock is a stock Fortio server in the pod. Its calls are those that the pod's proxy logged, once they are as many as Fortio counted.
type stock struct {
	*fortiorest.Client
	mark  string // of the calls of this phase's load
	clock fortiorest.Clock
	calls atomic.Pointer[fortiorest.Calls] // of the load; nil before
	// logged returns when the pod's access log has caught up with its proxy's counters.
	logged func(ctx context.Context) error
}

// stockOf makes the generator of a phase's loads.
func (r *runner) stockOf(pod, phase string, dial fortiorest.Dial) *stock {
	return &stock{
		Client: fortiorest.NewClient(pod, dial), mark: r.man.RunID + "." + url.PathEscape(phase),
		logged: func(ctx context.Context) error {
			stats, err := mesh.Stats(ctx, r.Env, pod)
			if err != nil {
				return err
			}
			return r.Env.AwaitAccess(ctx, pod, mesh.LoggedRequests(stats))
		},
	}
}

// SignIn is not possible, which plan says.
func (g *stock) SignIn(context.Context, load.SignIn, load.Spec) ([]load.Header, error) {
	return nil, errors.New("fortio cannot sign in")
}

func (g *stock) ready(ctx context.Context) (lead, uncertain time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answersWithin, fmt.Errorf("fortio in %s does not answer within %s", g.Name(), answersWithin))
	defer cancel()
	for { // its pod is ready before it listens, since the image has no probe
		if err = g.Ready(ctx); err == nil {
			break
		}
		if why := mesh.Pause(ctx, answersEvery); why != nil {
			return 0, 0, errors.Join(why, err)
		}
	}
	g.clock, err = g.Sync(ctx)
	return 0, g.clock.Uncertainty(), err
}

// run makes the calls. Those of a load without a sink, a warm-up, are only counted.
func (g *stock) run(ctx context.Context, _ time.Time, s load.Spec, out load.Output) (record.Load, error) {
	counted := out.Sink != nil && out.Progress != nil
	mark := g.mark + ".warm-up"
	calls := fortiorest.NewCalls(g.mark, g.clock, s.CallTimeout(), out)
	if counted {
		mark = g.mark
		g.calls.Store(calls)
	}
	begun := time.Now()
	r, err := g.Run(ctx, s, mark)
	if err != nil {
		return g.known(calls, s, begun, out.Base), errors.Join(context.Cause(ctx), err)
	}
	l := g.clock.Load(s, r, out.Base)
	if cause := context.Cause(ctx); cause != nil && l.Count < fortiorest.Requests(s) {
		l.Interrupted = cause.Error()
	}
	if !counted {
		return l, nil
	}
	return g.settle(ctx, calls, l, r)
}

// known is what the proxy logged of a load of which Fortio does not say how it ended; nothing when that is no call.
func (g *stock) known(calls *fortiorest.Calls, s load.Spec, begun, base time.Time) record.Load {
	tally, texts, _ := calls.End() // nothing is judged by it
	if tally.Total == 0 {
		return record.Load{}
	}
	l := g.clock.Load(s, fortiorest.Result{}, base)
	l.Generator, l.Count, l.Errors = nil, tally.Total, texts
	l.Start, l.Seconds = begun.Sub(base).Seconds(), time.Since(begun).Seconds()
	l.QPS = float64(l.Count) / l.Seconds
	l.Interrupted = "fortio does not say how it ended"
	return l
}

// settle waits for the entries of the load's calls, and compares them with what Fortio counted.
func (g *stock) settle(ctx context.Context, calls *fortiorest.Calls, l record.Load, r fortiorest.Result) (record.Load, error) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), gatherWithin, fmt.Errorf("not within %s", gatherWithin))
	defer cancel()
	err := g.logged(ctx)
	if err == nil {
		g.await(ctx, calls, r.Count)
	}
	tally, texts, broken := calls.End()
	l.Count = tally.Total
	if len(texts) > 0 {
		l.Errors = texts
	}
	if err = errors.Join(err, broken); err == nil {
		err = fortiorest.Reconcile(r.Codes, tally)
	}
	return l, err
}

// await waits for calls that the proxy had not ended yet when it was asked how many there were: Fortio hung up on them just before.
func (g *stock) await(ctx context.Context, calls *fortiorest.Calls, want int64) {
	ctx, cancel := context.WithTimeout(ctx, strayWithin)
	defer cancel()
	_ = calls.Await(ctx, want) // what is missing then is told by the comparison
}

// take takes an entry of the pod's access log.
func (g *stock) take(line []byte) {
	if calls := g.calls.Load(); calls != nil {
		calls.Line(line)
	}
}

// late is an error when calls were logged after those that the load is judged by.
func (g *stock) late() error {
	if calls := g.calls.Load(); calls != nil {
		return calls.Late()
	}
	return nil
}

// tap lets a generator see the entries that go to a pod's access log.
type tap struct {
	mesh.LineWriter
	to *stock
}

func (t *tap) Line(entry []byte) error {
	t.to.take(entry)
	return t.LineWriter.Line(entry)
}

// tapped is a writer for the pod's access log that its generator sees too, where it has to.
func (c *crew) tapped(pod string, w mesh.LineWriter) mesh.LineWriter {
	for _, g := range c.generators {
		if s, ok := g.(*stock); ok && s.Name() == pod {
			return &tap{w, s}
		}
	}
	return w
}

// late says which calls the generators did not count.
func (c *crew) late() error {
	var errs []error
	for _, g := range c.generators {
		if s, ok := g.(*stock); ok {
			errs = append(errs, s.late())
		}
	}
	return errors.Join(errs...)
}
