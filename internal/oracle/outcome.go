package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// outcome is one way in which a request may end, with its probability.
type outcome struct {
	p float64
	// code is the status that the caller gets; 0 is no answer.
	code int
	// latency is what the rules and declarations add to what an answer takes anyway.
	latency time.Duration
	// version is the label of the pod that answered; "" when a proxy on the caller's side did, or the pod has none.
	version string
	// attempts is how often the caller's proxy sent the request.
	attempts int
	// flags are the response flags of the caller's proxy.
	flags []string
	// hits are the requests that came to workloads on the way, and the faults that were injected.
	hits map[hit]int
	// own is why the code and the latency are the application's own matter and not known; all else is.
	own string
	// unknown is why this part of the mixture cannot be told; then nothing else but p counts.
	unknown string
}

// hit is something that happened at a time after the request began.
type hit struct {
	key string
	at  time.Duration
}

// open marks the key of a hit of which it is not known whether it happened.
const open = "open "

// mixture is a set of outcomes whose probabilities sum to 1.
type mixture []outcome

// untold stands for attempts that are not known, and untoldVersion for a version.
const (
	untold        = -1
	untoldVersion = "?"
)

// maxOutcomes bounds a mixture; what is beyond is unknown.
const maxOutcomes = 2000

func certain(o outcome) mixture {
	o.p = 1
	return mixture{o}
}

func unknown(format string, args ...any) mixture {
	return certain(outcome{unknown: fmt.Sprintf(format, args...)})
}

// times is the mixture with each probability multiplied.
func (m mixture) times(p float64) mixture {
	if p <= 0 {
		return nil
	}
	out := slices.Clone(m)
	for i := range out {
		out[i].p *= p
	}
	return out
}

// then replaces each known outcome by what follows it.
func (m mixture) then(next func(outcome) mixture) mixture {
	var out mixture
	for _, o := range m {
		if o.unknown != "" {
			out = append(out, o)
			continue
		}
		out = append(out, next(o).times(o.p)...)
	}
	return out.merged()
}

// each changes every known outcome, whose hits are a copy.
func (m mixture) each(change func(*outcome)) mixture {
	out := slices.Clone(m)
	for i := range out {
		if out[i].unknown == "" {
			out[i].hits = maps.Clone(out[i].hits)
			out[i].flags = slices.Clone(out[i].flags)
			change(&out[i])
		}
	}
	return out.merged()
}

// merged puts equal outcomes together and keeps their order.
func (m mixture) merged() mixture {
	at := map[string]int{}
	var out mixture
	rest := 0.0
	for _, o := range m {
		key := o.key()
		if i, ok := at[key]; ok {
			out[i].p += o.p
			continue
		}
		if len(out) >= maxOutcomes {
			rest += o.p
			continue
		}
		at[key] = len(out)
		out = append(out, o)
	}
	if rest > 0 {
		out = append(out, outcome{p: rest, unknown: "there are too many ways in which it may end"})
	}
	return out
}

func (o outcome) key() string {
	if o.unknown != "" {
		return "?" + o.unknown
	}
	var b strings.Builder
	fmt.Fprint(&b, o.own, o.code, o.latency, o.version, "/", o.attempts, o.flags)
	for _, h := range slices.SortedFunc(maps.Keys(o.hits), func(x, y hit) int {
		return cmp.Or(strings.Compare(x.key, y.key), cmp.Compare(x.at, y.at))
	}) {
		fmt.Fprint(&b, h.key, h.at, "=", o.hits[h], ";")
	}
	return b.String()
}

// failed says whether an application takes the outcome for an error.
func (o outcome) failed() bool { return o.code == 0 || o.code >= 400 }

func (o *outcome) flag(f string) {
	if !slices.Contains(o.flags, f) {
		o.flags = append(slices.Clone(o.flags), f)
		slices.Sort(o.flags)
	}
}

// hit counts a request or fault at the beginning.
func (o *outcome) hit(key string) {
	if o.hits == nil {
		o.hits = map[hit]int{}
	}
	o.hits[hit{key, 0}]++
}

// count is how often something happened; sure is false when it may have happened more often.
func (o outcome) count(key string) (n int, sure bool) {
	sure = true
	for h, times := range o.hits {
		if h.key == key {
			n += times
		}
		sure = sure && h.key != open+key
	}
	return n, sure
}

// after adds what happened before the outcome: its latency and hits.
func (o *outcome) after(before outcome) {
	o.begin(before, before.latency)
	o.latency += before.latency
}

// begin lets the outcome's hits happen that much later, and adds those from before.
func (o *outcome) begin(before outcome, later time.Duration) {
	all := maps.Clone(before.hits)
	if all == nil {
		all = map[hit]int{}
	}
	for h, n := range o.hits {
		all[hit{h.key, h.at + later}] += n
	}
	o.hits = all
}

// until are the hits of an outcome that is given up after a time. What would have happened later may happen or not: an application
// may notice that nobody waits any more.
func (o outcome) until(limit time.Duration) map[hit]int {
	out := map[hit]int{}
	for h, n := range o.hits {
		if h.at >= limit && !strings.HasPrefix(h.key, open) {
			h.key = open + h.key
		}
		out[hit{h.key, min(h.at, limit)}] += n
	}
	return out
}

// probability is the share of the outcomes that fit, and the share of which it is not known.
func (m mixture) probability(fits func(outcome) bool) (p, rest float64) {
	for _, o := range m {
		switch {
		case o.unknown != "":
			rest += o.p
		case fits(o):
			p += o.p
		}
	}
	return min(p, 1), min(rest, 1)
}

// judged is probability for what depends on the code or the latency, which may be the application's own matter.
func (m mixture) judged(fits func(outcome) bool) (p, rest float64) {
	for _, o := range m {
		switch {
		case o.unknown != "" || o.own != "":
			rest += o.p
		case fits(o):
			p += o.p
		}
	}
	return min(p, 1), min(rest, 1)
}

// needed makes outcomes of which the code or latency is an application's own matter unknown, for what goes on from there.
func (m mixture) needed() mixture {
	return m.then(func(o outcome) mixture {
		if o.own != "" {
			return unknown("%s", o.own)
		}
		o.p = 1
		return mixture{o}
	})
}

// reasons are why parts are unknown, each once.
func (m mixture) reasons() []string {
	var out []string
	for _, o := range m {
		for _, why := range []string{o.unknown, o.own} {
			if why != "" && !slices.Contains(out, why) {
				out = append(out, why)
			}
		}
	}
	return out
}
