package oracle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "istio.io/api/networking/v1"

	"squall/internal/rules"
)

// transport is the refusal of a connection by the modes of mutual TLS of both sides; nil when it is taken.
func (e *evaluation) transport(c call, cluster rules.Cluster, w *rules.Workload, target int) mixture {
	mode, ref := e.model.PeerMode(w, target)
	plain := c.caller.Proxy == rules.NoProxy
	if !plain && cluster.TLS != nil {
		switch cluster.TLS.GetMode() {
		case v1.ClientTLSSettings_DISABLE:
			plain = true
		case v1.ClientTLSSettings_ISTIO_MUTUAL:
			if !w.Sidecar || mode == rules.Disabled {
				e.because(c, "%s: mutual TLS with pods of %s that do not speak it", cluster.TLSRef, w.Name)
				return certain(outcome{code: 503, attempts: untold})
			}
		default:
			return unknown("%s is of mode %s", cluster.TLSRef, cluster.TLS.GetMode())
		}
	}
	if !plain || !w.Sidecar || mode != rules.Strict {
		return nil
	}
	e.because(c, "%s: %s takes no plain text", ref, w.Name)
	if c.caller.Proxy == rules.NoProxy {
		return certain(outcome{})
	}
	return certain(outcome{code: 503, attempts: untold})
}

// guard lets the workload's policies judge the request: first its token, then who may call.
func (e *evaluation) guard(c call, w *rules.Workload, target int, pass func() mixture) mixture {
	claims := rules.No
	if tokens := e.model.TokensOf(w); len(tokens) > 0 {
		var bad string
		claims, bad = e.token(c.req, tokens)
		if bad != "" {
			e.because(c, "%s: the token %s", tokens[0].Ref, bad)
			return certain(outcome{code: 401})
		}
	}
	access := rules.Access{Request: c.req, Target: target, Claims: claims}
	if access.Authority == "" {
		access.Authority = c.host
	}
	if mode, _ := e.model.PeerMode(w, target); c.caller.Proxy != rules.NoProxy && mode != rules.Disabled {
		access.Principal, access.Namespace = c.caller.Principal(), c.caller.Namespace
	}
	ok, ref := e.model.Authorized(w, access)
	switch {
	case ok == rules.No:
		e.because(c, "%s refuses the request", ref)
		return certain(outcome{code: 403})
	case ok == rules.Unknown:
		return unknown("whether %s lets the request to %s through is not known", ref, w.Name)
	case claims == rules.Unknown:
		return unknown("whether the token is valid for %s is not known", w.Name)
	}
	return pass()
}

// application is what the workload does by itself, as it declares.
func (e *evaluation) application(c call, w *rules.Workload) mixture {
	if e.isGateway(w) {
		return e.throughGateway(c, w)
	}
	b, err := behaviourOf(w)
	switch {
	case err != nil:
		return unknown("%v", err)
	case b == nil:
		return ownMatter(c, w)
	case e.req.Connections > crowd && e.breaker == nil:
		return certain(outcome{own: fmt.Sprintf("%d calls at once may be more than %s can answer", e.req.Connections, w.Name)})
	}
	return e.answer(c, w, b.at(c.req.Path))
}

// ownMatter is an answer of which nothing is known but that it comes from the workload.
func ownMatter(c call, w *rules.Workload) mixture {
	return certain(outcome{own: fmt.Sprintf("what %s answers to %s is its own matter; declare it in %s", w.Name, c.req.Path, Annotation)})
}

func (e *evaluation) isGateway(w *rules.Workload) bool {
	return slices.ContainsFunc(e.model.Gateways, func(g *rules.Gateway) bool { return slices.Contains(g.Workloads, w) })
}

// throughGateway is what the proxy of a gateway makes of a request by its Host header.
func (e *evaluation) throughGateway(c call, w *rules.Workload) mixture {
	host := c.req.Authority
	if host == "" {
		host = c.host
	}
	host, _, _ = strings.Cut(host, ":")
	next := c
	next.caller = rules.CallerOf(w)
	next.caller.Proxy = rules.GatewayProxy
	next.from, next.host, next.depth = w.Name, host, c.depth+1
	return e.route(next)
}

// answer follows a declaration: its own failures, its latency, and its calls.
func (e *evaluation) answer(c call, w *rules.Workload, a Answer) mixture {
	status := a.Status
	if status == 0 {
		status = 200
	}
	begin := outcome{code: status, latency: time.Duration(a.Latency)}
	if a.Undeclared {
		return ownMatter(c, w)
	}
	if a.Failure == 0 && len(a.Calls) == 0 {
		return certain(begin)
	}
	well := certain(begin)
	if a.Parallel {
		well = e.together(c, w, a, begin)
	} else {
		for i := range a.Calls {
			well = well.then(func(before outcome) mixture {
				if before.code != status { // a call before this one ended the answer
					before.p = 1
					return mixture{before}
				}
				return e.ask(c, w, a.Calls[i]).each(func(o *outcome) { o.code = answered(a.Calls[i], *o, status); o.after(before) })
			})
		}
	}
	if a.Failure == 0 {
		return well
	}
	e.because(c, "%s declares that it fails %s", w.Name, share(a.Failure))
	failing := begin
	failing.code = a.FailureStatus
	if failing.code == 0 {
		failing.code = 500
	}
	return append(certain(failing).times(a.Failure), well.times(1-a.Failure)...).merged()
}

// together makes all calls at once: the answer waits for the last.
func (e *evaluation) together(c call, w *rules.Workload, a Answer, begin outcome) mixture {
	out := certain(begin)
	for i := range a.Calls {
		out = out.then(func(before outcome) mixture {
			return e.ask(c, w, a.Calls[i]).each(func(o *outcome) {
				code := answered(a.Calls[i], *o, begin.code)
				if before.code != begin.code {
					code = before.code
				}
				o.latency = max(before.latency, begin.latency+o.latency)
				o.begin(before, begin.latency)
				o.code = code
			})
		})
	}
	return out
}

// answered is the code that an application answers after a call.
func answered(k Call, o outcome, status int) int {
	if o.failed() && k.OnError != 0 {
		return int(k.OnError)
	}
	return status
}

// ask makes one call until it succeeds or has no tries left. Only its latency, whether it failed and its hits go on.
func (e *evaluation) ask(c call, w *rules.Workload, k Call) mixture {
	next := call{
		caller: rules.CallerOf(w), from: w.Name, host: k.Host, port: k.Port, signIn: c.signIn, depth: c.depth + 1,
		req: rules.Request{Method: k.Method, Path: k.Path, Headers: map[string]string{}},
	}
	if next.req.Method == "" {
		next.req.Method = "GET"
	}
	for _, name := range k.Forwards {
		for have, value := range c.req.Headers {
			if strings.EqualFold(have, name) {
				next.req.Headers[name] = value
			}
		}
	}
	for name, field := range k.SignIn {
		if value := c.signIn[field]; value != "" {
			next.req.Headers[name] = value
		}
	}
	once := e.route(next).needed().then(func(o outcome) mixture { return e.patience(k, w, o) })
	out := once
	for try := 1; try < max(k.Tries, 1); try++ {
		out = out.then(func(before outcome) mixture {
			if !before.failed() {
				before.p = 1
				return mixture{before}
			}
			return once.each(func(o *outcome) { o.after(before) })
		})
	}
	return out.each(func(o *outcome) { o.version, o.attempts, o.flags = "", 0, nil })
}

// patience gives an answer up that comes after the call's own timeout.
func (e *evaluation) patience(k Call, w *rules.Workload, o outcome) mixture {
	limit := time.Duration(k.Timeout)
	o.p = 1
	switch slack := min(near, limit/2); {
	case limit == 0 || o.latency <= limit-slack && limit >= quick:
		return mixture{o}
	case o.latency < limit+slack/2:
		return unknown("%s waits %v for %s, too close to what an answer takes for telling which is first", w.Name, limit, k.Host)
	}
	return certain(outcome{latency: limit, hits: o.until(limit)})
}
