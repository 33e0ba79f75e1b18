package oracle

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"squall/internal/check"
	"squall/internal/rules"
)

// downstream predicts what reaches each service on the way, by its access log, and the faults that their callers' proxies inject.
func (p *printer) downstream() {
	if _, rest := p.mix.probability(func(outcome) bool { return true }); rest > 0 {
		return
	}
	keys := map[string]bool{}
	for _, o := range p.mix {
		for h := range o.hits {
			keys[strings.TrimPrefix(h.key, open)] = true
		}
	}
	services := map[string][]string{}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		what, rest, _ := strings.Cut(k, " ")
		name, version, _ := strings.Cut(rest, " ")
		switch {
		case what == "reached":
			services[name] = append(services[name], version)
		case what == "delays" || what == "aborts":
			p.count(fmt.Sprintf(`proxy(%s).counter("fault\\.%s_injected")`, spelled(name), what), k)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		p.reached(name, services[name])
	}
}

// servicesOf are the services that select a workload's pods, as the language of checks names them: the logs and counters of a pod are
// those of all of them. A name that two services share is left out, as it says of neither which pods are meant.
func (e *evaluation) servicesOf(namespace, workload string) []string {
	var out []string
	for _, s := range e.model.Services {
		alike := func(o *rules.Service) bool { return o != s && o.Name == s.Name && len(o.Workloads) > 0 }
		if selects(s, namespace, workload) && !slices.ContainsFunc(e.model.Services, alike) {
			out = append(out, s.Name)
		}
	}
	return out
}

func selects(s *rules.Service, namespace, workload string) bool {
	return slices.ContainsFunc(s.Workloads, func(w *rules.Workload) bool { return w.Namespace == namespace && w.Name == workload })
}

// injects counts a fault of the caller's proxy, under each service that its pods are of. The load's own are seen by its requests.
func (e *evaluation) injects(o *outcome, c call, key func(service string) string) {
	if c.from == "" {
		return
	}
	for _, s := range e.servicesOf(c.caller.Namespace, c.from) {
		o.hit(key(s))
	}
}

// means are those of a key's hits over the mixture.
type means struct {
	mean     float64
	constant bool // each outcome has as many
	most     int
	sure     bool // there are no others that may have happened
}

func (p *printer) expected(key string) means {
	out := means{constant: true, sure: true}
	first, _ := p.mix[0].count(key)
	for _, o := range p.mix {
		n, sure := o.count(key)
		out.mean += o.p * float64(n)
		out.constant = out.constant && n == first
		out.most = max(out.most, n)
		out.sure = out.sure && sure
	}
	return out
}

// count predicts a number of requests: exactly when each request makes as many, in bounds when it makes one or none.
func (p *printer) count(measure, key string) {
	n, e := p.e.req.Requests, p.expected(key)
	switch {
	case n == 0 || !e.sure:
	case e.constant:
		p.value(measure, float64(n)*e.mean, fmt.Sprintf("%d × %d requests", e.most, n))
	case e.most == 1:
		lo, hi := check.Accept(min(e.mean, 1), n, confidence)
		p.bounds(measure, float64(lo), float64(hi), share(e.mean)+fmt.Sprintf(" of %d requests", n))
	}
}

// reached predicts the split of a service's requests over its versions, and their number. Shares are told when each request makes
// at most one, or always the same versions; the shares of more requests are not independent of each other.
func (p *printer) reached(name string, versions []string) {
	if p.mirrored(name) {
		return
	}
	defer p.reasons(func(n note) bool { return n.to == name || n.from == "" })()
	p.count(fmt.Sprintf("access(%s).count", spelled(name)), total(name))
	split, sum, independent := map[string]float64{}, 0.0, true
	for _, v := range versions {
		e := p.expected(reached(name, v))
		if !e.sure {
			return
		}
		split[v] = e.mean
		sum += e.mean
		independent = independent && (e.constant || e.most <= 1)
	}
	for _, v := range versions {
		if v == "" || !independent && split[v] < sum-1e-12 {
			continue
		}
		p.value(fmt.Sprintf("access(%s, version == %q).ratio", spelled(name), v), split[v]/sum, "")
	}
}

// mirrored says whether a mirror sends copies to pods of the service.
func (p *printer) mirrored(name string) bool {
	return slices.ContainsFunc(p.e.copies, func(c copies) bool {
		return slices.ContainsFunc(c.cluster.Workloads, func(w *rules.Workload) bool {
			return slices.Contains(p.e.servicesOf(w.Namespace, w.Name), name)
		})
	})
}

// mirrorsTo is how many mirrors send copies to the workload.
func (p *printer) mirrorsTo(w *rules.Workload) (n int) {
	for _, c := range p.e.copies {
		if slices.Contains(c.cluster.Workloads, w) {
			n++
		}
	}
	return n
}

// mirrors predicts the copies of a mirror on the load's own route, when they go to pods that get nothing else.
func (p *printer) mirrors() {
	for _, c := range p.e.copies {
		s := c.cluster.Service
		n := p.e.req.Requests
		if s == nil || c.cluster.Missing || len(c.cluster.Workloads) != 1 || c.call.depth > 0 || n == 0 {
			continue
		}
		w := c.cluster.Workloads[0]
		got, rest := p.mix.probability(func(o outcome) bool {
			n, sure := o.count(reached(s.Name, w.Version()))
			return n > 0 || !sure
		})
		forwarded, _ := p.mix.probability(func(o outcome) bool { return !has(o, "FI") })
		named := slices.Contains(p.e.servicesOf(w.Namespace, w.Name), s.Name)
		if !w.Sidecar || w.Version() == "" || !named || got+rest > 0 || p.mirrorsTo(w) > 1 {
			continue
		}
		mean := c.to.Share * forwarded
		lo, hi := check.Accept(min(mean, 1), n, confidence)
		p.because = fmt.Sprintf("%s: copies of %s of the requests that are forwarded", c.to.Ref, share(c.to.Share))
		p.bounds(fmt.Sprintf("access(%s, version == %q).count", spelled(s.Name), w.Version()), float64(lo), float64(hi), "")
	}
}

// spelled is a service's name as checks take it: in quotes where it is more than letters, digits and underscores.
func spelled(name string) string {
	if regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(name) {
		return name
	}
	return strconv.Quote(name)
}
