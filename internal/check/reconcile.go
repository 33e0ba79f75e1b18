package check

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"squall/internal/record"
)

// reconcile compares what the client, the proxies and the store of interface-traffic records tell of the phase's requests. There is no
// outcome when no records were collected. What is missing without a reason fails; what is missing for a reason that is known is not
// conclusive.
func (p *phase) reconcile() []Outcome {
	t, err := p.traffic()
	if errors.Is(err, fs.ErrNotExist) || p.notRun() != "" {
		return nil
	}
	out := Outcome{Kind: KindRecords, Phase: p.name, Name: "records", Text: "client, proxies and store tell of the same requests"}
	lost := dropped(t)
	switch {
	case err != nil:
		out.Reason = fmt.Sprintf("the records cannot be read: %v", err)
	case t.Complete != "ok":
		out.Reason = "the records are incomplete: " + t.Complete
	case p.proxiesErr != nil:
		out.Reason = fmt.Sprintf("the list of proxies is not known: %v", p.proxiesErr)
	case p.load.Complete != "ok":
		out.Reason = "what the proxies logged is not known: " + p.incomplete()
	default:
		l, err := p.ledger(t)
		if err != nil {
			out.Reason = err.Error()
			break
		}
		out.Verdict, out.Reason = l.verdict(lost)
		if t.Waited > 0 {
			out.Reason += fmt.Sprintf("; %s records waited on disk until the store took them: %s", thousands(int64(t.Waited)), t.Refused) //nolint:gosec // a number of requests
		}
	}
	return []Outcome{out}
}

// dropped says how many records the store dropped, and why, or "".
func dropped(t record.Traffic) string {
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(t.Dropped)) {
		parts = append(parts, fmt.Sprintf("%s (%s)", thousands(int64(t.Dropped[why])), why)) //nolint:gosec // a number of requests
	}
	return strings.Join(parts, ", ")
}

// ledger is what each side tells.
type ledger struct {
	store     string
	client    int64 // calls
	cut       int64 // that the load's end cut off, so that the client did not count them
	direct    bool  // they went past the load generator's proxy
	unheard   int64 // calls without an answer; only counted where client and proxy differ
	caller    int64 // entries of the load generator's proxies
	least     int64 // requests that certainly reached another proxy by them
	most      int64 // that may have
	sent      int64 // by the load generator, as the callees' proxies recorded
	outside   bool  // the load generator called what has no proxy
	records   int64
	proxies   int
	gone      []string // pods that ended, of which the last entries are not known
	ended     []string // workloads of those
	different []string // workloads whose proxies logged another number of requests than the store has
}

// ledger reads the access logs and the store's sums.
func (p *phase) ledger(t record.Traffic) (*ledger, error) {
	l := &ledger{store: t.Store, client: p.load.Count, cut: p.load.Cut, direct: p.load.Direct}
	recorded, clients := map[string]int64{}, map[string]bool{}
	for _, x := range p.proxies {
		clients[x.Workload] = clients[x.Workload] || x.Client
	}
	for _, g := range t.Groups {
		l.records += g.Records
		if g.Method == "" {
			continue // a connection of TCP
		}
		if g.Reporter == callee {
			recorded[g.Namespace+"/"+g.Workload] += g.Records
			if clients[g.Source] {
				l.sent += g.Records
			}
			continue
		}
		recorded[g.SourceNamespace+"/"+g.Source] += g.Records
	}
	logged := map[string]logged{}
	for _, x := range p.proxies {
		if x.Ended != "" {
			l.gone, l.ended = append(l.gone, x.Pod), append(l.ended, x.Namespace+"/"+x.Workload)
			continue
		}
		if x.Held != "" {
			continue
		}
		l.proxies++
		key := x.Namespace + "/" + x.Workload
		n := logged[key]
		if err := p.readLog(x, &n, l); err != nil {
			return nil, err
		}
		logged[key] = n
	}
	l.compare(logged, recorded)
	if l.caller != l.client && !l.direct {
		var err error
		l.unheard, err = p.unheard()
		return l, err
	}
	return l, nil
}

// unheard counts the client's calls that got no answer.
func (p *phase) unheard() (n int64, err error) {
	for s, err := range p.records.Samples(p.name) {
		if err != nil {
			return n, fmt.Errorf("the client's records are incomplete: %w", err)
		}
		if s.Error != "" {
			n++
		}
	}
	return n, nil
}

// logged is how many requests proxies logged: those with a method, and all.
type logged struct{ named, all int64 }

// readLog counts a proxy's entries, and of the load generator's what they sent on.
func (p *phase) readLog(x record.Proxy, n *logged, l *ledger) error {
	for e, err := range p.records.Access(p.name, x.Pod) {
		if err != nil {
			return fmt.Errorf("the access log of %s is incomplete: %w", x.Pod, err)
		}
		n.all++
		if e.Method != "" {
			n.named++
		}
		if !x.Client || strings.HasPrefix(e.Cluster, "inbound|") {
			continue
		}
		l.caller++
		if e.Upstream == "" || e.Upstream == "-" {
			continue
		}
		l.most += int64(max(1, e.Attempts))
		if !p.hasProxy(e.Upstream) {
			l.outside = true
		}
		if e.Details == "via_upstream" {
			l.least++
		}
	}
	return nil
}

// hasProxy says whether an address is of a pod with a proxy that was there all the time.
func (p *phase) hasProxy(address string) bool {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return false
	}
	ip := strings.Trim(address[:i], "[]")
	return slices.ContainsFunc(p.proxies, func(x record.Proxy) bool { return x.IP == ip && x.Ended == "" && x.Held == "" && !x.Gateway })
}

// compare finds the workloads of which the store has another number of requests than their proxies logged. Entries without a method may be
// of connections that never became a request.
func (l *ledger) compare(logs map[string]logged, recorded map[string]int64) {
	for _, w := range slices.Sorted(maps.Keys(logs)) {
		if n, got := logs[w], recorded[w]; got < n.named || got > n.all && !slices.Contains(l.ended, w) {
			l.different = append(l.different, fmt.Sprintf("%s: its proxies logged %s, the store has %s", w, thousands(n.named), thousands(got)))
		}
	}
	for _, w := range slices.Sorted(maps.Keys(recorded)) {
		if _, ok := logs[w]; !ok && len(l.gone) == 0 && recorded[w] > 0 {
			l.different = append(l.different, fmt.Sprintf("%s: the store has %s, and it has no proxy that is known", w, thousands(recorded[w])))
		}
	}
}

// verdict says whether all that differs is explained.
func (l *ledger) verdict(dropped string) (Verdict, string) {
	switch {
	case dropped != "":
		return Inconclusive, "records were dropped by the store: " + dropped
	case len(l.different) > 0:
		return Fail, "records are missing or too many without a reason that is known: " + strings.Join(l.different, "; ")
	case !l.direct && l.caller < l.client-l.unheard:
		return Fail, fmt.Sprintf("the client got %s answers, and its proxy recorded %s requests", thousands(l.client-l.unheard), thousands(l.caller))
	case !l.direct && l.caller > l.client+l.cut:
		return Fail, fmt.Sprintf("the client made %s calls, and its proxy recorded %s requests", thousands(l.client+l.cut), thousands(l.caller))
	case !l.direct && !l.outside && len(l.gone) == 0 && l.sent < l.least:
		return Fail, fmt.Sprintf("the load generator's proxy had %s requests answered by other proxies, and these recorded %s of it", thousands(l.least), thousands(l.sent))
	}
	return Pass, l.explain()
}

// explain is the account in one line.
func (l *ledger) explain() string {
	parts := []string{"client " + thousands(l.client)}
	switch {
	case l.direct:
		parts = append(parts, "past its proxy")
	case l.caller == l.client:
		parts = append(parts, "= its proxy "+thousands(l.caller))
	default:
		parts = append(parts, fmt.Sprintf("and its proxy %s (%s cut off, %s without an answer)", thousands(l.caller), thousands(l.cut), thousands(l.unheard)))
	}
	if !l.direct {
		parts = append(parts, l.onward())
	}
	parts = append(parts, fmt.Sprintf("%s has the %s records of %s", l.store, thousands(l.records), proxies(l.proxies)))
	if len(l.gone) > 0 {
		parts = append(parts, "without "+strings.Join(l.gone, " and ")+", which ended")
	}
	return strings.Replace(strings.Join(parts, ", "), ", =", " =", 1)
}

// onward says what became of the load generator's requests behind its proxy.
func (l *ledger) onward() string {
	at := "at the callees' proxies " + thousands(l.sent)
	switch {
	case l.outside:
		return at + ", as it called what has no proxy too"
	case l.sent == l.caller:
		return at
	case l.sent > l.most:
		return fmt.Sprintf("%s, %s of them copies that mirrors sent", at, thousands(l.sent-l.most))
	case l.sent > l.caller:
		return fmt.Sprintf("%s by up to %s attempts", at, thousands(l.most))
	}
	return fmt.Sprintf("%s, and %s that got no further", at, thousands(l.caller-l.sent))
}

func proxies(n int) string {
	if n == 1 {
		return "1 proxy"
	}
	return fmt.Sprintf("%d proxies", n)
}
