package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"squall/internal/load"
	"squall/internal/load/fortiorest"
	"squall/internal/load/worker"
	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// generator makes calls as one pod of the load generator.
type generator interface {
	// Name is the pod's.
	Name() string
	// SignIn makes the request before a load.
	SignIn(ctx context.Context, s load.SignIn, of load.Spec) ([]load.Header, error)
	// ready gets ready for a load. lead is how long before its start the load has to be ordered, uncertain by how much its times
	// may be wrong.
	ready(ctx context.Context) (lead, uncertain time.Duration, err error)
	// run makes the calls from the time on. A generator that is lost is a *worker.LostError.
	run(ctx context.Context, at time.Time, s load.Spec, out load.Output) (record.Load, error)
	// Close gives back what it holds.
	Close()
}

// ownProcess is Squall's own process in the place of the pod's application.
type ownProcess struct{ pod string }

func (g *ownProcess) Name() string { return g.pod }

func (g *ownProcess) SignIn(ctx context.Context, s load.SignIn, of load.Spec) ([]load.Header, error) {
	return s.Do(ctx, of)
}

func (g *ownProcess) ready(context.Context) (lead, uncertain time.Duration, err error) {
	return 0, 0, nil
}

func (g *ownProcess) run(ctx context.Context, at time.Time, s load.Spec, out load.Output) (record.Load, error) {
	wait := time.NewTimer(time.Until(at))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done(): // the load says that it was interrupted
	}
	return load.Run(ctx, s, out)
}

func (g *ownProcess) Close() {}

// orderWithin is how long an order may take on its way to a worker, beside the round trip that was measured.
const orderWithin = 100 * time.Millisecond

// remote is a worker in the pod.
type remote struct {
	*worker.Client
	clock worker.Clock
}

func (g *remote) ready(ctx context.Context) (lead, uncertain time.Duration, err error) {
	g.clock, err = g.Sync(ctx)
	// A new connection, the order and its answer take a few trips.
	return orderWithin + 10*g.clock.Uncertainty, g.clock.Uncertainty, err
}

func (g *remote) run(ctx context.Context, at time.Time, s load.Spec, out load.Output) (record.Load, error) {
	return g.Run(ctx, worker.Start{Clock: g.clock, At: at}, s, out)
}

// crew is the generators of a phase with the way from each to the hosts that it calls.
type crew struct {
	generators []generator
	dial       func(ctx context.Context, g generator, target string) (string, error)
	base       time.Time
	allowLost  int
}

func (c *crew) close() {
	for _, g := range c.generators {
		g.Close()
	}
}

// crew makes the phase's generators: the first of the load generator's pods by name.
func (r *runner) crew(ctx context.Context, p *plan.Phase) (*crew, error) {
	pods, err := r.clients(ctx)
	if err != nil {
		return nil, err
	}
	if len(pods) < p.Workers {
		return nil, fmt.Errorf("the load is for %d workers, and the load generator has %d pods (%s): is there room for more in the namespace %s?",
			p.Workers, len(pods), strings.Join(pods, ", "), r.Plan.Spec.Namespace)
	}
	c := &crew{base: r.base, allowLost: p.AllowLost, dial: func(ctx context.Context, g generator, target string) (string, error) {
		return r.dial(ctx, g.Name(), target, p.Direct)
	}}
	dialer, isRemote := r.Env.(mesh.Dialer)
	for _, pod := range pods[:max(1, p.Workers)] {
		to := func(port int) worker.Dial {
			return func(ctx context.Context) (net.Conn, error) { return dialer.Dial(ctx, r.Plan.Spec.Namespace, pod, port) }
		}
		switch {
		case !isRemote:
			c.generators = append(c.generators, &ownProcess{pod})
		case r.Plan.Generator == plan.Fortio:
			c.generators = append(c.generators, r.stockOf(pod, p.Name, to(fortiorest.Port)))
		default:
			c.generators = append(c.generators, &remote{Client: worker.NewClient(pod, to(worker.Port))})
		}
	}
	return c, nil
}

// clients are the load generator's pods by name: those with a proxy, or those without where none has one.
func (r *runner) clients(ctx context.Context) ([]string, error) {
	var names []string
	for _, p := range r.proxies {
		if p.Client {
			names = append(names, p.Pod)
		}
	}
	if len(names) == 0 {
		pods, err := mesh.Pods(ctx, r.objects, r.Plan.Spec.Namespace)
		if err != nil {
			return nil, err
		}
		for _, p := range pods {
			if p.Labels["app"] == plan.ClientName {
				names = append(names, p.Name)
			}
		}
	}
	if len(names) == 0 {
		return nil, errors.New("the load generator has no pod")
	}
	slices.Sort(names)
	return names, nil
}

// dial is where a pod of the load generator reaches the host of a URL: its own proxy, an endpoint when it goes past it, or "" when
// the pod's own network finds the way.
func (r *runner) dial(ctx context.Context, pod, target string, direct bool) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", fmt.Errorf("load: %w", err)
	}
	if direct {
		return mesh.AnyEndpoint(ctx, r.objects, r.Plan.Spec.Namespace, u.Hostname(), load.Port(u))
	}
	caller, ok := r.Env.(mesh.Caller)
	if !ok {
		if _, ok = r.Env.(mesh.Dialer); ok {
			return "", nil
		}
		return "", fmt.Errorf("the environment %s has no place for the load generator", r.Env.Name())
	}
	ip, err := caller.CallAddress(pod)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(ip, load.Port(u)), nil
}
