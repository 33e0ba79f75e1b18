package page

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	boxWidth, boxHeight = 150, 44
	gapX, gapY          = 88, 26
	margin              = 16
)

// box is where a node is drawn.
type box struct{ X, Y, Column int }

// curve is how an edge is drawn, and where its label is.
type curve struct {
	Path           string
	LabelX, LabelY int
}

// layOut places the nodes in columns, callers to the left of whom they call. The same graph always looks the same.
func (v *Graph) layOut() {
	n := min(len(v.Nodes), mostNodes)
	calls := make([][]int, n)
	for _, e := range v.Edges {
		if e.From < n && e.To < n && e.From != e.To {
			calls[e.From] = append(calls[e.From], e.To)
		}
	}
	columns := v.columns(calls)
	for range 4 {
		v.order(columns)
	}
	tallest := 0
	for _, c := range columns {
		tallest = max(tallest, len(c))
	}
	for x, c := range columns {
		top := margin + (tallest-len(c))*(boxHeight+gapY)/2
		for y, node := range c {
			v.Nodes[node].X, v.Nodes[node].Y = margin+x*(boxWidth+gapX), top+y*(boxHeight+gapY)
		}
	}
	for i := range v.Edges {
		if e := &v.Edges[i]; e.From < n && e.To < n {
			e.curve = draw(v.Nodes[e.From].box, v.Nodes[e.To].box)
		}
	}
}

// columns are by the longest way from a node that nobody calls. A call back to who was there before on the way does not count.
func (v *Graph) columns(calls [][]int) [][]int {
	const unseen, open, done = 0, 1, 2
	state := make([]int, len(calls))
	var sorted []int // callees before callers
	forward := make([][]int, len(calls))
	var visit func(int)
	visit = func(n int) {
		state[n] = open
		for _, to := range calls[n] {
			if state[to] == open {
				continue
			}
			forward[n] = append(forward[n], to)
			if state[to] == unseen {
				visit(to)
			}
		}
		state[n] = done
		sorted = append(sorted, n)
	}
	for _, n := range v.roots(calls) {
		if state[n] == unseen {
			visit(n)
		}
	}
	last := 0
	for _, n := range slices.Backward(sorted) {
		for _, to := range forward[n] {
			v.Nodes[to].Column = max(v.Nodes[to].Column, v.Nodes[n].Column+1)
			last = max(last, v.Nodes[to].Column)
		}
	}
	out := make([][]int, last+1)
	for _, n := range v.byName(len(calls)) {
		c := v.Nodes[n].Column
		out[c] = append(out[c], n)
	}
	return out
}

// roots are all nodes: those that nobody calls first, then those that call more than they are called.
func (v *Graph) roots(calls [][]int) []int {
	called := make([]int, len(calls))
	for _, list := range calls {
		for _, to := range list {
			called[to] = 1
		}
	}
	net := make([]float64, len(v.Nodes))
	for _, e := range v.Edges {
		net[e.From] += float64(e.Requests)
		net[e.To] -= float64(e.Requests)
	}
	out := v.byName(len(calls))
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Or(cmp.Compare(called[a], called[b]), cmp.Compare(net[b], net[a])) })
	return out
}

func (v *Graph) byName(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	key := func(i int) nodeKey { return nodeKey{v.Nodes[i].Namespace, v.Nodes[i].Name, v.Nodes[i].Service} }
	slices.SortFunc(out, func(a, b int) int { return compareKeys(key(a), key(b)) })
	return out
}

// order sorts each column by where its callers are in the columns before, so that fewer edges cross.
func (v *Graph) order(columns [][]int) {
	place := make([]float64, len(v.Nodes))
	for i, c := range columns {
		if i > 0 {
			center := map[int]float64{}
			for y, n := range c {
				center[n] = v.center(n, place, float64(y))
			}
			slices.SortStableFunc(c, func(a, b int) int { return cmp.Compare(center[a], center[b]) })
		}
		for y, n := range c {
			place[n] = float64(y) - float64(len(c)-1)/2
		}
	}
}

// center is the mean place of a node's callers, or other without any.
func (v *Graph) center(node int, place []float64, other float64) float64 {
	sum, n := 0.0, 0
	for _, e := range v.Edges {
		if e.To == node && e.From < len(place) && v.Nodes[e.From].Column < v.Nodes[node].Column {
			sum += place[e.From]
			n++
		}
	}
	if n == 0 {
		return other
	}
	return sum / float64(n)
}

// draw is the curve from one box to another.
func draw(a, b box) curve {
	x1, y1, x2, y2 := a.X+boxWidth, a.Y+boxHeight/2, b.X, b.Y+boxHeight/2
	switch {
	case a == b: // who calls itself
		return curve{fmt.Sprintf("M%d %dc24 -34 -%d -34 -%d -4", a.X+boxWidth-24, a.Y, boxWidth-72+24, boxWidth-72), a.X + boxWidth/2, a.Y - 18}
	case b.Column <= a.Column: // back, below the boxes
		down := max(y1, y2) + boxHeight
		return curve{fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+60, down, x2-60, down, x2, y2), (x1 + x2) / 2, down - boxHeight/4}
	}
	bend := max(gapX/2, (x2-x1)/2)
	return curve{fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+bend, y1, x2-bend, y2, x2, y2), (x1 + x2) / 2, (y1+y2)/2 - 6}
}

// Drawn reports whether an edge is in the drawing.
func (e *Edge) Drawn() bool { return e.Path != "" }

// DrawnNodes are those in the drawing.
func (v Graph) DrawnNodes() []Node { return v.Nodes[:min(len(v.Nodes), mostNodes)] }

// Width is the drawing's.
func (v Graph) Width() int {
	w := 0
	for _, n := range v.DrawnNodes() {
		w = max(w, n.X+boxWidth+margin)
	}
	return w
}

// Height is the drawing's.
func (v Graph) Height() int {
	h := 0
	for _, n := range v.DrawnNodes() {
		h = max(h, n.Y+boxHeight+margin)
	}
	for _, e := range v.Edges {
		h = max(h, e.LabelY+margin)
	}
	return h
}
