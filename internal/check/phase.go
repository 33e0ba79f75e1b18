package check

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"squall/internal/record"
)

// Records is what a verdict rests on; *record.Run has it. A file that is not there is an error that is fs.ErrNotExist.
type Records interface {
	Samples(phase string) iter.Seq2[record.Sample, error]
	Access(phase, pod string) iter.Seq2[record.Access, error]
	Stats(phase, pod, when string) (record.Stats, error) // when is "before" or "after"
	PhaseProxies(phase string) ([]record.Proxy, error)
	Load(phase string) (record.Load, error)
	Usage(phase string, when record.When) ([]record.PodUsage, error)
	Effects(phase string) ([]record.Effect, error)
	Traffic(phase string) (record.Traffic, error)
	FlowControl(phase string, when record.When) ([]record.FlowControl, error)
}

// phase reads one phase's measures. All measures are wanted before the first is read, so that one pass over the
// requests and one over each access log is enough.
type phase struct {
	records   Records
	name      string
	namespace string

	load    record.Load
	loadErr error

	proxies    []record.Proxy
	proxiesErr error

	samples    *counter
	samplesErr error
	sampled    bool
	entries    map[string]*entrySet
	stats      map[string]snapshot

	recorded    record.Traffic
	trafficErr  error
	trafficRead bool
}

func newPhase(r Records, name, namespace string) *phase {
	p := &phase{
		records: r, name: name, namespace: namespace, samples: newCounter(), entries: map[string]*entrySet{},
		stats: map[string]snapshot{},
	}
	p.load, p.loadErr = r.Load(name)
	p.proxies, p.proxiesErr = r.PhaseProxies(name)
	return p
}

// want prepares for a measure.
func (p *phase) want(m *measure) {
	switch {
	case m.ofSamples():
		p.samples.want(m)
	case m.ofEntries():
		p.wantEntries(m)
	}
}

// read gives a measure's value, with an interval where confidence is not 0.
func (p *phase) read(m *measure, confidence float64) reading {
	if why := p.notRun(); why != "" {
		return absent("load of "+p.name, "%s", why)
	}
	switch m.kind {
	case mLoad:
		return p.ofLoad(m)
	case mCPU, mMemory:
		return p.ofUsage(m)
	case mEffect:
		return p.ofEffects(m)
	case mFlow:
		return p.ofFlow(m)
	case mCounter, mGauge:
		return p.ofStats(m)
	case mEntries, mEntriesRatio:
		return p.ofEntries(m, confidence)
	case mCopies:
		return p.ofCopies(m)
	case mRecorded, mRecordedRatio:
		return p.ofRecorded(m, confidence)
	case mOrigins:
		return p.ofOrigins(m)
	default:
		return p.ofSamples(m, confidence)
	}
}

// notRun says why the phase has no data at all, or "".
func (p *phase) notRun() string {
	switch {
	case errors.Is(p.loadErr, fs.ErrNotExist):
		return fmt.Sprintf("the load of %s did not run to its end: there is no record of it", p.name)
	case p.loadErr != nil:
		return fmt.Sprintf("the load of %s is not known: %v", p.name, p.loadErr)
	case p.load.Lost != "":
		return fmt.Sprintf("the load of %s shows nothing: %s", p.name, p.load.Lost)
	case p.load.Count == 0:
		return fmt.Sprintf("no request of %s was finished", p.name)
	default:
		return ""
	}
}

func (p *phase) ofLoad(m *measure) reading {
	const source = "the load generator"
	n := p.load.Count
	switch m.field {
	case "count":
		return exact(float64(n), n, source)
	case "qps":
		return exact(p.load.QPS, n, source)
	case "askedQps":
		return exact(p.load.AskedQPS, n, source)
	case "seconds":
		return exact(p.load.Seconds, n, source)
	case "connections":
		return exact(float64(p.load.Connections), n, source)
	case "workers":
		return exact(float64(max(1, len(p.load.Workers))), n, source)
	case "skew":
		return p.skew(source)
	default:
		return absent(source, "load has no %q", m.field)
	}
}

// skew is the largest of the workers' rates over the smallest.
func (p *phase) skew(source string) reading {
	skew, ok := p.load.Skew(func(w record.WorkerLoad) float64 { return w.QPS })
	if !ok {
		return absent(source, "a worker made no call, or only one worker made any, so that there is no ratio of their rates")
	}
	return exact(skew, p.load.Count, source)
}

// collect makes the one pass over the client's requests.
func (p *phase) collect() {
	if p.sampled {
		return
	}
	p.sampled = true
	var n int64
	for s, err := range p.records.Samples(p.name) {
		if err != nil {
			p.samplesErr = fmt.Errorf("after %s of %s requests: %w", thousands(n), thousands(p.load.Count), err)
			return
		}
		n++
		p.samples.observe(&s)
	}
	if n != p.load.Count {
		p.samplesErr = fmt.Errorf("there are records of %s requests, and %s were made", thousands(n), thousands(p.load.Count))
	}
}

func (p *phase) ofSamples(m *measure, confidence float64) reading {
	const source = "client records"
	if m.needsSchedule() && !p.load.Scheduled {
		return absent(source, "the load of %s had no times at which its calls were meant to start: give it a qps, without noCatchUp", p.name)
	}
	p.collect()
	if p.samplesErr != nil {
		return absent(source, "the client's records are incomplete: %v", p.samplesErr)
	}
	if m.pred.needsJoin() && p.load.Complete != "ok" {
		return absent(source, "%s", p.incomplete())
	}
	t := p.samples.tally(m)
	if t.unknown > 0 {
		r := absent(source, "not known of %s of %s requests: %s", thousands(t.unknown), thousands(t.n), t.why)
		r.n = t.n
		return r
	}
	r := t.read(m, confidence, p.load.Seconds)
	r.source = source
	return r
}

// incomplete says what the access logs lack.
func (p *phase) incomplete() string {
	if p.load.Complete == "" {
		return "the access logs were not compared with the proxies' counters"
	}
	return "the access logs are incomplete: " + p.load.Complete
}

// read computes a measure of requests.
func (t *tally) read(m *measure, confidence, seconds float64) reading {
	switch m.kind {
	case mCount:
		return exact(float64(t.k), t.n, "")
	case mRate:
		if !(seconds > 0) {
			return absent("", "the load took no time")
		}
		return exact(float64(t.k)/seconds, t.n, "")
	case mRatio:
		return t.share("request", confidence)
	}
	if t.k == 0 {
		return absent("", "none of %s requests matches", thousands(t.n))
	}
	switch m.kind {
	case mMean:
		// Rounding must not carry the mean of equal values past them.
		return exact(min(max(t.sum/float64(t.k), t.least), t.most), t.k, "")
	case mMin:
		return exact(t.least, t.k, "")
	case mMax:
		return exact(t.most, t.k, "")
	default:
		return percentileReading(t.sorted(), m.q, confidence)
	}
}

// share is how many of all match. Of none there is no share.
func (t *tally) share(of string, confidence float64) reading {
	if t.n == 0 {
		return absent("", "no %s", of)
	}
	r := exact(float64(t.k)/float64(t.n), t.n, "")
	r.k = t.k
	if confidence > 0 {
		r.confidence = confidence
		r.lo, r.hi, r.method = ratioInterval(t.k, t.n, confidence)
	}
	return r
}

// pods are the proxies of a set, or why they are not known. A load without a proxy of its own has none but others.
func (p *phase) pods(set podSet) ([]record.Proxy, string) {
	if p.proxiesErr != nil {
		return nil, fmt.Sprintf("the list of proxies is not known: %v", p.proxiesErr)
	}
	var list []record.Proxy
	clients := 0
	for _, x := range p.proxies {
		if x.Client {
			clients++
		}
		switch {
		case set.others && !x.Client, set.name == "" && !set.others && x.Client,
			set.name != "" && (x.Pod == set.name || slices.Contains(x.Services, set.name)):
			list = append(list, x)
		}
	}
	switch {
	case clients == 0 && set.name == "" && !(set.others && p.load.Direct):
		return nil, "none of the proxies is the load generator's"
	case len(list) == 0 && set.name != "":
		return nil, "no proxy belongs to " + set.name
	default:
		return list, ""
	}
}
