package check

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"squall/internal/record"
)

// snapshot is a proxy's stats before and after a phase's load, or why they are not known.
type snapshot struct {
	before, after map[string]int64 // by plainStat
	missing       string
}

func (p *phase) snapshot(x record.Proxy) snapshot {
	pod := x.Pod
	if s, ok := p.stats[pod]; ok {
		return s
	}
	var s snapshot
	switch {
	case x.Ended != "":
		s.missing = "what " + pod + " counted is not known: " + x.Ended
	case !x.Joined:
		s.before, s.missing = p.oneSnapshot(pod, "before")
	}
	if s.missing == "" {
		s.after, s.missing = p.oneSnapshot(pod, "after")
	}
	p.stats[pod] = s
	return s
}

func (p *phase) oneSnapshot(pod, when string) (map[string]int64, string) {
	stats, err := p.records.Stats(p.name, pod, when)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Sprintf("there are no stats of %s from %s the load of %s", pod, when, p.name)
	case err != nil:
		return nil, fmt.Sprintf("the stats of %s from %s the load of %s are not known: %v", pod, when, p.name, err)
	case len(stats) == 0:
		return nil, fmt.Sprintf("the stats of %s from %s the load of %s are empty", pod, when, p.name)
	}
	plain := make(map[string]int64, len(stats))
	for name, v := range stats {
		plain[plainStat(name)] += v
	}
	return plain, ""
}

// ofStats sums a counter's growth, or a gauge's value after, over proxies.
func (p *phase) ofStats(m *measure) reading {
	pods, why := p.pods(m.pods)
	source := "stats of " + podNames(pods, m.pods)
	if why != "" {
		return absent(source, "%s", why)
	}
	var total int64
	found := false
	held := 0
	for _, x := range pods {
		if x.Held != "" && m.kind == mCounter {
			held++
			continue
		}
		v, ok, why := p.sum(m, x)
		if why != "" {
			return absent(source, "%s", why)
		}
		total += v
		found = found || ok
	}
	if held > 0 && held == len(pods) && !m.pods.others {
		return absent(source, "%s", pods[0].Held)
	}
	if !found && !(m.pods.others && p.clientHas(m, len(pods))) {
		return absent(source, "no stat %s, neither before nor after%s", m.stat, p.nearest(m, pods))
	}
	return exact(float64(total), p.load.Count, source)
}

// clientHas says whether a stat that no other proxy has is one that the client's has, so that it is known to exist and
// the others' complete snapshots show that they never counted it. Where there is no other proxy nothing can have.
func (p *phase) clientHas(m *measure, others int) bool {
	if others == 0 {
		return true
	}
	clients, why := p.pods(podSet{})
	if why != "" {
		return false
	}
	for _, x := range clients {
		if _, ok, why := p.sum(m, x); ok && why == "" {
			return true
		}
	}
	return false
}

// sum is a counter's growth in one proxy, and whether it has it. A stat that only the later snapshot has began at 0:
// Envoy makes some at their first use.
func (p *phase) sum(m *measure, x record.Proxy) (total int64, found bool, missing string) {
	pod, s := x.Pod, p.snapshot(x)
	if s.missing != "" {
		return 0, false, s.missing
	}
	for name, after := range s.after {
		if !m.stat.match(name, p.namespace) {
			continue
		}
		found = true
		if m.kind == mGauge {
			total += after
			continue
		}
		before := s.before[name]
		if after < before {
			return 0, true, fmt.Sprintf("%s of %s went backwards from %d to %d: the proxy was restarted", name, pod, before, after)
		}
		total += after - before
	}
	for name, before := range s.before {
		if _, ok := s.after[name]; !ok && m.stat.match(name, p.namespace) {
			return 0, found, fmt.Sprintf("%s of %s was %d before and is gone after", name, pod, before)
		}
	}
	return total, found, ""
}

// nearest is a hint at stats that end like the one that is missing.
func (p *phase) nearest(m *measure, pods []record.Proxy) string {
	if m.stat.re != nil || len(pods) == 0 {
		return ""
	}
	want := m.stat.stat
	if want == "" {
		want = m.stat.name[strings.LastIndex(m.stat.name, ".")+1:]
	}
	var like []string
	for name := range p.snapshot(pods[0]).after {
		if strings.HasSuffix(name, "."+want) {
			like = append(like, name)
		}
	}
	if len(like) == 0 {
		return ""
	}
	slices.Sort(like)
	return "; there is " + like[0]
}

func podNames(pods []record.Proxy, set podSet) string {
	if len(pods) == 0 {
		switch {
		case set.others:
			return "no other proxy"
		case set.name != "":
			return set.name
		default:
			return "the client's proxy"
		}
	}
	names := make([]string, 0, len(pods))
	for _, x := range pods {
		names = append(names, x.Pod)
	}
	slices.Sort(names)
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
