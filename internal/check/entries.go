package check

import (
	"fmt"
	"strings"

	"squall/internal/record"
)

// entrySet is the tallies over the access logs of one set of pods.
type entrySet struct {
	tallies []*tally
	byKey   map[string]*tally
	done    bool
	err     error
}

func (p *phase) wantEntries(m *measure) {
	set := p.entries[m.service]
	if set == nil {
		set = &entrySet{byKey: map[string]*tally{}}
		p.entries[m.service] = set
	}
	if key := predicateKey(m.pred); set.byKey[key] == nil {
		t := &tally{pred: m.pred}
		set.byKey[key] = t
		set.tallies = append(set.tallies, t)
	}
}

// ofEntries counts access log entries: inbound ones of a service's pods, or outbound ones of the client's.
func (p *phase) ofEntries(m *measure, confidence float64) reading {
	pods, why := p.pods(podSet{name: m.service})
	source := "access log of " + podNames(pods, podSet{name: m.service})
	if why != "" {
		return absent(source, "%s", why)
	}
	for _, x := range pods {
		if x.Ended != "" {
			return absent(source, "the access log of %s is incomplete: %s", x.Pod, x.Ended)
		}
	}
	if p.load.Complete != "ok" {
		return absent(source, "%s", p.incomplete())
	}
	set := p.entries[m.service]
	if !set.done {
		set.done = true
		set.err = p.scanEntries(set, m.service, pods)
	}
	if set.err != nil {
		return absent(source, "%v", set.err)
	}
	t := set.byKey[predicateKey(m.pred)]
	if t.unknown > 0 {
		return absent(source, "not known of %s of %s entries: %s", thousands(t.unknown), thousands(t.n), t.why)
	}
	if m.kind == mEntriesRatio {
		r := t.share("entry", confidence)
		r.source = source
		return r
	}
	return exact(float64(t.k), t.n, source)
}

// scanEntries reads the access logs once. Of the client's proxy all that is not inbound counts, so that a request for
// which it chose no cluster counts too.
func (p *phase) scanEntries(set *entrySet, service string, pods []record.Proxy) error {
	for _, x := range pods {
		vars := accessVars{version: x.Labels["version"]}
		for entry, err := range p.records.Access(p.name, x.Pod) {
			if err != nil {
				return fmt.Errorf("the access log of %s is incomplete: %w", x.Pod, err)
			}
			if strings.HasPrefix(entry.Cluster, "inbound|") != (service != "") {
				continue
			}
			vars.a = &entry
			for _, t := range set.tallies {
				v, err := t.pred.holds(&vars)
				why := ""
				if err != nil {
					why = err.Error()
				}
				t.add(v, why, entry.Duration/1000)
			}
		}
	}
	return nil
}
