package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Expr is a compiled statement. It is immutable and may be used by several goroutines.
type Expr struct {
	stmt       string
	limit      string // of a statement that is one comparison
	confidence float64
	root       *node
	measures   []*measure
}

func (e *Expr) String() string { return e.stmt }

// Confidence is the statement's, between 0 and 1, or 0 when it has none.
func (e *Expr) Confidence() float64 { return e.confidence }

// NeedsBaseline says whether the statement has a delta.
func (e *Expr) NeedsBaseline() bool {
	return slices.ContainsFunc(e.measures, func(m *measure) bool { return m.delta })
}

// ReadsUsage says whether the statement is about what pods use.
func (e *Expr) ReadsUsage() bool {
	return slices.ContainsFunc(e.measures, func(m *measure) bool { return m.kind == mCPU || m.kind == mMemory })
}

// ReadsRecords says whether the statement is about interface-traffic records.
func (e *Expr) ReadsRecords() bool {
	return slices.ContainsFunc(e.measures, func(m *measure) bool {
		return m.kind == mRecorded || m.kind == mRecordedRatio || m.kind == mOrigins
	})
}

// MinRequests is the number of requests below which the statement can be INCONCLUSIVE for want of requests alone,
// because a percentile has no interval. It counts all requests, which a predicate only makes fewer.
func (e *Expr) MinRequests() int64 {
	var n int64 = 1
	for _, m := range e.measures {
		if c := e.shareOf(m); c > 0 && m.kind == mPercentile {
			n = max(n, minForPercentile(m.q, c))
		}
	}
	return n
}

// shareOf is the confidence of each of a measure's intervals: the estimates of a statement share its error, and a
// delta is two of them. It is 0 for measures without an interval.
func (e *Expr) shareOf(m *measure) float64 {
	if e.confidence == 0 || !m.estimated() {
		return 0
	}
	estimates := 0
	for _, x := range e.measures {
		if x.estimated() {
			estimates++
			if x.delta {
				estimates++
			}
		}
	}
	return 1 - (1-e.confidence)/float64(estimates)
}

// compiler makes an Expr of a statement's CEL syntax tree.
type compiler struct {
	*text
	info     *ast.SourceInfo
	services []string
	halt     bool
	measures []*measure
}

// Compile reads a statement. Services are the short names that may stand in it without quotes. An error that is the
// statement's fault is a *SyntaxError with the column in the statement as written.
func Compile(stmt string, services []string) (*Expr, error) {
	t, serr := scan(stmt, false)
	if serr != nil {
		return nil, serr
	}
	return compile(stmt, t, services, false)
}

func compile(stmt string, t *text, services []string, halt bool) (*Expr, error) {
	env, err := cel.NewCustomEnv(cel.ClearMacros())
	if err != nil {
		return nil, fmt.Errorf("make the language of checks: %w", err)
	}
	c := &compiler{text: t, services: services, halt: halt}
	parsed, issues := env.Parse(string(t.out))
	if issues.Err() != nil {
		return nil, c.parseError(issues)
	}
	c.info = parsed.NativeRep().SourceInfo()
	root, err := c.condition(parsed.NativeRep().Expr())
	if err != nil {
		return nil, err
	}
	e := &Expr{stmt: strings.TrimSpace(stmt), confidence: t.confidence, root: root, measures: c.measures}
	if root.cmp() {
		e.limit = c.written(root.at, len(t.out))
	}
	if err := c.lint(e, root); err != nil {
		return nil, err
	}
	return e, nil
}

// parseError adds to CEL's words what the author most likely meant.
func (c *compiler) parseError(issues *cel.Issues) error {
	err := c.celError(issues, ofSamples, 0, len(c.out))
	var syn *SyntaxError
	if !errors.As(err, &syn) || syn.Hint != "" {
		return err
	}
	if strings.Contains(syn.Msg, "mismatched input '.") {
		syn.Hint = "a percentile without a name is percentile(99.9)"
	}
	if strings.Contains(syn.Msg, "at: '=") {
		syn.Hint = "equal is =="
	}
	return err
}

func (c *compiler) offset(e ast.Expr) int { return offsetIn(c.info, e) }

// offsetIn is where the text that info is about has an expression, as CEL sees it: see start.
func offsetIn(info *ast.SourceInfo, e ast.Expr) int {
	r, ok := info.GetOffsetRange(e.ID())
	if !ok {
		return 0
	}
	return int(r.Start)
}

func (c *compiler) errOn(e ast.Expr, hint, format string, args ...any) error {
	return c.errAt(c.start(e), hint, format, args...)
}

// start is where an expression's text begins. CEL's offset of a call is its operator or parenthesis.
func (c *compiler) start(e ast.Expr) int {
	switch e.Kind() {
	case ast.SelectKind:
		return c.start(e.AsSelect().Operand())
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			return c.start(call.Target())
		}
		at := c.offset(e)
		if at < len(c.out) && c.out[at] == '(' {
			for at > 0 && c.out[at-1] == ' ' {
				at--
			}
			for at > 0 && (isName(c.out[at-1]) || isDigit(c.out[at-1])) {
				at--
			}
			return at
		}
		if args := call.Args(); len(args) == 2 {
			return c.start(args[0])
		}
		return at
	default:
		return c.offset(e)
	}
}

// span is a part of the statement: offsets from and to, without to.
type span struct{ from, to int }

// arguments are the places of a call's arguments, and the offset behind its closing parenthesis.
func (c *compiler) arguments(e ast.Expr) ([]span, int) {
	open, depth := c.offset(e), 0
	var list []span
	from := open + 1
	for i := open; i < len(c.out); i++ {
		switch r := c.out[i]; r {
		case '"', '\'':
			if end := stringEnd(c.out, i); end > 0 {
				i = end - 1
			}
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
			if depth == 0 {
				return append(list, span{from, i}), i + 1
			}
		case ',':
			if depth == 1 {
				list = append(list, span{from, i})
				from = i + 1
			}
		}
	}
	return append(list, span{from, len(c.out)}), len(c.out)
}

// node is a part of a compiled statement.
type node struct {
	op   string // CEL's operator, or one of those below
	at   int    // offset of the operator
	text string // as written, of comparisons
	rest string // of a comparison of one measure: its text from the operator on
	kids []*node
	num  float64 // opNumber
	unit string  // opNumber: "", "s" or "%"
	m    int     // opMeasure: index into Expr.measures
}

const (
	opNumber  = "number"
	opMeasure = "measure"
	opAbs     = "abs"
)

func (n *node) cmp() bool {
	switch n.op {
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals, operators.Equals,
		operators.NotEquals, operators.In:
		return true
	default:
		return false
	}
}

func (c *compiler) condition(e ast.Expr) (*node, error) {
	if e.Kind() == ast.LiteralKind && e.AsLiteral().Type() == types.BoolType {
		return nil, c.errOn(e, "compare a measure", "a statement that is always %v shows nothing", e.AsLiteral().Value())
	}
	if e.Kind() != ast.CallKind {
		return nil, c.notCondition(e)
	}
	call := e.AsCall()
	n := &node{op: call.FunctionName(), at: c.offset(e)}
	switch n.op {
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot:
		return n, c.each(n, call.Args(), c.condition)
	case operators.Conditional:
		return nil, c.errOn(e, "use && and ||", "a check has no ?:")
	case operators.In:
		list := call.Args()[1]
		if list.Kind() != ast.ListKind || list.AsList().Size() != 2 {
			return nil, c.errOn(list, "write in [0.1, 0.95]", "in takes a closed interval of two limits")
		}
		if _, ok := number(call.Args()[0]); ok {
			return nil, c.errOn(call.Args()[0], "write ratio(…) in [0.1, 0.95]", "a measure stands before in, and its limits after it")
		}
		args := append([]ast.Expr{call.Args()[0]}, list.AsList().Elements()...)
		if err := c.each(n, args, c.quantity); err != nil {
			return nil, err
		}
		c.textOf(n, call.Args()[0], list)
		return n, nil
	}
	if !n.cmp() {
		return nil, c.notCondition(e)
	}
	if err := c.each(n, call.Args(), c.quantity); err != nil {
		return nil, err
	}
	c.textOf(n, call.Args()[0], call.Args()[1])
	return n, nil
}

// textOf notes a comparison's text, with the parentheses that CEL's offsets leave out.
func (c *compiler) textOf(n *node, left, right ast.Expr) {
	n.text = c.written(c.balanced(c.start(left), c.end(right)))
	if n.kids[0].op == opMeasure {
		n.rest = c.written(c.balanced(n.at, c.end(right)))
	}
}

// balanced widens a part of the statement until its parentheses match.
func (c *compiler) balanced(from, to int) (int, int) {
	depth, lowest := 0, 0
	for i := from; i < to; i++ {
		switch c.out[i] {
		case '"', '\'':
			if end := stringEnd(c.out, i); end > 0 {
				i = end - 1
			}
		case '(':
			depth++
		case ')':
			depth--
			lowest = min(lowest, depth)
		}
	}
	for ; lowest < 0 && from > 0; from-- {
		if c.out[from-1] == '(' {
			lowest++
			depth++
		}
	}
	for ; depth > 0 && to < len(c.out); to++ {
		if c.out[to] == ')' {
			depth--
		}
	}
	return from, to
}

func (c *compiler) notCondition(e ast.Expr) error {
	if _, err := c.quantity(e); err != nil {
		return err
	}
	return c.errOn(e, "add for example > 0", "%q is a quantity, not a condition", c.written(c.start(e), c.end(e)))
}

func (c *compiler) each(n *node, args []ast.Expr, f func(ast.Expr) (*node, error)) error {
	for _, a := range args {
		kid, err := f(a)
		if err != nil {
			return err
		}
		n.kids = append(n.kids, kid)
	}
	return nil
}

// end is where an expression's text ends.
func (c *compiler) end(e ast.Expr) int {
	at := c.offset(e)
	switch e.Kind() {
	case ast.CallKind:
		if at < len(c.out) && c.out[at] == '(' {
			_, end := c.arguments(e)
			return end
		}
		args := e.AsCall().Args()
		return c.end(args[len(args)-1])
	case ast.ListKind:
		_, end := c.arguments(e)
		return end
	case ast.SelectKind:
		at++
		for at < len(c.out) && c.out[at] == ' ' {
			at++
		}
		return at + len([]rune(e.AsSelect().FieldName()))
	default:
		if r, ok := c.info.GetOffsetRange(e.ID()); ok {
			return min(int(r.Stop), len(c.out))
		}
		return len(c.out)
	}
}

// quantity compiles arithmetic.
func (c *compiler) quantity(e ast.Expr) (*node, error) {
	if v, ok := number(e); ok {
		return &node{op: opNumber, at: c.offset(e), num: v, unit: c.unitAt(c.offset(e))}, nil
	}
	if e.Kind() == ast.CallKind {
		call := e.AsCall()
		n := &node{op: call.FunctionName(), at: c.offset(e)}
		switch n.op {
		case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Negate:
			return n, c.each(n, call.Args(), c.quantity)
		case opAbs:
			if len(call.Args()) != 1 || call.IsMemberFunction() {
				return nil, c.errOn(e, "", "abs takes one quantity")
			}
			return n, c.each(n, call.Args(), c.quantity)
		}
	}
	m, err := c.measure(e)
	if err != nil {
		return nil, err
	}
	m.at, m.text = c.start(e), c.written(c.start(e), c.end(e))
	return &node{op: opMeasure, at: c.start(e), m: c.add(m)}, nil
}

// add keeps one of each measure.
func (c *compiler) add(m *measure) int {
	i := slices.IndexFunc(c.measures, func(x *measure) bool { return x.key() == m.key() })
	if i >= 0 {
		return i
	}
	c.measures = append(c.measures, m)
	return len(c.measures) - 1
}
