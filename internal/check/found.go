package check

import (
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Find is a name of a load's find that a statement asks for, and where.
type Find struct {
	Name     string
	Column   int
	Baseline bool // the baseline's load has to look for it too
}

// Finds are the names that the loads have to look for.
func (e *Expr) Finds() []Find {
	var all []Find
	for _, m := range e.measures {
		if m.pred == nil {
			continue
		}
		for _, f := range m.pred.finds {
			f.Baseline = m.delta
			all = append(all, f)
		}
	}
	return all
}

// expandOccurrences makes occurrences("star") of finds["star"]. A name that the load does not look for has no value, so that nothing
// can be said by it.
func expandOccurrences(h cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	arg := args[0]
	if arg.Kind() == ast.LiteralKind {
		if name, ok := arg.AsLiteral().Value().(string); ok && name != "" {
			return h.NewCall(operators.Index, h.NewIdent("finds"), h.Copy(arg)), nil
		}
	}
	return nil, h.NewError(arg.ID(), `found and occurrences take a name of the load's find in quotes, such as found("error")`)
}

// expandFound makes found("star") of occurrences("star") > 0.
func expandFound(h cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	n, err := expandOccurrences(h, target, args)
	if err != nil {
		return nil, err
	}
	return h.NewCall(operators.Greater, n, h.NewLiteral(types.Int(0))), nil
}

// find notes a name of a load's find.
func (l *linter) find(args []ast.Expr) {
	if args[0].Kind() != ast.IdentKind || args[0].AsIdent() != "finds" || args[1].Kind() != ast.LiteralKind {
		return
	}
	if name, ok := args[1].AsLiteral().Value().(string); ok {
		l.finds = append(l.finds, Find{Name: name, Column: l.at[l.offset(args[1])] + 1})
	}
}

// finds reads record.Request.Found; known is false when nobody looked, or not at all of the answer.
func finds(found string) (counts map[string]int64, known bool) {
	if found == "" || found == "?" {
		return nil, false
	}
	counts = map[string]int64{}
	for entry := range strings.SplitSeq(found, " ") {
		name, count, _ := strings.Cut(entry, "=")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			return nil, false
		}
		counts[name] = n
	}
	return counts, true
}
