package check

import (
	"fmt"
	"net/netip"
	"strings"

	"squall/internal/record"
)

// copies finds the requests that mirrors sent to pods of a service. Nothing marks a copy, but it bears the id of its original, and
// the proxy that sent both logs only the original. So what arrives from a proxy under an id, beyond the attempts that this proxy
// logged for pods of the service, are copies. No answer is needed for it.
type copies struct {
	pred   *predicate
	byIP   map[netip.Addr]int // numbers of the proxies
	target map[int]bool       // those of the service
	found  map[sentKey]*sent

	entries, nameless, unknown int64
	why                        string // of an unknown
}

// sentKey is what one proxy sent under one id.
type sentKey struct {
	id     record.RequestKey
	caller int
}

// sent is what the logs of both sides say of it.
type sent struct {
	logged bool  // by the caller
	again  int64 // attempts before the last, of which the caller's log does not say where they went
	pods   []arrivals
}

// arrivals are those at one pod.
type arrivals struct {
	pod             int
	matching, other int64 // entries of the pod that the predicate holds for, and the rest
	meant, answered int64 // last attempts that the caller logged for the pod, and those of them that came there for certain
}

func (s *sent) at(pod int) *arrivals {
	for i := range s.pods {
		if s.pods[i].pod == pod {
			return &s.pods[i]
		}
	}
	s.pods = append(s.pods, arrivals{pod: pod})
	return &s.pods[len(s.pods)-1]
}

// bounds are the fewest and the most copies that fit the logs.
func (s *sent) bounds() (least, most int64) {
	if !s.logged {
		return 0, 0
	}
	for _, a := range s.pods {
		least += max(0, a.matching-a.meant)
		most += max(0, a.matching-max(0, a.answered-a.other))
	}
	return max(0, least-s.again), most
}

// ofCopies counts the copies that came to a service. Where attempts of a request may have gone where its copy went, the count is an
// interval.
func (p *phase) ofCopies(m *measure) reading {
	pods, why := p.pods(podSet{name: m.service})
	source := "access logs of " + podNames(pods, podSet{name: m.service}) + " and its callers"
	if why != "" {
		return absent(source, "%s", why)
	}
	for _, x := range p.proxies {
		if x.Ended != "" {
			return absent(source, "the access log of %s is incomplete: %s", x.Pod, x.Ended)
		}
	}
	if p.load.Complete != "ok" {
		return absent(source, "%s", p.incomplete())
	}
	c := &copies{pred: m.pred, byIP: map[netip.Addr]int{}, target: map[int]bool{}, found: map[sentKey]*sent{}}
	if err := p.findCopies(c, pods); err != nil {
		return absent(source, "%v", err)
	}
	switch {
	case c.nameless > 0:
		return absent(source, "%s of %s entries have no request id, by which copies are told from originals", thousands(c.nameless), thousands(c.entries))
	case c.unknown > 0:
		return absent(source, "not known of %s of %s entries: %s", thousands(c.unknown), thousands(c.entries), c.why)
	}
	r := reading{n: c.entries, source: source}
	for _, s := range c.found {
		least, most := s.bounds()
		r.lo += float64(least)
		r.hi += float64(most)
	}
	if r.value = r.lo; r.lo != r.hi {
		r.method = "attempts or copies"
	}
	return r
}

// findCopies reads what arrived at the pods, and then what their callers logged of it.
func (p *phase) findCopies(c *copies, pods []record.Proxy) error {
	for i, x := range p.proxies {
		if ip, err := netip.ParseAddr(x.IP); err == nil {
			c.byIP[ip.Unmap()] = i
		}
		for _, t := range pods {
			c.target[i] = c.target[i] || t.Pod == x.Pod
		}
	}
	for i, x := range p.proxies {
		if !c.target[i] {
			continue
		}
		vars := accessVars{version: x.Labels["version"]}
		err := p.eachEntry(x, true, func(entry *record.Access) {
			vars.a = entry
			c.arrived(i, &vars)
		})
		if err != nil {
			return err
		}
	}
	for i, x := range p.proxies {
		if err := p.eachEntry(x, false, func(entry *record.Access) { c.logged(i, entry) }); err != nil {
			return err
		}
	}
	return nil
}

// eachEntry calls f with the entries of a pod's log that are of inbound requests, or with all others.
func (p *phase) eachEntry(x record.Proxy, inbound bool, f func(*record.Access)) error {
	for entry, err := range p.records.Access(p.name, x.Pod) {
		if err != nil {
			return fmt.Errorf("the access log of %s is incomplete: %w", x.Pod, err)
		}
		if strings.HasPrefix(entry.Cluster, "inbound|") == inbound {
			f(&entry)
		}
	}
	return nil
}

// arrived takes an inbound entry of a pod. What did not come from a proxy that is known is none of its copies.
func (c *copies) arrived(pod int, vars *accessVars) {
	c.entries++
	caller, ok := c.proxy(vars.a.Downstream)
	if !ok {
		return
	}
	if vars.a.RequestID == "" {
		c.nameless++
		return
	}
	key := sentKey{record.KeyOf(vars.a.RequestID), caller}
	s := c.found[key]
	if s == nil {
		s = &sent{}
		c.found[key] = s
	}
	v, err := c.pred.holds(vars)
	if v == Pass {
		s.at(pod).matching++
		return
	}
	s.at(pod).other++
	if err != nil {
		c.unknown++
		c.why = err.Error()
	}
}

// logged takes an entry of what a caller's proxy sent. Envoy logs the pod of the last attempt alone, and none when it chose none.
func (c *copies) logged(caller int, entry *record.Access) {
	s := c.found[sentKey{record.KeyOf(entry.RequestID), caller}]
	if s == nil {
		return
	}
	s.logged = true
	s.again += int64(max(0, entry.Attempts-1))
	if entry.Upstream == "" || entry.Upstream == "-" {
		return
	}
	addr, err := netip.ParseAddrPort(entry.Upstream)
	if err != nil {
		s.again++ // a tunnel: it may lead to any pod
		return
	}
	if pod, ok := c.byIP[addr.Addr().Unmap()]; ok && c.target[pod] {
		a := s.at(pod)
		a.meant++
		if entry.Details == "via_upstream" {
			a.answered++
		}
	}
}

// proxy is the number of the proxy that has the address.
func (c *copies) proxy(address string) (int, bool) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, false
	}
	i, ok := c.byIP[addr.Addr().Unmap()]
	return i, ok
}
