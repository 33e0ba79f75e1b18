package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"squall/internal/check"
	"squall/internal/rules"
)

// confidence is that of bounds for a measured share: of 100,000 right predictions one is refused.
const confidence = 0.99999

// early is how much before its time an answer may seem to come, as clocks are read on both sides.
const early = 10 * time.Millisecond

// printer writes a mixture as predictions.
type printer struct {
	e       *evaluation
	mix     mixture
	because string
	items   []check.Prediction
	left    []string
}

func (p *printer) all() {
	if b := p.e.breaker; b != nil {
		p.shed(b)
		return
	}
	p.codes()
	p.flags()
	p.versions()
	p.latencies()
	p.attempts()
	p.downstream()
	p.mirrors()
}

// reasons narrows the reasons of what is predicted until the function that it returns is called.
func (p *printer) reasons(of func(note) bool) (back func()) {
	all := p.because
	p.because = p.e.why(of)
	return func() { p.because = all }
}

// ratio predicts the share of outcomes that fit.
func (p *printer) ratio(measure string, fits func(outcome) bool) {
	value, rest := p.mix.probability(fits)
	p.either(measure, value, rest)
}

// judged is ratio for what depends on the code or the latency.
func (p *printer) judged(measure string, fits func(outcome) bool) {
	value, rest := p.mix.judged(fits)
	p.either(measure, value, rest)
}

// either predicts a value when nothing is unknown, else bounds when the number of requests is known.
func (p *printer) either(measure string, value, rest float64) {
	if rest < 1e-12 {
		p.value(measure, value, "")
		return
	}
	n := p.e.req.Requests
	if n == 0 || rest > 1-1e-12 {
		return
	}
	lo, _ := check.Accept(value, n, confidence)
	_, hi := check.Accept(min(value+rest, 1), n, confidence)
	if lo == 0 && hi == n {
		return
	}
	p.bounds(measure, float64(lo)/float64(n), float64(hi)/float64(n), fmt.Sprintf("from %s to %s", share(value), share(value+rest)))
}

func (p *printer) value(measure string, v float64, formula string) {
	if v > 1-1e-12 && strings.Contains(measure, "ratio") {
		v = 1
	}
	p.items = append(p.items, check.Prediction{Measure: measure, Value: &v, Why: joined(p.because, formula)})
}

func (p *printer) bounds(measure string, lo, hi float64, formula string) {
	p.items = append(p.items, check.Prediction{Measure: measure, Lo: &lo, Hi: &hi, Why: joined(p.because, formula)})
}

func joined(why, formula string) string {
	if formula == "" {
		return why
	}
	return why + ": " + formula
}

// known are the outcomes that can be told.
func (p *printer) known() mixture {
	return slices.DeleteFunc(slices.Clone(p.mix), func(o outcome) bool { return o.unknown != "" })
}

// judgeable are the outcomes of which the code and the latency can be told.
func (p *printer) judgeable() mixture {
	return slices.DeleteFunc(p.known(), func(o outcome) bool { return o.own != "" })
}

// distinct are the values of the known outcomes, sorted.
func distinct[T int | string | time.Duration](m mixture, of func(outcome) T) []T {
	seen := map[T]bool{}
	for _, o := range m {
		seen[of(o)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// codes predicts each code's share, and that of no answer.
func (p *printer) codes() {
	for _, code := range distinct(p.judgeable(), func(o outcome) int { return o.code }) {
		measure := fmt.Sprintf("ratio(code == %d)", code)
		if code == 0 {
			measure = `ratio(error != "")`
		}
		p.judged(measure, func(o outcome) bool { return o.code == code })
	}
}

// flags predicts the response flags of the caller's proxy, where it has one.
func (p *printer) flags() {
	if p.e.req.Caller.Proxy != rules.Sidecar {
		return
	}
	all := map[string]bool{}
	for _, o := range p.known() {
		for _, f := range o.flags {
			all[f] = true
		}
	}
	for _, f := range slices.Sorted(maps.Keys(all)) {
		p.ratio(fmt.Sprintf("ratio(flag(%q))", f), func(o outcome) bool { return has(o, f) })
	}
}

// versions predicts which version answers, unless none has a name.
func (p *printer) versions() {
	if p.e.req.Caller.Proxy != rules.Sidecar || slices.ContainsFunc(p.mix, func(o outcome) bool { return o.version == untoldVersion }) {
		return
	}
	defer p.reasons(func(n note) bool { return n.from == "" })()
	for _, v := range distinct(p.known(), func(o outcome) string { return o.version }) {
		if v != "" {
			p.ratio(fmt.Sprintf("ratio(version == %q)", v), func(o outcome) bool { return o.version == v })
		}
	}
}

// latencies predicts how many answers are late, for times that are far enough from each other. Below half a second a busy machine
// can make any answer late, so that only the least share is told.
func (p *printer) latencies() {
	before := time.Duration(0)
	for _, l := range distinct(p.judgeable(), func(o outcome) time.Duration { return o.latency }) {
		if l-before < 2*early {
			continue
		}
		measure, far := fmt.Sprintf("ratio(latency >= %s)", l-early), l-before >= 500*time.Millisecond
		fits := func(o outcome) bool { return o.latency >= l-early }
		before = l
		if far {
			p.judged(measure, fits)
			continue
		}
		if least, _ := p.mix.judged(fits); p.e.req.Requests > 0 {
			lo, _ := check.Accept(least, p.e.req.Requests, confidence)
			p.bounds(measure, float64(lo)/float64(p.e.req.Requests), 1, "at least "+share(least))
		}
	}
}

// attempts predicts the retries that the caller's proxy makes.
func (p *printer) attempts() {
	counts := distinct(p.known(), func(o outcome) int { return o.attempts })
	if p.e.req.Caller.Proxy != rules.Sidecar || slices.Contains(counts, untold) || len(counts) == 0 || counts[len(counts)-1] < 2 {
		return
	}
	p.ratio("ratio(attempts > 1)", func(o outcome) bool { return o.attempts > 1 })
	if most := counts[len(counts)-1]; most > 2 {
		p.ratio(fmt.Sprintf("ratio(attempts == %d)", most), func(o outcome) bool { return o.attempts == most })
	}
}

// shed predicts what a circuit breaker leaves: how many it sheds depends on how long calls last, but some are served.
func (p *printer) shed(b *breaker) {
	n := p.e.req.Requests
	why := fmt.Sprintf("%s: %d calls at once, of which %d may wait", b.cluster.PoolRef, p.e.req.Connections, b.limits.pending)
	p.left = append(p.left, why+"; how many are shed depends on how long calls last")
	if len(p.mix) != 1 || p.mix[0].unknown+p.mix[0].own != "" {
		return
	}
	p.because = why
	code := p.mix[0].code
	p.value(fmt.Sprintf("ratio(code == %d || code == 503)", code), 1, "the others are shed with 503")
	if n > 0 && code != 503 {
		p.bounds("ratio(code == 503)", 0, 1-1/float64(n), "the first call is served")
	}
}
