package check

import (
	"errors"
	"fmt"
	"io/fs"

	"cel.dev/cel-go/common/ast"

	"squall/internal/record"
)

// effectNames are the functions of a workload that tell what steps did to its pods.
func effectNames() []string {
	return []string{record.Replaced, record.Stopped, record.Partitioned, record.Stuck, record.Cordoned}
}

// effect compiles NAME(WORKLOAD).
func (c *compiler) effect(e ast.Expr, name string) (*measure, error) {
	args := e.AsCall().Args()
	m := &measure{kind: mEffect, field: name}
	if len(args) == 1 {
		switch args[0].Kind() {
		case ast.IdentKind:
			m.service = args[0].AsIdent()
		case ast.LiteralKind:
			m.service, _ = args[0].AsLiteral().Value().(string)
		}
	}
	if m.service == "" {
		return nil, c.errOn(e, fmt.Sprintf(`write %s("reviews-v1")`, name), "%s takes the name of a workload", name)
	}
	return m, nil
}

// ofEffects counts the pods that met an effect of the phase's steps. A step that was not made has no effect that could be 0.
func (p *phase) ofEffects(m *measure) reading {
	const source = "pods"
	list, err := p.records.Effects(p.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return absent(source, "what the steps of %s did to pods cannot be read: %v", p.name, err)
	}
	total, found := 0, false
	for _, e := range list {
		if e.Name != m.field || e.Workload != m.service {
			continue
		}
		if e.Missing != "" {
			return absent(source, "%s: %s", e.Step, e.Missing)
		}
		total, found = total+len(e.Pods), true
	}
	if !found {
		return absent(source, "no step of %s was to have pods of %s %s", p.name, m.service, m.field)
	}
	return exact(float64(total), int64(total), source)
}
