package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// predicate is a condition on one request or access log entry. A nil predicate holds for all.
type predicate struct {
	key   string // its text: two predicates with one key are one
	prog  cel.Program
	finds []Find
	each  bool // to be evaluated for every request
	join  bool // needs the access log
	uses  []string
}

// holds is Inconclusive with the reason when something that the answer depends on is not known.
func (p *predicate) holds(vars cel.Activation) (Verdict, error) {
	if p == nil {
		return Pass, nil
	}
	v, _, err := p.prog.Eval(vars)
	if err != nil {
		return Inconclusive, err
	}
	if v == types.True {
		return Pass, nil
	}
	return Fail, nil
}

func (p *predicate) needsJoin() bool { return p != nil && p.join }

func predicateKey(p *predicate) string {
	if p == nil {
		return ""
	}
	return p.key
}

// predicate compiles the characters [from, to) of the statement. All others are blanked so that CEL's columns are the
// statement's.
func (c *compiler) predicate(d domain, from, to int) (*predicate, error) {
	env, err := d.env()
	if err != nil {
		return nil, fmt.Errorf("make the language of predicates: %w", err)
	}
	source := strings.Repeat(" ", from) + string(c.out[from:to])
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, c.celError(issues, d, from, to)
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return nil, c.errAt(from, "write for example code == 503", "%q is a %s, not a condition", c.written(from, to), checked.OutputType())
	}
	key, err := cel.AstToString(checked) // the same however it is spaced
	if err != nil {
		return nil, c.errAt(from, "", "%v", err)
	}
	p := &predicate{key: key}
	for _, ref := range checked.NativeRep().ReferenceMap() {
		if v, ok := d.find(ref.Name); ok && !slices.Contains(p.uses, v.name) {
			p.uses = append(p.uses, v.name)
			p.each = p.each || v.each
			p.join = p.join || v.join
		}
	}
	if len(p.uses) == 0 {
		return nil, c.errAt(from, "use "+strings.Join(d.names(), ", "), "%q is the same for every request", c.written(from, to))
	}
	slices.Sort(p.uses)
	l := &linter{compiler: c, domain: d, info: checked.NativeRep().SourceInfo()}
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(l.visit))
	if l.err != nil {
		return nil, l.err
	}
	p.finds = l.finds
	p.prog, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, c.errAt(from, "", "%v", err)
	}
	return p, nil
}

// celError turns CEL's first issue into the author's terms.
func (c *compiler) celError(issues *cel.Issues, d domain, from, to int) error {
	list := issues.Errors()
	if len(list) == 0 {
		return &SyntaxError{Column: 1, Msg: issues.Err().Error()}
	}
	first := list[0]
	msg, at := strings.TrimPrefix(first.Message, "Syntax error: "), from
	if first.Location.Line() >= 1 && first.Location.Column() >= 0 {
		at = min(first.Location.Column(), to)
	}
	msg, _, _ = strings.Cut(msg, " expecting {")
	if m := regexp.MustCompile(`^undeclared reference to '(.*?)'`).FindStringSubmatch(msg); m != nil {
		if m[1] == "finds" {
			return c.errAt(at, "there are "+strings.Join(d.names(), ", "), "found and occurrences are known of %s, not of %s", ofSamples, d)
		}
		for _, other := range []domain{ofSamples, ofAccess, ofRecorded} {
			if _, ok := other.find(m[1]); ok {
				return c.errAt(at, "there are "+strings.Join(d.names(), ", "), "%s is known of %s, not of %s", m[1], other, d)
			}
		}
		return c.errAt(at, didYouMean(m[1], d.names()), "unknown name %q", m[1])
	}
	msg = strings.ReplaceAll(msg, "'<EOF>'", "the end")
	if head, hint, ok := strings.Cut(msg, "; "); ok {
		return c.errAt(at, hint, "%s", head)
	}
	return c.errAt(at, "", "%s", msg)
}

// linter finds what CEL accepts and what can only be a mistake.
type linter struct {
	*compiler
	domain domain
	info   *ast.SourceInfo
	finds  []Find
	err    error
}

func (l *linter) offset(e ast.Expr) int { return offsetIn(l.info, e) }

func (l *linter) visit(e ast.Expr) {
	if l.err != nil || e.Kind() != ast.CallKind {
		return
	}
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.In:
		l.set(args[0], args[1])
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		l.pair(args[0], args[1])
		l.pair(args[1], args[0])
	case "matches":
		l.regex(args)
	case operators.Index:
		l.find(args)
	}
}

// set refuses code in [500, 599], which CEL takes as two codes and most readers as a hundred.
func (l *linter) set(elem, list ast.Expr) {
	if list.Kind() != ast.ListKind {
		return
	}
	elems := list.AsList().Elements()
	for _, x := range elems {
		l.pair(elem, x)
	}
	if len(elems) != 2 || l.err != nil {
		return
	}
	a, okA := number(elems[0])
	b, okB := number(elems[1])
	if okA && okB {
		name := "x"
		if elem.Kind() == ast.IdentKind {
			name = elem.AsIdent()
		}
		l.err = l.errAt(l.offset(list), fmt.Sprintf("write %s >= %v && %s <= %v, or %s == %v || %s == %v", name, a, name, b, name, a, name, b),
			"two numbers in a list may be read as a range or as a set")
	}
}

// pair looks at a comparison of a variable with a literal.
func (l *linter) pair(name, lit ast.Expr) {
	if l.err != nil || name.Kind() != ast.IdentKind || lit.Kind() != ast.LiteralKind {
		return
	}
	v, known := l.domain.find(name.AsIdent())
	if !known {
		return
	}
	unit := l.unitAt(l.offset(lit))
	if s, ok := lit.AsLiteral().Value().(string); ok {
		if v.name == "error" && s != "" && !slices.Contains(errorKinds(), s) {
			l.err = l.errAt(l.offset(lit), didYouMean(s, errorKinds()), "there is no error %q", s)
		}
		if sides := []string{"source", callee}; v.name == reporterVariable && !slices.Contains(sides, s) {
			l.err = l.errAt(l.offset(lit), didYouMean(s, sides), "the reporter is the caller's proxy, source, or the callee's, destination")
		}
		return
	}
	n, ok := number(lit)
	switch {
	case !ok:
	case unit == "%":
		l.err = l.errAt(l.offset(lit), "", "%s is not a share, so it has no %%", v.name)
	case v.time && unit == "" && n != 0:
		l.err = l.errAt(l.offset(lit), fmt.Sprintf("write %vms or %vs", n, n), "%s is a time and %v has no unit", v.name, n)
	case unit == unitMemory:
		l.err = l.errAt(l.offset(lit), "", "%s is no amount of memory", v.name)
	case !v.time && unit == "s":
		l.err = l.errAt(l.offset(lit), "", "%s is not a time", v.name)
	case v.name == "code" && (n < 0 || n > 16 && n < 100 || n > 600):
		l.err = l.errAt(l.offset(lit), "HTTP has 100 to 599, gRPC 0 to 16", "there is no status %v", n)
	}
}

func (l *linter) regex(args []ast.Expr) {
	if len(args) == 0 || args[len(args)-1].Kind() != ast.LiteralKind {
		return
	}
	lit := args[len(args)-1]
	if s, ok := lit.AsLiteral().Value().(string); ok {
		if _, err := regexp.Compile(s); err != nil {
			l.err = l.errAt(l.offset(lit), "", "%s", regexpError(err))
		}
	}
}

func regexpError(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}

// number is a numeric literal's value, its sign included.
func number(e ast.Expr) (float64, bool) {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Negate {
		v, ok := number(e.AsCall().Args()[0])
		return -v, ok
	}
	if e.Kind() != ast.LiteralKind {
		return 0, false
	}
	switch v := e.AsLiteral().(type) {
	case types.Int:
		return float64(v), true
	case types.Uint:
		return float64(v), true
	case types.Double:
		return float64(v), true
	default:
		return 0, false
	}
}

// unitAt is the unit of the number literal at an offset of out. CEL counts a sign to the literal.
func (t *text) unitAt(offset int) string {
	for offset < len(t.out) && (t.out[offset] == '-' || t.out[offset] == ' ') {
		offset++
	}
	return t.units[offset]
}
