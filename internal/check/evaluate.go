package check

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/common/operators"
)

// value is a quantity with its interval, or why there is none.
type value struct {
	mid, lo, hi float64
	missing     string
}

func point(v float64) value { return value{mid: v, lo: v, hi: v} }

func (v value) exact() bool { return v.lo == v.hi }

// judged is a condition's verdict with the comparisons that decided it.
type judged struct {
	verdict Verdict
	by      []comparison
}

// comparison is one comparison's outcome.
type comparison struct {
	node    *node
	verdict Verdict
	missing string
	need    int64
}

// evaluate gives a condition's verdict from the readings of the statement's measures.
func (e *Expr) evaluate(n *node, rs []reading) judged {
	switch n.op {
	case operators.LogicalNot:
		j := e.evaluate(n.kids[0], rs)
		j.verdict = not(j.verdict)
		return j
	case operators.LogicalAnd, operators.LogicalOr:
		a, b := e.evaluate(n.kids[0], rs), e.evaluate(n.kids[1], rs)
		v := and(a.verdict, b.verdict)
		if n.op == operators.LogicalOr {
			v = or(a.verdict, b.verdict)
		}
		j := judged{verdict: v}
		for _, k := range []judged{a, b} {
			if k.verdict == v {
				j.by = append(j.by, k.by...)
			}
		}
		return j
	}
	cmp := e.compare(n, rs)
	return judged{verdict: cmp.verdict, by: []comparison{cmp}}
}

func (e *Expr) compare(n *node, rs []reading) comparison {
	out := comparison{node: n}
	vs := make([]value, len(n.kids))
	var missing []string
	for i, k := range n.kids {
		vs[i] = e.value(k, rs)
		if why := vs[i].missing; why != "" && !slices.Contains(missing, why) {
			missing = append(missing, why)
		}
	}
	if len(missing) > 0 {
		out.missing = strings.Join(missing, "; ")
		return out
	}
	out.verdict = holds(n.op, vs)
	if out.verdict == Inconclusive {
		out.need = e.need(n, vs, rs)
	}
	return out
}

// holds compares intervals: Pass when the comparison holds for all their values, Fail when for none.
func holds(op string, vs []value) Verdict {
	a, b := vs[0], vs[1]
	switch op {
	case operators.Less:
		return verdictOf(a.hi < b.lo, a.lo >= b.hi)
	case operators.LessEquals:
		return verdictOf(a.hi <= b.lo, a.lo > b.hi)
	case operators.Greater:
		return verdictOf(a.lo > b.hi, a.hi <= b.lo)
	case operators.GreaterEquals:
		return verdictOf(a.lo >= b.hi, a.hi < b.lo)
	case operators.In:
		return and(holds(operators.GreaterEquals, vs[:2]), holds(operators.LessEquals, []value{vs[0], vs[2]}))
	case operators.Equals:
		return equal(a, b)
	case operators.NotEquals:
		return not(equal(a, b))
	default:
		return Inconclusive
	}
}

// equal compares up to the rounding of arithmetic.
func equal(a, b value) Verdict {
	if a.exact() && b.exact() {
		same := a.mid == b.mid || math.Abs(a.mid-b.mid) <= 1e-12*math.Max(math.Abs(a.mid), math.Abs(b.mid))
		return verdictOf(same, !same)
	}
	return verdictOf(false, a.hi < b.lo || b.hi < a.lo)
}

// value computes a quantity with interval arithmetic.
func (e *Expr) value(n *node, rs []reading) value {
	switch n.op {
	case opNumber:
		return point(n.num)
	case opMeasure:
		r := rs[n.m]
		if r.missing != "" {
			return value{missing: e.measures[n.m].text + ": " + r.missing}
		}
		return value{mid: r.value, lo: r.lo, hi: r.hi}
	}
	a := e.value(n.kids[0], rs)
	if a.missing != "" {
		return a
	}
	switch n.op {
	case operators.Negate:
		return value{mid: -a.mid, lo: -a.hi, hi: -a.lo}
	case opAbs:
		return absolute(a)
	}
	b := e.value(n.kids[1], rs)
	if b.missing != "" {
		return b
	}
	v := arithmetic(n.op, a, b)
	if v.missing == "" && (math.IsNaN(v.mid) || math.IsNaN(v.lo) || math.IsNaN(v.hi)) {
		return value{missing: "the arithmetic has no result"}
	}
	return v
}

func absolute(a value) value {
	switch {
	case a.lo >= 0:
		return a
	case a.hi <= 0:
		return value{mid: -a.mid, lo: -a.hi, hi: -a.lo}
	default:
		return value{mid: math.Abs(a.mid), lo: 0, hi: math.Max(-a.lo, a.hi)}
	}
}

func arithmetic(op string, a, b value) value {
	switch op {
	case operators.Add:
		return value{mid: a.mid + b.mid, lo: a.lo + b.lo, hi: a.hi + b.hi}
	case operators.Subtract:
		return value{mid: a.mid - b.mid, lo: a.lo - b.hi, hi: a.hi - b.lo}
	case operators.Multiply:
		return corners(a, b, a.mid*b.mid, func(x, y float64) float64 { return x * y })
	default:
		if b.lo <= 0 && b.hi >= 0 {
			return value{missing: "division by zero"}
		}
		return corners(a, b, a.mid/b.mid, func(x, y float64) float64 { return x / y })
	}
}

func corners(a, b value, mid float64, f func(x, y float64) float64) value {
	at := []float64{f(a.lo, b.lo), f(a.lo, b.hi), f(a.hi, b.lo), f(a.hi, b.hi)}
	return value{mid: mid, lo: slices.Min(at), hi: slices.Max(at)}
}

// need is about how many requests would decide a comparison of one estimate with exact limits.
func (e *Expr) need(n *node, vs []value, rs []reading) int64 {
	var need int64
	for i, k := range n.kids {
		if k.op != opMeasure || rs[k.m].confidence == 0 {
			continue
		}
		r := rs[k.m]
		need = max(need, r.need)
		for j, limit := range vs {
			if i != j && (i == 0 || j == 0) && limit.exact() && r.lo <= limit.mid && limit.mid <= r.hi {
				need = max(need, e.measures[k.m].need(r, limit.mid))
			}
		}
	}
	return need
}

// reason is one sentence that gives the deciding comparisons with their figures.
func (e *Expr) reason(j judged, rs []reading) string {
	var parts []string
	for _, cmp := range j.by {
		parts = append(parts, e.explain(cmp, rs))
	}
	return strings.Join(parts, "; ")
}

func (e *Expr) explain(cmp comparison, rs []reading) string {
	if cmp.missing != "" {
		return cmp.missing
	}
	var figures []string
	var n int64
	for _, m := range cmp.node.measures() {
		figures = append(figures, e.measures[m].figure(rs[m]))
		if rs[m].confidence > 0 && (n == 0 || rs[m].n < n) {
			n = rs[m].n
		}
	}
	figure, claim := strings.Join(figures, ", "), orElse(cmp.node.rest, cmp.node.text)
	switch cmp.verdict {
	case Pass:
		return fmt.Sprintf("%s: %s holds", figure, claim)
	case Fail:
		return fmt.Sprintf("%s: %s does not hold", figure, claim)
	}
	if n == 0 {
		return fmt.Sprintf("%s: what is known does not decide whether %s", figure, claim)
	}
	s := fmt.Sprintf("%s: too few requests to tell whether %s; n = %s", figure, claim, thousands(n))
	if cmp.need > n {
		s += fmt.Sprintf(", about %s needed", thousands(cmp.need))
	}
	return s
}

// measures are the indices of the measures below a node, each once.
func (n *node) measures() []int {
	if n.op == opMeasure {
		return []int{n.m}
	}
	var all []int
	for _, k := range n.kids {
		for _, m := range k.measures() {
			if !slices.Contains(all, m) {
				all = append(all, m)
			}
		}
	}
	return all
}
