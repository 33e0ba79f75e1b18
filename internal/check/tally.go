package check

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"squall/internal/record"
)

// maxClasses bounds what is remembered of predicates; beyond it they are evaluated request by request.
const maxClasses = 1 << 14

// tally is what one predicate found.
type tally struct {
	pred      *predicate
	latencies bool // whether to keep them
	response  bool // they count from when the calls were meant to start

	n, k, unknown int64
	why           string // of the first unknown
	sum           float64
	least, most   float64
	lat           []float64
}

// add counts one request or entry.
func (t *tally) add(v Verdict, why string, latency float64) {
	t.n++
	switch v {
	case Fail:
		return
	case Inconclusive:
		t.unknown++
		if t.why == "" {
			t.why = why
		}
		return
	}
	if t.k == 0 || latency < t.least {
		t.least = latency
	}
	if t.k == 0 || latency > t.most {
		t.most = latency
	}
	t.k++
	t.sum += latency
	if t.latencies {
		t.lat = append(t.lat, latency)
	}
}

// sorted are the latencies in order. It sorts them in place, once.
func (t *tally) sorted() []float64 {
	if !slices.IsSorted(t.lat) {
		slices.Sort(t.lat)
	}
	return t.lat
}

// class is all that most predicates depend on; requests of one class have one outcome.
type class struct {
	code, attempts                                   int
	joined                                           bool
	flags, version, err, route, pod, upstream, found string
}

// outcome is a remembered answer.
type outcome struct {
	verdict Verdict
	why     string
}

// counter makes the tallies of many predicates in one pass over requests.
type counter struct {
	tallies []*tally
	byKey   map[string]*tally
	classes map[class][]outcome
	vars    sampleVars
}

func newCounter() *counter {
	return &counter{byKey: map[string]*tally{}, classes: map[class][]outcome{}}
}

// want asks for a measure's tally. All are asked for before the first request.
func (c *counter) want(m *measure) {
	key := m.tallyKey()
	t := c.byKey[key]
	if t == nil {
		t = &tally{pred: m.pred, response: m.response}
		c.byKey[key] = t
		c.tallies = append(c.tallies, t)
	}
	t.latencies = t.latencies || m.needsLatencies()
}

func (c *counter) tally(m *measure) *tally { return c.byKey[m.tallyKey()] }

// observe counts a request for each predicate.
func (c *counter) observe(s *record.Sample) {
	c.vars.s = s
	remembered := c.remembered(s)
	for i, t := range c.tallies {
		if t.pred == nil {
			t.add(Pass, "", t.time(s))
			continue
		}
		if remembered == nil || t.pred.each {
			o := c.ask(t.pred)
			t.add(o.verdict, o.why, t.time(s))
			continue
		}
		t.add(remembered[i].verdict, remembered[i].why, t.time(s))
	}
}

// remembered are the outcomes for a request's class, or nil when there are too many classes.
func (c *counter) remembered(s *record.Sample) []outcome {
	k := class{
		code: s.Code, attempts: s.Attempts, joined: s.Joined, version: s.Answered, err: s.Error, route: s.Route, pod: s.Pod,
		upstream: presence(s.Upstream), found: s.Found,
	}
	switch len(s.Flags) {
	case 0:
	case 1:
		k.flags = s.Flags[0]
	default:
		k.flags = strings.Join(s.Flags, ",")
	}
	outcomes, ok := c.classes[k]
	if ok || len(c.classes) >= maxClasses {
		return outcomes
	}
	outcomes = make([]outcome, len(c.tallies))
	for i, t := range c.tallies {
		if t.pred != nil && !t.pred.each {
			outcomes[i] = c.ask(t.pred)
		}
	}
	c.classes[k] = outcomes
	return outcomes
}

func presence(s string) string {
	if s == "" {
		return ""
	}
	return "known"
}

func (c *counter) ask(p *predicate) outcome {
	v, err := p.holds(&c.vars)
	if err == nil {
		return outcome{verdict: v}
	}
	if why, ok := unjoined(err); ok {
		return outcome{why: why}
	}
	if c.vars.noAnswer() && slices.Contains(p.uses, "code") {
		return outcome{why: `they got no answer, so that they have no code above or below another; say with error == "" or error != "" what they count as`}
	}
	return outcome{why: err.Error()}
}

// unjoined says which variable had no value.
func unjoined(err error) (string, bool) {
	name, ok := strings.CutPrefix(err.Error(), "no such attribute(s): ")
	if name == "finds" {
		return "nothing was looked for in their answers, or they have no whole one, or it is too big", ok
	}
	if key, missing := strings.CutPrefix(err.Error(), "no such key: "); missing {
		return fmt.Sprintf("the load does not look for %q: write it into its find", key), true
	}
	return "no access log entry gives their " + name, ok
}

// sampleVars are the variables of a request. What only the access log knows has no value for a request that is not in
// it; CEL then decides the predicate without it or says that it cannot.
type sampleVars struct{ s *record.Sample }

var _ cel.Activation = (*sampleVars)(nil)

func (v *sampleVars) Parent() cel.Activation { return nil }

func (v *sampleVars) ResolveName(name string) (any, bool) {
	switch name {
	case "code":
		if v.noAnswer() {
			return noCode{}, true
		}
		return v.s.Code, true
	case timeLatency:
		return v.s.Latency, true
	case timeResponse:
		return v.s.Latency + v.s.Late, true
	case timeLate:
		return v.s.Late, true
	case "error":
		return v.s.Error, true
	case "start":
		return v.s.Start, true
	case "conn":
		return v.s.Conn, true
	case "version":
		return v.s.Answered, v.versionKnown()
	case "flags":
		return v.s.Flags, v.s.Joined
	case "route":
		return v.s.Route, v.s.Joined
	case "pod":
		return v.s.Pod, v.s.Joined && (v.s.Pod != "" || v.s.Upstream == "")
	case "attempts":
		return v.s.Attempts, v.s.Joined
	case "finds":
		return finds(v.s.Found)
	default:
		return nil, false
	}
}

// noAnswer says whether the request has no code.
func (v *sampleVars) noAnswer() bool { return v.s.Code == 0 && v.s.Error != "" }

// noCode is CEL's value of the code of a request without an answer. It equals no code, and whether it is above or below
// one is an error, so that ratio(code >= 500) does not take a refused connection for a good answer.
type noCode struct{ types.Double }

func (noCode) Compare(ref.Val) ref.Val { return types.NewErr("no code") }

func (noCode) Equal(ref.Val) ref.Val { return types.False }

// versionKnown says whether the version that answered is known: a request that no pod answered has none, and that too
// is known.
func (v *sampleVars) versionKnown() bool {
	switch {
	case v.s.Answered != "":
		return true
	case v.s.Joined:
		return v.s.Upstream == "" || v.s.Pod != ""
	default:
		return v.s.Error != ""
	}
}

// accessVars are the variables of an access log entry of a pod with this version label.
type accessVars struct {
	a       *record.Access
	version string
}

var _ cel.Activation = (*accessVars)(nil)

func (v *accessVars) Parent() cel.Activation { return nil }

func (v *accessVars) ResolveName(name string) (any, bool) {
	switch name {
	case "code":
		return v.a.Code, true
	case "path":
		return v.a.Path, true
	case "method":
		return v.a.Method, true
	case "version":
		return v.version, true
	case "authority":
		return v.a.Authority, true
	case "flags":
		return splitFlags(v.a.Flags), true
	case "route":
		return v.a.Route, true
	case "principal":
		return v.a.Principal, true
	case "duration":
		return v.a.Duration / 1000, !math.IsNaN(v.a.Duration)
	case "attempts":
		return v.a.Attempts, true
	case "details":
		return v.a.Details, true
	default:
		return nil, false
	}
}

// splitFlags takes Envoy's flags apart; "-" is none.
func splitFlags(flags string) []string {
	if flags == "" || flags == "-" {
		return nil
	}
	return strings.Split(flags, ",")
}
