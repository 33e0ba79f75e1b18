package oracle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"squall/internal/rules"
)

// attempts is what a cluster answers, with the retries and the timeout of the route.
func (e *evaluation) attempts(c call, r *rules.Route, cluster rules.Cluster) mixture {
	if why := e.shedding(c, cluster); why != "" {
		return unknown("%s", why)
	}
	once := e.attempt(c, r, cluster)
	if c.caller.Proxy != rules.NoProxy && (r.Timeout > 0 || r.Retries.PerTry > 0 || r.Retries.Answers()) || cluster.Outlier != nil {
		once = once.needed()
	}
	if why := e.ejecting(cluster, once); why != "" {
		return unknown("%s", why)
	}
	if c.caller.Proxy == rules.NoProxy {
		return once
	}
	all := e.retry(c, r, cluster, once)
	if r.Timeout == 0 {
		return all
	}
	return all.then(func(o outcome) mixture { return e.cut(c, r, o) })
}

// ejecting is why pods of the cluster may be out while the load runs, or "".
func (e *evaluation) ejecting(cluster rules.Cluster, once mixture) string {
	if cluster.Outlier == nil {
		return ""
	}
	host := cluster.Service.Host
	if failed, open := once.probability(func(o outcome) bool { return o.code >= 500 || o.code == 0 }); failed+open > 0 {
		if !slices.Contains(e.ejects, host) {
			e.ejects = append(e.ejects, host)
		}
		return fmt.Sprintf("%s ejects pods that fail, so that the shares change", cluster.OutlierRef)
	}
	if slices.Contains(e.req.Ejected, host) {
		return fmt.Sprintf("%s may still keep pods out that failed under an earlier load", cluster.OutlierRef)
	}
	return ""
}

// retry makes the attempts one after the other. Each is drawn anew, which holds as long as all pods fail alike: a retry goes to
// another pod when there is one.
func (e *evaluation) retry(c call, r *rules.Route, cluster rules.Cluster, once mixture) mixture {
	again, _ := once.probability(func(o outcome) bool { return e.again(r, o) })
	if again == 0 || r.Retries.Attempts == 0 {
		return once
	}
	if rules.Pods(cluster.Workloads) > 1 && len(cluster.Workloads) > 1 {
		return unknown("%s tries another pod of %s, and they do not fail alike", r.Retries.Ref, cluster.Service.Name)
	}
	if cluster.Pool.GetHttp().GetMaxRetries() > 0 {
		return unknown("%s bounds the retries under way", cluster.PoolRef)
	}
	e.because(c, "%s: %d more after a failure of %s", r.Retries.Ref, r.Retries.Attempts, share(again))
	out := once
	for n := 1; n <= r.Retries.Attempts; n++ {
		last := n == r.Retries.Attempts
		out = out.then(func(before outcome) mixture {
			if before.attempts != n || !e.again(r, before) {
				before.p = 1
				return mixture{before}
			}
			return once.each(func(o *outcome) {
				o.hit(retried(c.from, cluster.Service.Host))
				o.after(before)
				o.attempts = n + 1
				if last && e.again(r, *o) {
					o.flag("URX")
				}
			})
		})
	}
	return out
}

// again says whether the proxy retries after the outcome of one attempt.
func (e *evaluation) again(r *rules.Route, o outcome) bool {
	switch {
	case o.unknown != "":
		return false
	case o.code == 504 && has(o, "UT"):
		return r.Retries.Has("5xx", "gateway-error", "reset")
	case o.code == 503 && has(o, "UF"):
		return r.Retries.Has("5xx", "gateway-error", "reset", "connect-failure")
	}
	return r.Retries.Retried(o.code)
}

func has(o outcome, flag string) bool {
	for _, f := range o.flags {
		if f == flag {
			return true
		}
	}
	return false
}

// cut applies the route's timeout, which holds over all attempts.
func (e *evaluation) cut(c call, r *rules.Route, o outcome) mixture {
	limit := r.Timeout
	switch slack := min(near, limit/2); {
	case o.latency == 0 && limit < quick, o.latency > limit-slack && o.latency < limit+slack/2 && o.latency != 0:
		return unknown("%s is %v, too close to what an answer takes anyway for telling which is first", r.TimeoutRef, limit)
	case o.latency < limit:
		o.p = 1
		return mixture{o}
	}
	e.because(c, "%s: an answer after %v is cut off at %v", r.TimeoutRef, o.latency, limit)
	gone := outcome{code: 504, latency: limit, attempts: o.attempts, flags: []string{"UT"}, hits: o.until(limit)}
	if o.attempts > 1 {
		return unknown("%s cuts off while retries are under way", r.TimeoutRef)
	}
	return certain(gone)
}

// attempt is one try: a pod is chosen, its policies judge the request, and its application answers.
func (e *evaluation) attempt(c call, r *rules.Route, cluster rules.Cluster) mixture {
	spread := cluster.Spread(c.caller)
	if len(spread.Groups) == 0 && spread.Unknown == "" {
		e.because(c, "%s: %s, where %s has no pods", spread.Ref, spread.Text, cluster.Service.Name)
		return certain(answeredByProxy(503, "UH"))
	}
	if spread.Unknown != "" {
		spread.Groups = []rules.Group{{Workloads: cluster.Workloads, Share: 1}}
	}
	if !spread.Ref.IsZero() {
		e.because(c, "%s: %s", spread.Ref, spread.Text)
	}
	var out mixture
	for _, g := range spread.Groups {
		out = append(out, e.among(c, r, cluster, g).times(g.Share)...)
	}
	if spread.Unknown != "" && !alike(out) {
		return e.blend(out, spread.Unknown)
	}
	return out.merged()
}

// among is an attempt at one of the pods of a group.
func (e *evaluation) among(c call, r *rules.Route, cluster rules.Cluster, g rules.Group) mixture {
	total := float64(rules.Pods(g.Workloads))
	var out mixture
	for _, w := range g.Workloads {
		out = append(out, e.at(c, r, cluster, w).times(float64(w.Replicas)/total)...)
	}
	if why := e.unevenly(c, cluster, g); why != "" && !alike(out) {
		return e.blend(out, why)
	}
	if len(g.Workloads) > 1 && c.caller.Proxy != rules.NoProxy {
		e.because(c, "%s: %d pods of %s take turns", cluster.BalancerRef, int(total), cluster.Service.Name)
	}
	return out.merged()
}

// alike says whether it makes no difference which of the outcomes it is, but for the latency that nobody declared.
func alike(m mixture) bool { return len(m.merged()) == 1 }

// blend is what holds whichever of the pods answers, where their shares are not known.
func (e *evaluation) blend(m mixture, why string) mixture {
	first := m[0]
	for _, o := range m {
		if o.unknown != "" || o.own != first.own || o.code != first.code || o.latency != first.latency || !slices.Equal(o.flags, first.flags) {
			return unknown("%s", why)
		}
	}
	if !slices.Contains(e.left, why) {
		e.left = append(e.left, why)
	}
	all := map[hit]int{}
	for _, o := range m {
		for h := range o.hits {
			if strings.HasPrefix(h.key, open) || slices.ContainsFunc(m, func(x outcome) bool { return x.hits[h] != o.hits[h] }) {
				all[hit{open + strings.TrimPrefix(h.key, open), h.at}] = 1
			} else {
				all[h] = o.hits[h]
			}
		}
	}
	first.version, first.hits = untoldVersion, all
	return certain(first)
}

// unevenly is why the pods of a group may not get equal shares, or "".
func (e *evaluation) unevenly(c call, cluster rules.Cluster, g rules.Group) string {
	name := cluster.Service.Name
	switch {
	case len(g.Workloads) < 2:
		return ""
	case c.caller.Proxy == rules.NoProxy:
		return "without a proxy, pods of " + name + " are chosen once a connection"
	case cluster.Balancer.GetConsistentHash() != nil || cluster.Balancer.GetWarmup() != nil:
		return fmt.Sprintf("%s does not spread requests evenly", cluster.BalancerRef)
	}
	switch algorithm := cluster.Balancer.GetSimple().String(); algorithm {
	case "ROUND_ROBIN", "RANDOM":
		return ""
	case "UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN":
		if e.req.Connections != 1 {
			return fmt.Sprintf("%s prefers the pod of %s with the fewest requests under way, so that faster ones get more", cluster.BalancerRef, name)
		}
		return ""
	default:
		return fmt.Sprintf("%s is %s", cluster.BalancerRef, algorithm)
	}
}

// at is what one workload makes of a request.
func (e *evaluation) at(c call, r *rules.Route, cluster rules.Cluster, w *rules.Workload) mixture {
	target := 0
	if p, ok := cluster.Service.Port(cluster.Port); ok {
		target = p.Target
	}
	if refusal := e.transport(c, cluster, w, target); refusal != nil {
		return refusal
	}
	m := e.guard(c, w, target, func() mixture { return e.application(c, w) })
	m = m.each(func(o *outcome) {
		o.version, o.attempts, o.flags = w.Version(), 1, nil
		if c.caller.Proxy == rules.NoProxy {
			o.attempts = 0
		}
		if w.Sidecar && !e.isGateway(w) {
			for _, s := range e.servicesOf(w.Namespace, w.Name) {
				o.hit(reached(s, w.Version()))
				o.hit(total(s))
			}
		}
	})
	perTry := r.Retries.PerTry
	if perTry == 0 || c.caller.Proxy == rules.NoProxy {
		return m
	}
	return m.then(func(o outcome) mixture { return e.cutTry(c, r, o, perTry) })
}

// cutTry applies the timeout of one attempt.
func (e *evaluation) cutTry(c call, r *rules.Route, o outcome, limit time.Duration) mixture {
	slack := min(near, limit/2)
	switch {
	case o.latency == 0 && limit < quick, o.latency != 0 && o.latency > limit-slack && o.latency < limit+slack/2:
		return unknown("%s.perTryTimeout is %v, too close to what an answer takes for telling which is first", r.Retries.Ref, limit)
	case o.latency < limit:
		o.p = 1
		return mixture{o}
	}
	e.because(c, "%s: a try is given up after %v", r.Retries.Ref.At(".perTryTimeout"), limit)
	return certain(outcome{code: 504, latency: limit, attempts: 1, flags: []string{"UT"}, hits: o.until(limit)})
}
