package check

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/common/operators"
)

// dimension is what a quantity is a quantity of. The zero value goes with all.
type dimension int

const (
	dimAny   dimension = iota // 0
	dimPlain                  // a number without a unit, a counter, a rate
	dimTime
	dimShare
	dimCount
	dimMemory
)

func (d dimension) String() string {
	return [...]string{"zero", "a number", "a time", "a share", "a number of requests", "an amount of memory"}[d]
}

// lint refuses statements that CEL accepts and that cannot mean what they say: times compared with bare numbers, shares
// above 100 %, and comparisons that always or never hold, since a check that cannot fail is no check.
func (c *compiler) lint(e *Expr, n *node) error {
	if !n.cmp() {
		for _, k := range n.kids {
			if err := c.lint(e, k); err != nil {
				return err
			}
		}
		return nil
	}
	if !hasMeasure(n) {
		return c.errAt(n.at, "compare a measure, such as ratio(code == 503)", "%q measures nothing", n.text)
	}
	for _, k := range n.kids {
		if _, err := c.dimension(e, k); err != nil {
			return err
		}
	}
	for _, k := range n.kids[1:] {
		if err := c.comparable(e, n, n.kids[0], k); err != nil {
			return err
		}
	}
	if n.op == operators.In && n.kids[1].op == opNumber && n.kids[2].op == opNumber && n.kids[1].num > n.kids[2].num {
		return c.errAt(n.kids[1].at, "write the lower limit first", "an interval from %v to %v is empty", n.kids[1].num, n.kids[2].num)
	}
	if err := c.possible(e, n); err != nil {
		return err
	}
	return c.estimable(e)
}

func hasMeasure(n *node) bool {
	if n.op == opMeasure {
		return true
	}
	for _, k := range n.kids {
		if hasMeasure(k) {
			return true
		}
	}
	return false
}

func (c *compiler) dimension(e *Expr, n *node) (dimension, error) {
	switch n.op {
	case opNumber:
		return numberDimension(n), nil
	case opMeasure:
		switch m := e.measures[n.m]; m.unit() {
		case "s":
			return dimTime, nil
		case "":
			return dimShare, nil
		case "requests":
			return dimCount, nil
		case unitMemory:
			return dimMemory, nil
		default:
			return dimPlain, nil
		}
	}
	dims := make([]dimension, len(n.kids))
	for i, k := range n.kids {
		var err error
		if dims[i], err = c.dimension(e, k); err != nil {
			return 0, err
		}
	}
	switch n.op {
	case operators.Add, operators.Subtract:
		if err := c.comparable(e, n, n.kids[0], n.kids[1]); err != nil {
			return 0, err
		}
		return max(dims[0], dims[1]), nil
	case operators.Multiply:
		return product(dims[0], dims[1]), nil
	case operators.Divide:
		return quotient(dims[0], dims[1]), nil
	default:
		return dims[0], nil
	}
}

func numberDimension(n *node) dimension {
	switch {
	case n.unit == "s":
		return dimTime
	case n.unit == "%":
		return dimShare
	case n.unit == unitMemory:
		return dimMemory
	case n.num == 0:
		return dimAny
	default:
		return dimPlain
	}
}

func product(a, b dimension) dimension {
	switch {
	case a == dimTime && b == dimTime:
		return dimPlain
	case a == dimTime || b == dimTime:
		return dimTime
	case a == dimMemory || b == dimMemory:
		return dimMemory
	case a == dimCount || b == dimCount:
		return dimCount
	default:
		return max(a, b)
	}
}

func quotient(a, b dimension) dimension {
	switch {
	case a == dimTime && b != dimTime, a == dimMemory && b != dimMemory:
		return a
	case a == dimCount && b != dimTime && b != dimCount:
		return dimCount
	case a == dimCount && b == dimCount:
		return dimShare
	default:
		return dimPlain
	}
}

// comparable refuses two quantities that have different dimensions.
func (c *compiler) comparable(e *Expr, n, a, b *node) error {
	da, err := c.dimension(e, a)
	if err != nil {
		return err
	}
	db, err := c.dimension(e, b)
	if err != nil {
		return err
	}
	lo, hi := min(da, db), max(da, db)
	switch {
	case lo == dimAny || da == db:
		return nil
	case lo == dimPlain && hi != dimTime && hi != dimMemory:
		return nil
	}
	hint, lit := "", b
	if a.op == opNumber {
		lit = a
	}
	if lit.op == opNumber && lit.unit == "" && (hi == dimTime || lo == dimTime) {
		hint = fmt.Sprintf("write %vms or %vs", lit.num, lit.num)
	}
	if lit.op == opNumber && lit.unit == "" && hi == dimMemory {
		hint = fmt.Sprintf("write %vMiB", lit.num)
	}
	if lo == dimShare && hi == dimCount {
		hint = "ratio(…) is a share, count(…) a number"
	}
	return c.errAt(n.at, hint, "%s against %s", da, db)
}

// possible refuses a comparison of one measure with a number that its range makes always true or never. An interval never has a number
// before it: condition refuses that.
func (c *compiler) possible(e *Expr, n *node) error {
	if n.kids[0].op == opNumber && n.kids[1].op == opMeasure {
		n = &node{op: mirrored(n.op), at: n.at, text: n.text, kids: []*node{n.kids[1], n.kids[0]}}
	}
	if n.kids[0].op != opMeasure || e.measures[n.kids[0].m].delta {
		return nil
	}
	m := e.measures[n.kids[0].m]
	limits := make([]float64, 0, 2)
	for _, k := range n.kids[1:] {
		if k.op != opNumber {
			return nil
		}
		if m.isShare() && (k.num < 0 || k.num > 1) {
			return c.errAt(k.at, fmt.Sprintf("a share is between 0 and 1: %v%% is %v", k.num, k.num/100), "a share of %v cannot be", k.num)
		}
		if k.num < 0 {
			return c.errAt(k.at, "", "%s cannot be less than 0", m.text)
		}
		limits = append(limits, k.num)
	}
	always, never := m.bounds(n.op, limits)
	if always {
		return c.errAt(n.at, "a check that cannot fail shows nothing", "%q always holds", n.text)
	}
	if never {
		return c.errAt(n.at, "", "%q never holds", n.text)
	}
	return c.conceivable(e, m, n, limits[0])
}

// bounds says whether the measure's range, from 0 and for a ratio to 1, decides a comparison with its limits.
func (m *measure) bounds(op string, limits []float64) (always, never bool) {
	share, x := m.isShare(), limits[0]
	switch op {
	case operators.GreaterEquals:
		return x == 0, false
	case operators.Less:
		return false, x == 0
	case operators.LessEquals:
		return share && x == 1, false
	case operators.Greater:
		return false, share && x == 1
	case operators.In:
		return share && x == 0 && limits[1] == 1, false
	default:
		return false, false
	}
}

// conceivable refuses what no number of requests could show at a confidence.
func (c *compiler) conceivable(e *Expr, m *measure, n *node, limit float64) error {
	if e.shareOf(m) == 0 {
		return nil
	}
	edge := m.isShare() && (n.op == operators.GreaterEquals && limit == 1 || n.op == operators.LessEquals && limit == 0)
	if n.op == operators.Equals || edge {
		return c.errAt(n.at, "leave @… out to speak of the requests that were made, or allow a margin",
			"no number of requests can show that %s at a confidence", n.text)
	}
	return nil
}

func mirrored(op string) string {
	switch op {
	case operators.Less:
		return operators.Greater
	case operators.LessEquals:
		return operators.GreaterEquals
	case operators.Greater:
		return operators.Less
	case operators.GreaterEquals:
		return operators.LessEquals
	default:
		return op
	}
}

// estimable refuses a confidence for what has no distribution-free interval, and what a halt cannot know.
func (c *compiler) estimable(e *Expr) error {
	for _, m := range e.measures {
		name, _, _ := strings.Cut(m.text, "(")
		switch {
		case e.confidence > 0 && (m.kind == mMean || m.kind == mMin || m.kind == mMax):
			return c.errAt(m.at, "use a percentile such as p50, or leave @… out",
				"%s has no interval that holds for every distribution", m.text)
		case c.halt && (!m.ofSamples() || m.delta):
			return c.errAt(m.at, "a halt reads the client's requests: ratio, rate, mean, min, max and percentiles",
				"%s is not known while the load runs", m.text)
		case c.halt && m.response:
			return c.errAt(m.at, "leave "+timeResponse+" out", "a halt's times count from when a call started")
		case c.halt && m.kind == mCount:
			return c.errAt(m.at, "use ratio(…) or rate(…)", "%s has no meaning for a moment", name)
		case c.halt && m.pred != nil:
			for _, v := range m.pred.uses {
				if v != "code" && v != "latency" && v != "error" {
					return c.errAt(m.at, "a halt's predicates know code, latency and error", "%s is not known while the load runs", v)
				}
			}
		}
	}
	return nil
}
