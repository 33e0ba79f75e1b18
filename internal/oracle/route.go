package oracle

import (
	"time"

	"squall/internal/rules"
)

// call is one request on its way.
type call struct {
	caller rules.Caller
	from   string // the caller's workload, for the counters of its proxy; "" for the load's
	host   string
	port   int
	req    rules.Request
	signIn map[string]string
	depth  int
}

const (
	// maxDepth bounds how far calls are followed, as declarations may call each other.
	maxDepth = 12
	// near is how close a time may come to a timeout for it to be told which is first: an answer takes some time anyway.
	near = 100 * time.Millisecond
	// quick is what an answer may take on a busy machine when nothing holds it back.
	quick = 250 * time.Millisecond
	// crowd is how many calls at once an application answers as it declares, also on a busy machine; of more some may be late or reset.
	crowd = 64
	// maxSteps bounds the calls that are followed in all.
	maxSteps = 2000
)

// keys of hits.
func reached(service, version string) string { return "reached " + service + " " + version }
func total(service string) string            { return "total " + service }
func delayed(service string) string          { return "delays " + service }
func aborted(service string) string          { return "aborts " + service }
func retried(from, host string) string       { return "retries " + from + " " + host }

// route is what the caller's proxy, and all behind it, make of a call.
func (e *evaluation) route(c call) mixture {
	if e.steps++; e.steps > maxSteps {
		return unknown("it leads to more than %d calls", maxSteps)
	}
	if c.depth > maxDepth {
		return unknown("calls go on for more than %d services", maxDepth)
	}
	routing := e.model.Routing(c.caller, c.host, c.port)
	if routing.Unknown != "" {
		return unknown("%s", routing.Unknown)
	}
	if len(routing.Ignored) > 0 {
		return unknown("%s and %s are for the same host, of which Istio takes the older", routing.Rules[0].Ref, routing.Ignored[0].Ref)
	}
	c.req.Port = c.port
	names := e.model.GatewayNames(c.caller)
	routes := routing.Reachable(c.req, c.caller, names...)
	if len(routes) == 0 {
		if routing.Service == nil && c.caller.Proxy != rules.GatewayProxy && len(routing.Rules) == 0 {
			return unknown("no service is called %s", c.host)
		}
		e.because(c, "no route fits the request for %s", c.host)
		return certain(answeredByProxy(404, "NR"))
	}
	if len(routes) > 1 {
		return unknown("whether the request for %s fits the match of %s is not known", c.host, routes[0].Ref)
	}
	r := routes[0]
	if r.Unknown != "" {
		return unknown("%s", r.Unknown)
	}
	e.mirrors(c, r)
	return e.faults(c, r, func() mixture { return e.forward(c, r) })
}

func answeredByProxy(code int, flags ...string) outcome { return outcome{code: code, flags: flags} }

// faults come first: a delay, then an abort, each drawn apart. No retry and no timeout sees them.
func (e *evaluation) faults(c call, r *rules.Route, forward func() mixture) mixture {
	m := certain(outcome{})
	if d := r.Delay; d != nil && d.Share > 0 && c.caller.Proxy != rules.NoProxy {
		late := outcome{p: d.Share, latency: d.Fixed, flags: []string{"DI"}}
		e.injects(&late, c, delayed)
		m = mixture{late, {p: 1 - d.Share}}
		if d.Share == 1 {
			m = m[:1]
		}
		e.because(c, "%s: %s of %v", d.Ref, share(d.Share), d.Fixed)
	}
	a := r.Abort
	if a == nil || a.Share == 0 {
		return m.then(func(before outcome) mixture { return behind(before, forward()) })
	}
	code := a.Status
	if code == 0 {
		return unknown("%s aborts with a status of gRPC", a.Ref)
	}
	e.because(c, "%s: %s with %d", a.Ref, share(a.Share), code)
	return m.then(func(before outcome) mixture {
		gone := answeredByProxy(code, "FI")
		e.injects(&gone, c, aborted)
		out := behind(before, certain(gone)).times(a.Share)
		if a.Share < 1 {
			out = append(out, behind(before, forward()).times(1-a.Share)...)
		}
		return out
	})
}

// behind is what follows an outcome that is only a beginning.
func behind(before outcome, m mixture) mixture {
	return m.each(func(o *outcome) {
		o.after(before)
		for _, f := range before.flags {
			o.flag(f)
		}
	})
}

// forward chooses the destination by weight and tries it.
func (e *evaluation) forward(c call, r *rules.Route) mixture {
	if r.Status != 0 {
		e.because(c, "%s answers %d", r.Ref, r.Status)
		return certain(answeredByProxy(r.Status))
	}
	var out mixture
	for _, d := range r.Destinations {
		if len(r.Destinations) > 1 {
			e.because(c, "%s: %s to %s", d.Ref, share(d.Share), d)
		} else if r.Spec != nil && (d.Subset != "" || len(r.Spec.GetMatch()) > 0) {
			e.because(c, "%s: all to %s", d.Ref, d)
		}
		cluster := e.model.Cluster(c.caller, d)
		switch {
		case cluster.Service == nil:
			e.because(c, "%s: no service is called %s", d.Ref, d.Host)
			out = append(out, certain(answeredByProxy(r.NoCluster, "NC")).times(d.Share)...)
		case cluster.Missing:
			e.because(c, "%s: no DestinationRule has the subset %s", d.Ref, d.Subset)
			out = append(out, certain(answeredByProxy(503, "NC")).times(d.Share)...)
		case cluster.Unknown != "":
			out = append(out, unknown("%s", cluster.Unknown).times(d.Share)...)
		case len(cluster.Workloads) == 0:
			e.because(c, "%s: %s has no pods", d.Ref, d)
			out = append(out, certain(answeredByProxy(503, "UH")).times(d.Share)...)
		default:
			out = append(out, e.attempts(c, r, cluster).times(d.Share)...)
		}
	}
	return out.merged()
}

// mirrors notes the copies that go out beside the request; whoever called does not notice them.
func (e *evaluation) mirrors(c call, r *rules.Route) {
	for _, d := range r.Mirrors {
		if c.caller.Proxy == rules.NoProxy || d.Share == 0 {
			continue
		}
		cluster := e.model.Cluster(c.caller, d)
		e.copies = append(e.copies, copies{c, r, d, cluster})
	}
}
