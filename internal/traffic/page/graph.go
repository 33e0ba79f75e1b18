package page

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"squall/internal/traffic/store"
)

const mostNodes = 150 // of a drawing; a table says the rest

// Graph is who calls whom.
type Graph struct {
	Window Window `json:"window"`
	Nodes  []Node `json:"nodes"`
	Edges  []Edge `json:"edges"`
	More   int    `json:"more,omitempty"` // edges that are not listed
}

// Node is a service, or a workload that is nobody's service as far as the records know.
type Node struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"` // empty: unknown
	Service   bool   `json:"service"`

	Link string `json:"-"`
	box  `json:"-"`
}

// Edge is the calls of one node to another, by their places in Nodes.
type Edge struct {
	From int `json:"from"`
	To   int `json:"to"`
	Figures

	Link  string `json:"-"`
	curve `json:"-"`
}

// nodeKey is what makes a node.
type nodeKey struct {
	namespace, name string
	service         bool
}

// graph is who calls whom.
func (s *source) graph(ctx context.Context, q *query) (v Graph, err error) {
	w, f, _, err := s.at(ctx, q)
	v = Graph{Window: w, Nodes: []Node{}, Edges: []Edge{}}
	if err != nil || w.empty() {
		return v, err
	}
	groups, err := s.reader.Groups(ctx, w.open(f), store.BySource, store.ByService, store.ByWorkload)
	if err != nil {
		return v, err
	}
	v.fill(groups, q)
	v.layOut()
	return v, nil
}

// serviceOf says which service a workload is of, where the records tell one alone.
func serviceOf(groups []store.Group) map[[2]string]string {
	out := map[[2]string]string{}
	for i := range groups {
		g := &groups[i]
		key := [2]string{g.Namespace, g.Workload}
		if known, ok := out[key]; ok && known != g.Service {
			out[key] = "" // of several
			continue
		}
		out[key] = g.Service
	}
	return out
}

// ends are the two nodes of a group's calls.
func ends(g *store.Group, services map[[2]string]string) (from, to nodeKey) {
	from = nodeKey{g.SourceNamespace, g.Source, false}
	if service := services[[2]string{g.SourceNamespace, g.Source}]; service != "" && g.Source != "" {
		from = nodeKey{g.SourceNamespace, service, true}
	}
	to = nodeKey{g.Namespace, g.Service, true}
	if g.Service == "" {
		to = nodeKey{g.Namespace, g.Workload, false}
	}
	return from, to
}

// fill makes nodes and edges: the busiest edges, as many as are listed.
func (v *Graph) fill(groups []store.Group, q *query) {
	type pair struct{ from, to nodeKey }
	services := serviceOf(groups)
	sums, callers := map[pair]*store.Summary{}, map[pair]map[[2]string]bool{}
	for i := range groups {
		g := &groups[i]
		from, to := ends(g, services)
		p := pair{from, to}
		if sums[p] == nil {
			sums[p], callers[p] = &store.Summary{}, map[[2]string]bool{}
		}
		sums[p].Merge(&g.Summary)
		callers[p][[2]string{g.SourceNamespace, g.Source}] = true
	}
	var pairs []pair
	for p := range sums {
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(sums[b].Records, sums[a].Records), compareKeys(a.from, b.from), compareKeys(a.to, b.to))
	})
	v.More = max(0, len(pairs)-mostEdges)
	at := map[nodeKey]int{}
	node := func(k nodeKey) int {
		n, ok := at[k]
		if !ok {
			n = len(v.Nodes)
			at[k] = n
			node := Node{Namespace: k.namespace, Name: k.name, Service: k.service}
			if k.service {
				node.Link = q.general().link("/service", "namespace", k.namespace, "service", k.name, "source", "", "sourceIn", "")
			}
			v.Nodes = append(v.Nodes, node)
		}
		return n
	}
	for _, p := range pairs[:len(pairs)-v.More] {
		e := Edge{From: node(p.from), To: node(p.to), Figures: figures(sums[p], v.Window.observed())}
		if len(callers[p]) == 1 && p.to.service { // else there is no address of it
			for c := range callers[p] {
				if c[1] != "" {
					e.Link = q.general().link("/requests", "namespace", p.to.namespace, "service", p.to.name, "sourceIn", c[0], "source", c[1])
				}
			}
		}
		v.Edges = append(v.Edges, e)
	}
}

func compareKeys(a, b nodeKey) int {
	return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name), cmp.Compare(level(a.service), level(b.service)))
}

func level(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Weight is how thick an edge is drawn: by the logarithm of its rate.
func (e *Edge) Weight() float64 {
	return math.Round(10*min(6, 1.25+math.Log10(1+max(0, e.Rate)))) / 10
}
