package check

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"

	"squall/internal/record"
)

// flowName is the function of a service whose flow control is asked.
const flowName = "flowcontrol"

// FlowService is a service whose flow control a statement asks, and where in the statement.
type FlowService struct {
	Name   string
	Column int
}

// FlowServices are the services whose flow control the statement asks.
func (e *Expr) FlowServices() []FlowService {
	var out []FlowService
	for _, m := range e.measures {
		if m.kind == mFlow {
			out = append(out, FlowService{m.service, m.column})
		}
	}
	return out
}

// flow compiles flowcontrol(SERVICE, "NODE").PART.COUNT; ok is false for what begins otherwise.
func (c *compiler) flow(e ast.Expr) (m *measure, ok bool, err error) {
	var fields []string
	of := e
	for ; of.Kind() == ast.SelectKind; of = of.AsSelect().Operand() {
		fields = append([]string{of.AsSelect().FieldName()}, fields...)
	}
	if of.Kind() != ast.CallKind || of.AsCall().IsMemberFunction() || of.AsCall().FunctionName() != flowName {
		return nil, false, nil
	}
	m = &measure{kind: mFlow, field: strings.Join(fields, "."), column: c.at[c.start(of)] + 1}
	if !slices.Contains(record.FlowCounts(), m.field) {
		return nil, true, c.errOn(e, didYouMean(m.field, record.FlowCounts()), "flow control does not count %q", m.field)
	}
	args := of.AsCall().Args()
	if len(args) < 1 || len(args) > 2 {
		return nil, true, c.errOn(of, "write "+flowName+"(elasticsearch)."+m.field, "%s takes a service and may take a node", flowName)
	}
	if args[0].Kind() == ast.IdentKind {
		m.service = args[0].AsIdent()
	} else if m.service, err = c.str(args[0], "a service"); err != nil {
		return nil, true, err
	}
	if len(args) == 2 {
		m.node, err = c.str(args[1], "the name or id of a node")
	}
	return m, true, err
}

// ofFlow reads what flow control counted during the load, or for what goes up and down what there was after it.
func (p *phase) ofFlow(m *measure) reading {
	source := "flow control of " + m.service
	gauge := slices.Contains(record.FlowGauges(), m.field)
	after, why := p.flowOf(m.service, record.After)
	if why != "" {
		return absent(source, "%s", why)
	}
	nodes, why := nodesOf(after, m.node)
	if why != "" {
		return absent(source, "%s", why)
	}
	var before record.FlowControl
	if !gauge {
		if before, why = p.flowOf(m.service, record.Before); why == "" {
			why = begunAnew(before, after)
		}
		if why != "" {
			return absent(source, "%s", why)
		}
	}
	var total int64
	for _, n := range nodes {
		v, has := n.Counts[m.field]
		if !has {
			return absent(source, "node %s does not tell %s", n.Name, m.field)
		}
		if gauge {
			total += v
			continue
		}
		grown, why := grownAt(before, n, m.field)
		if why != "" {
			return absent(source, "%s", why)
		}
		total += grown
	}
	return exact(float64(total), p.load.Count, source)
}

// flowOf is what was counted at one end of the phase, or why that is not known.
func (p *phase) flowOf(service string, when record.When) (f record.FlowControl, why string) {
	all, err := p.records.FlowControl(p.name, when)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, fmt.Sprintf("it was not asked %s the load of %s", when, p.name)
	case err != nil:
		return f, fmt.Sprintf("what it said %s the load of %s cannot be read: %v", when, p.name, err)
	}
	i := slices.IndexFunc(all, func(f record.FlowControl) bool { return f.Service == service })
	if i < 0 {
		return f, fmt.Sprintf("it was not asked %s the load of %s", when, p.name)
	}
	if f = all[i]; f.Missing != "" {
		return f, fmt.Sprintf("%s the load of %s: %s", when, p.name, f.Missing)
	}
	return f, ""
}

// nodesOf are the node of that name or id, or all for none.
func nodesOf(f record.FlowControl, node string) (out []record.FlowNode, why string) {
	var names []string
	for _, n := range f.Nodes {
		if node == "" || n.Name == node || n.ID == node {
			out = append(out, n)
		}
		names = append(names, n.Name)
	}
	if len(out) == 0 {
		return nil, fmt.Sprintf("there is no node %q; there are: %s", node, strings.Join(names, ", "))
	}
	return out, ""
}

// begunAnew says whether something else counted after than before, so that the difference means nothing.
func begunAnew(before, after record.FlowControl) string {
	if !slices.Equal(before.Instances, after.Instances) {
		return fmt.Sprintf("it started anew during the load: %s before, and %s after", strings.Join(before.Instances, ", "), strings.Join(after.Instances, ", "))
	}
	same := func(a, b record.FlowNode) bool { return a.ID == b.ID && a.Started == b.Started }
	if !slices.EqualFunc(before.Nodes, after.Nodes, same) {
		return "a node came, went or started anew during the load"
	}
	return ""
}

// grownAt is by how much a counter of a node has grown.
func grownAt(before record.FlowControl, now record.FlowNode, field string) (grown int64, why string) {
	for _, n := range before.Nodes {
		if n.ID != now.ID {
			continue
		}
		was, has := n.Counts[field]
		switch after := now.Counts[field]; {
		case !has:
			return 0, fmt.Sprintf("node %s did not tell %s before the load", n.Name, field)
		case after < was:
			return 0, fmt.Sprintf("%s of node %s went backwards from %d to %d", field, n.Name, was, after)
		default:
			return after - was, ""
		}
	}
	return 0, "node " + now.Name + " was not there before the load"
}
