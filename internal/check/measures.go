package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// measure compiles what a quantity is made of.
func (c *compiler) measure(e ast.Expr) (*measure, error) {
	switch e.Kind() {
	case ast.IdentKind:
		return c.named(e)
	case ast.SelectKind:
		return c.selected(e)
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			return c.ofProxy(e)
		}
		return c.called(e)
	case ast.LiteralKind:
		return nil, c.errOn(e, "", "%s is not a number", c.written(c.start(e), c.end(e)))
	default:
		return nil, c.errOn(e, "compare a measure, such as ratio(code == 503)", "not a quantity")
	}
}

// named compiles a measure without parentheses: p99, mean, min, max.
func (c *compiler) named(e ast.Expr) (*measure, error) {
	name := e.AsIdent()
	if m, ok := latencyMeasure(name); ok {
		return m, nil
	}
	if slices.Contains(measureNames(), name) {
		hint := "write " + name + "(…)"
		if name == "load" {
			hint = "write for example load.count"
		}
		return nil, c.errOn(e, hint, "%s alone is not a quantity", name)
	}
	for _, d := range []domain{ofSamples, ofAccess, ofRecorded} {
		if _, ok := d.find(name); ok {
			return nil, c.errOn(e, "write for example count("+name+" == …)", "%s is known of one request, so it belongs into a predicate", name)
		}
	}
	if regexp.MustCompile(`^p\d+$`).MatchString(name) {
		return nil, c.errOn(e, "write percentile("+name[1:]+")", "there is no short name %s", name)
	}
	return nil, c.errOn(e, didYouMean(name, measureNames()), "unknown measure %q", name)
}

// latencyMeasure is a measure of latency by its name.
func latencyMeasure(name string) (*measure, bool) {
	switch name {
	case "mean":
		return &measure{kind: mMean}, true
	case "min":
		return &measure{kind: mMin}, true
	case "max":
		return &measure{kind: mMax}, true
	}
	q, ok := percentileNames()[name]
	return &measure{kind: mPercentile, q: q}, ok
}

// selected compiles load.count, and the fields of access(…), copies(…) and records(…).
func (c *compiler) selected(e ast.Expr) (*measure, error) {
	if m, ok, err := c.flow(e); ok {
		return m, err
	}
	sel := e.AsSelect()
	of, field := sel.Operand(), sel.FieldName()
	if of.Kind() == ast.IdentKind && of.AsIdent() == "load" {
		if !slices.Contains(loadFields(), field) {
			return nil, c.errOn(e, didYouMean(field, loadFields()), "load has no %q", field)
		}
		return &measure{kind: mLoad, field: field}, nil
	}
	if of.Kind() == ast.CallKind && !of.AsCall().IsMemberFunction() {
		switch of.AsCall().FunctionName() {
		case "access", "copies":
			return c.counted(e, of, field)
		case "records", "origins":
			return c.recorded(e, of, field)
		}
	}
	return nil, c.errOn(e, "write load."+field+", access(…).count or records(…).count", "nothing here has a field %q", field)
}

// counted compiles count and ratio of access(…), and count of copies(…).
func (c *compiler) counted(e, of ast.Expr, field string) (*measure, error) {
	name := of.AsCall().FunctionName()
	switch {
	case field == "ratio" && name == "copies":
		return nil, c.errOn(e, "write copies(…).count", "copies are no share of anything")
	case field != "count" && field != "ratio":
		hint := "write " + name + "(…).count or " + name + "(…).ratio"
		if slices.Contains(recordedFields(), field) {
			hint += "; records(…) has " + field
		}
		return nil, c.errOn(e, hint, "%s has no %q", name, field)
	}
	m, err := c.entries(of)
	if err == nil && field == "ratio" {
		if m.pred == nil {
			return nil, c.errOn(e, "say which of them", "all entries are a share of 1")
		}
		m.kind = mEntriesRatio
	}
	return m, err
}

// entries compiles access(SERVICE, PRED), of which each may be left out, and copies(SERVICE, PRED).
func (c *compiler) entries(e ast.Expr) (*measure, error) {
	name := e.AsCall().FunctionName()
	service, preds, err := c.serviceFirst(e, ofAccess)
	if err != nil {
		return nil, err
	}
	m := &measure{kind: mEntries, service: service}
	if name == "copies" {
		m.kind = mCopies
	}
	if name == "copies" && preds == 0 || len(e.AsCall().Args()) > preds+1 {
		return nil, c.errOn(e, fmt.Sprintf("write %[1]s(httpbin) or %[1]s(httpbin, code == 200); join conditions with &&", name), "%s takes a service and may take a predicate", name)
	}
	return m, c.withPredicate(m, e, ofAccess, preds)
}

// withPredicate compiles argument number i of a call, if it has so many.
func (c *compiler) withPredicate(m *measure, e ast.Expr, d domain, i int) error {
	if len(e.AsCall().Args()) <= i {
		return nil
	}
	spans, _ := c.arguments(e)
	if len(spans) <= i {
		return c.errOn(e, "", "%s cannot be read", c.written(c.start(e), c.end(e)))
	}
	p, err := c.predicate(d, spans[i].from, spans[i].to)
	m.pred = p
	return err
}

// called compiles NAME(…).
func (c *compiler) called(e ast.Expr) (*measure, error) {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	switch name {
	case "count", "ratio", "rate":
		m := &measure{kind: map[string]kind{"count": mCount, "ratio": mRatio, "rate": mRate}[name]}
		if len(args) > 1 || name == "ratio" && len(args) == 0 {
			return nil, c.errOn(e, "write "+name+"(code == 503)", "%s takes one predicate", name)
		}
		return m, c.withPredicate(m, e, ofSamples, 0)
	case "percentile":
		return c.percentile(e)
	case "records", "access", "copies":
		return nil, c.errOn(e, "write "+name+"(…).count", "%s is a set of entries, not a quantity", name)
	case "elsewhere":
		if len(args) > 1 {
			return c.cluster(e, podSet{others: true})
		}
		return c.stat(e, podSet{others: true})
	case "counter", "gauge":
		return c.stat(e, podSet{})
	case "cluster":
		return c.cluster(e, podSet{})
	case "cpu", "memory":
		return c.usage(e)
	case flowName:
		return nil, c.errOn(e, "write "+flowName+"(elasticsearch).http.rejected_concurrent", "%s has many counters, and is no quantity", flowName)
	case "delta":
		return c.delta(e)
	case "proxy":
		return nil, c.errOn(e, `write proxy(…).counter("…")`, "proxy is not a quantity")
	}
	if m, ok := latencyMeasure(name); ok {
		timed := m.timed(args)
		if len(args) > timed+1 {
			return nil, c.errOn(e, "join conditions with &&", "%s takes one predicate", name)
		}
		return m, c.withPredicate(m, e, ofSamples, timed)
	}
	if stat, ok := hostStats()[name]; ok {
		return c.hostStat(e, stat, args)
	}
	if stat, ok := faultStats()[name]; ok {
		if len(args) > 0 {
			return nil, c.errOn(e, "write "+name+"()", "%s takes nothing: the fault filter counts for all routes together", name)
		}
		re, err := regexp.Compile(`^http\..*\bfault\.` + stat + `$`)
		return &measure{kind: mCounter, stat: statPattern{re: re}}, err
	}
	if slices.Contains(effectNames(), name) {
		return c.effect(e, name)
	}
	if slices.Contains(ofSamples.names(), name) {
		return nil, c.errOn(e, "write for example count("+name+"(…))", "%s is known of one request, so it belongs into a predicate", name)
	}
	if isOperator(name) {
		return nil, c.errAt(c.offset(e), "", "%q is not a quantity", c.written(c.start(e), c.end(e)))
	}
	return nil, c.errOn(e, didYouMean(name, measureNames()), "unknown function %q", name)
}

func isOperator(name string) bool {
	_, ok := operators.FindReverse(name)
	return ok || strings.HasPrefix(name, "_") || strings.HasPrefix(name, "@")
}

func (c *compiler) percentile(e ast.Expr) (*measure, error) {
	args := e.AsCall().Args()
	m := &measure{kind: mPercentile}
	timed := m.timed(args[min(1, len(args)):])
	if len(args) < 1 || len(args) > timed+2 {
		return nil, c.errOn(e, "write percentile(99.9) or percentile(99.9, code == 200)", "percentile takes a number and may take a predicate")
	}
	v, ok := number(args[0])
	if ok && c.unitAt(c.offset(args[0])) == "%" {
		v *= 100
	}
	if !ok || !(v > 0 && v < 100) {
		return nil, c.errOn(args[0], "write for example percentile(99.9)", "a percentile is a number above 0 and below 100")
	}
	m.q = v / 100
	return m, c.withPredicate(m, e, ofSamples, timed+1)
}

func (c *compiler) delta(e ast.Expr) (*measure, error) {
	args := e.AsCall().Args()
	if len(args) != 1 {
		return nil, c.errOn(e, "write for example delta(p50)", "delta takes one measure")
	}
	m, err := c.measure(args[0])
	if err != nil {
		return nil, err
	}
	if m.delta {
		return nil, c.errOn(args[0], "", "a delta of a delta has no meaning")
	}
	m.delta = true
	return m, nil
}

// service reads a service's name: an identifier, or a string. Where outside is true a name with dots needs no service.
func (c *compiler) service(e ast.Expr, outside bool) (string, error) {
	var name string
	switch e.Kind() {
	case ast.IdentKind:
		name = e.AsIdent()
	case ast.LiteralKind:
		name, _ = e.AsLiteral().Value().(string)
	}
	if name == "" {
		return "", c.errOn(e, fmt.Sprintf("a name with other characters needs quotes: %q", c.written(c.start(e), c.end(e))), "not a service")
	}
	short := name
	if outside && strings.Contains(name, ".") {
		return name, nil
	}
	if !slices.Contains(c.services, short) {
		return "", c.errOn(e, didYouMean(short, c.services), "there is no service %q", short)
	}
	return name, nil
}

// str reads a string literal that is not empty.
func (c *compiler) str(e ast.Expr, what string) (string, error) {
	if e.Kind() == ast.LiteralKind {
		if s, ok := e.AsLiteral().Value().(string); ok && s != "" {
			return s, nil
		}
	}
	return "", c.errOn(e, "", "%s is a string in quotes", what)
}

// stat compiles counter("…"), gauge("…") and elsewhere("…").
func (c *compiler) stat(e ast.Expr, pods podSet) (*measure, error) {
	call := e.AsCall()
	if len(call.Args()) != 1 {
		return nil, c.errOn(e, "", "%s takes a stat's full name or a regular expression, in quotes", call.FunctionName())
	}
	name, err := c.str(call.Args()[0], "a stat's name")
	if err != nil {
		return nil, err
	}
	m := &measure{kind: mCounter, pods: pods, stat: statPattern{name: name}}
	if call.FunctionName() == "gauge" {
		m.kind = mGauge
	}
	if !isStatPattern(name) {
		return m, nil
	}
	re, err := regexp.Compile(name)
	if err != nil {
		return nil, c.errOn(call.Args()[0], "", "%s", regexpError(err))
	}
	if re.MatchString("") {
		return nil, c.errOn(call.Args()[0], `write \| for a bar in a cluster's name`, "this pattern matches every stat")
	}
	m.stat = statPattern{re: re}
	return m, nil
}

// ofProxy compiles proxy(…).counter("…") and proxy(…).gauge("…").
func (c *compiler) ofProxy(e ast.Expr) (*measure, error) {
	call := e.AsCall()
	name, target := call.FunctionName(), call.Target()
	if target.Kind() != ast.CallKind || target.AsCall().FunctionName() != "proxy" || target.AsCall().IsMemberFunction() {
		if name == "count" {
			return nil, c.errOn(e, "write .count", "count is a field here and has no parentheses")
		}
		return nil, c.errOn(e, `write proxy(…).counter("…")`, "nothing here has a function %q", name)
	}
	if name != "counter" && name != "gauge" {
		return nil, c.errOn(e, didYouMean(name, []string{"counter", "gauge"}), "proxy has no function %q", name)
	}
	args := target.AsCall().Args()
	if len(args) != 1 {
		return nil, c.errOn(target, `write proxy(httpbin) or proxy("pod-1")`, "proxy takes a pod or a service")
	}
	if args[0].Kind() == ast.IdentKind {
		svc, err := c.service(args[0], false)
		if err != nil {
			return nil, err
		}
		return c.stat(e, podSet{name: svc})
	}
	pod, err := c.str(args[0], "a pod's name")
	if err != nil {
		return nil, err
	}
	return c.stat(e, podSet{name: pod})
}

// cluster compiles cluster(HOST, "STAT", SUBSET), and elsewhere of the same.
func (c *compiler) cluster(e ast.Expr, pods podSet) (*measure, error) {
	args, name := e.AsCall().Args(), e.AsCall().FunctionName()
	if len(args) < 2 || len(args) > 3 {
		return nil, c.errOn(e, "write "+name+`(httpbin, "upstream_rq_total")`, "%s takes a host, a stat and may take a subset", name)
	}
	stat, err := c.str(args[1], "a stat's name")
	if err != nil {
		return nil, err
	}
	m, err := c.hostStat(e, stat, append([]ast.Expr{args[0]}, args[2:]...))
	if err == nil {
		m.pods = pods
	}
	return m, err
}

// hostStat compiles a counter of a host's clusters; args are the host and perhaps a subset.
func (c *compiler) hostStat(e ast.Expr, stat string, args []ast.Expr) (*measure, error) {
	if len(args) < 1 || len(args) > 2 {
		name := e.AsCall().FunctionName()
		return nil, c.errOn(e, "write "+name+"(httpbin)", "%s takes a host and may take a subset", name)
	}
	host, err := c.service(args[0], true)
	if err != nil {
		return nil, err
	}
	p := statPattern{host: host, stat: stat, anySubset: len(args) == 1}
	if len(args) == 2 {
		switch {
		case args[1].Kind() == ast.IdentKind:
			p.subset = args[1].AsIdent()
		default:
			if p.subset, err = c.str(args[1], "a subset"); err != nil {
				return nil, err
			}
		}
	}
	return &measure{kind: mCounter, stat: p}, nil
}
