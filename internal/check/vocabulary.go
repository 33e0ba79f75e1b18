package check

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// domain is what a predicate is asked of.
type domain int

const (
	ofSamples  domain = iota // the client's requests
	ofAccess                 // access log entries
	ofRecorded               // interface-traffic records
)

func (d domain) String() string {
	return [...]string{"the client's requests", "access log entries", "interface-traffic records"}[d]
}

// variable is a name that a predicate may use.
type variable struct {
	name string
	typ  *cel.Type
	time bool // seconds
	each bool // differs from request to request, so that remembering the outcome is of no use
	join bool // known only where the access log has the request
}

func (d domain) variables() []variable {
	list := cel.ListType(cel.StringType)
	if d == ofAccess {
		return []variable{
			{name: "code", typ: cel.IntType}, {name: "path", typ: cel.StringType}, {name: "method", typ: cel.StringType},
			{name: "version", typ: cel.StringType}, {name: "authority", typ: cel.StringType}, {name: "flags", typ: list},
			{name: "route", typ: cel.StringType}, {name: "principal", typ: cel.StringType},
			{name: "duration", typ: cel.DoubleType, time: true}, {name: "attempts", typ: cel.IntType},
			{name: "details", typ: cel.StringType},
		}
	}
	if d == ofRecorded {
		return []variable{
			{name: "code", typ: cel.IntType}, {name: "interface", typ: cel.StringType}, {name: "method", typ: cel.StringType},
			{name: "version", typ: cel.StringType}, {name: "flags", typ: list}, {name: "failed", typ: cel.BoolType},
			{name: "source", typ: cel.StringType}, {name: "service", typ: cel.StringType}, {name: "workload", typ: cel.StringType},
			{name: "serviceNamespace", typ: cel.StringType}, {name: reporterVariable, typ: cel.StringType},
		}
	}
	return []variable{
		{name: "code", typ: cel.IntType}, {name: timeLatency, typ: cel.DoubleType, time: true, each: true},
		{name: timeResponse, typ: cel.DoubleType, time: true, each: true}, {name: timeLate, typ: cel.DoubleType, time: true, each: true},
		{name: "version", typ: cel.StringType}, {name: "flags", typ: list, join: true},
		{name: "error", typ: cel.StringType}, {name: "route", typ: cel.StringType, join: true},
		{name: "pod", typ: cel.StringType, join: true}, {name: "attempts", typ: cel.IntType, join: true},
		{name: "start", typ: cel.DoubleType, time: true, each: true}, {name: "conn", typ: cel.IntType, each: true},
		{name: "finds", typ: cel.MapType(cel.StringType, cel.IntType)},
	}
}

func (d domain) names() []string {
	var names []string
	for _, v := range d.variables() {
		names = append(names, v.name)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "finds" }) // it is written as the functions
	names = append(names, "flag")
	if d == ofSamples {
		names = append(names, "found", "occurrences")
	}
	return names
}

func (d domain) find(name string) (variable, bool) {
	vs := d.variables()
	i := slices.IndexFunc(vs, func(v variable) bool { return v.name == name })
	if i < 0 {
		return variable{}, false
	}
	return vs[i], true
}

// env is the CEL environment of predicates.
func (d domain) env() (*cel.Env, error) {
	opts := []cel.EnvOption{
		cel.CrossTypeNumericComparisons(true), cel.EnableMacroCallTracking(),
		cel.Macros(append(slices.Clone(cel.StandardMacros), cel.GlobalMacro("flag", 1, expandFlag),
			cel.GlobalMacro("found", 1, expandFound), cel.GlobalMacro("occurrences", 1, expandOccurrences))...),
	}
	for _, v := range d.variables() {
		opts = append(opts, cel.Variable(v.name, v.typ))
	}
	return cel.NewEnv(opts...)
}

// expandFlag makes flag("UO") of "UO" in flags. A flag that Envoy does not have would never be found, and its count
// would be a 0 that means nothing.
func expandFlag(h cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	arg := args[0]
	name, ok := "", false
	if arg.Kind() == ast.LiteralKind {
		name, ok = arg.AsLiteral().Value().(string)
	}
	if !ok {
		return nil, h.NewError(arg.ID(), `flag takes a response flag in quotes, such as flag("UO")`)
	}
	if !slices.Contains(responseFlags(), name) {
		return nil, h.NewError(arg.ID(), `Envoy has no response flag "`+name+`"; `+didYouMean(name, responseFlags()))
	}
	return h.NewCall(operators.In, h.Copy(arg), h.NewIdent("flags")), nil
}

// responseFlags are Envoy's short response flags.
func responseFlags() []string {
	return []string{
		"DC", "DF", "DI", "DO", "DPE", "DR", "DT", "FI", "IH", "LH", "LR", "NC", "NFCF", "NR", "OM", "RFCF", "RL", "RLSE",
		"SI", "UAEX", "UC", "UDO", "UF", "UH", "UMSDR", "UO", "UPE", "UR", "URX", "UT",
	}
}

// errorKinds are the values of record.Request.Error.
func errorKinds() []string {
	return []string{"refused", "reset", "timeout", "eof", "canceled", "dns", "tls", "other"}
}
