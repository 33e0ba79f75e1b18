package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"squall/internal/record"
)

// Origin is an interface whose requests failed for a reason of its own, and not because others that it called had failed.
type Origin struct {
	Namespace string   `json:"namespace,omitempty"`
	Service   string   `json:"service"`
	Version   string   `json:"version,omitempty"` // that answered; empty where no pod did
	Method    string   `json:"method,omitempty"`
	Interface string   `json:"interface"`
	Callers   []string `json:"callers"` // workloads
	// Edge says that callers' proxies made the failures, so that the callee never saw a failed request.
	Edge   bool   `json:"edge,omitempty"`
	Code   int    `json:"code"`            // that failed most often; 0 is no answer
	Flags  string `json:"flags,omitempty"` // Envoy's, of that code
	Failed int64  `json:"failed"`
	Of     int64  `json:"of"` // requests of the interface by these callers
}

// String names the origin and how much it failed.
func (o Origin) String() string {
	who := o.Service
	if o.Version != "" {
		who += " " + o.Version
	}
	what := fmt.Sprintf("%d", o.Code)
	if o.Code == 0 {
		what = "no answer"
	}
	if o.Flags != "" {
		what += " " + o.Flags
	}
	by := "called by "
	if o.Edge {
		by = "at the proxies of "
	}
	return fmt.Sprintf("%s %s of %s, %s%s: %s of %s failed (%s)", o.Method, o.Interface, who, by, strings.Join(o.Callers, ", "), thousands(o.Failed), thousands(o.Of), what)
}

// group is the origin as records of one caller's.
func (o Origin) group(caller string) *record.TrafficGroup {
	g := &record.TrafficGroup{
		Reporter: callee, Source: caller, Namespace: o.Namespace, Service: o.Service, Version: o.Version, Method: o.Method,
		Interface: o.Interface, Code: o.Code, Flags: o.Flags, Records: o.Failed, Failed: o.Failed,
	}
	if o.Edge {
		g.Reporter = "source"
	}
	return g
}

// call is what requests are told apart by, as the source of a failure.
type call struct {
	source, namespace, service, workload, version, method, iface string
}

// counts are those of a call.
type counts struct {
	all, failed int64
	worst       record.TrafficGroup // the failed group with the most records
}

func (c *counts) add(g *record.TrafficGroup) {
	c.all += g.Records
	c.failed += g.Failed
	if g.Failed > 0 && g.Records > c.worst.Records {
		c.worst = *g
	}
}

// origins finds where the failures of a phase began: what a callee failed with beyond what it saw fail itself is its own, and what a
// caller saw fail beyond what its callees' proxies did is the edge's.
func origins(groups []record.TrafficGroup) []Origin {
	arrived, sent := map[call]*counts{}, map[call]*counts{}
	passedOn := map[string]int64{} // failures that a workload saw of others
	for i := range groups {
		g := &groups[i]
		k := call{g.Source, g.Namespace, g.Service, g.Workload, g.Version, g.Method, g.Interface}
		to := sent
		if g.Reporter == callee {
			to = arrived
		} else if g.Failed > 0 {
			passedOn[g.SourceNamespace+"/"+g.Source] += g.Failed
		}
		if to[k] == nil {
			to[k] = &counts{}
		}
		to[k].add(g)
	}
	var out []Origin
	own := map[string]int64{} // failures that are left to the workload itself, once for all its interfaces
	for k, c := range arrived {
		w := k.namespace + "/" + k.workload
		if _, known := own[w]; !known {
			own[w] = -passedOn[w]
		}
		own[w] += c.failed
	}
	for k, c := range arrived {
		if c.failed > 0 && own[k.namespace+"/"+k.workload] > 0 {
			out = append(out, newOrigin(k, c, false))
		}
	}
	for k, c := range sent {
		failed := c.failed
		if a := arrived[k]; a != nil {
			failed -= a.failed
		}
		if failed > 0 {
			o := newOrigin(k, c, true)
			o.Failed = failed
			out = append(out, o)
		}
	}
	return together(out)
}

func newOrigin(k call, c *counts, edge bool) Origin {
	return Origin{
		Namespace: k.namespace, Service: k.service, Version: k.version, Method: k.method, Interface: k.iface, Callers: []string{k.source},
		Edge: edge, Code: c.worst.Code, Flags: c.worst.Flags, Failed: c.failed, Of: c.all,
	}
}

// together joins those that differ in the caller alone, the worst first.
func together(list []Origin) []Origin {
	slices.SortFunc(list, func(a, b Origin) int {
		return cmp.Or(-cmp.Compare(a.Failed, b.Failed), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Method, b.Method), slices.Compare(a.Callers, b.Callers))
	})
	var out []Origin
	for _, o := range list {
		i := slices.IndexFunc(out, func(x Origin) bool {
			return x.Namespace == o.Namespace && x.Service == o.Service && x.Version == o.Version && x.Method == o.Method && x.Interface == o.Interface && x.Edge == o.Edge
		})
		if i < 0 {
			out = append(out, o)
			continue
		}
		x := &out[i]
		x.Failed, x.Of = x.Failed+o.Failed, x.Of+o.Of
		x.Callers = append(x.Callers, o.Callers...)
	}
	for i := range out {
		slices.Sort(out[i].Callers)
	}
	slices.SortStableFunc(out, func(a, b Origin) int { return -cmp.Compare(a.Failed, b.Failed) })
	return out
}
