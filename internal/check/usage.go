package check

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"cel.dev/cel-go/common/ast"

	"squall/internal/record"
)

const mebibyte = 1 << 20

// ClientName is what the load generator is called where a service may stand: it is none.
const ClientName = "squall-load"

// usage compiles cpu(SERVICE, "PART") and memory(SERVICE, "PART"); the part may be left out.
func (c *compiler) usage(e ast.Expr) (*measure, error) {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	if len(args) < 1 || len(args) > 2 {
		return nil, c.errOn(e, "write "+name+`(httpbin) or `+name+`(httpbin, "proxy")`, "%s takes a service and may take a part of its pods", name)
	}
	m := &measure{kind: mCPU}
	if name == "memory" {
		m.kind = mMemory
	}
	var err error
	if args[0].Kind() == ast.LiteralKind && args[0].AsLiteral().Value() == ClientName {
		m.service = ClientName
	} else if m.service, err = c.service(args[0], false); err != nil {
		return nil, err
	}
	if len(args) == 2 {
		if m.field, err = c.str(args[1], "a part of a pod"); err != nil {
			return nil, err
		}
		if parts := []string{record.App, record.Sidecar}; !slices.Contains(parts, m.field) {
			return nil, c.errOn(args[1], didYouMean(m.field, parts), "a pod has no part %q", m.field)
		}
	}
	return m, nil
}

// ofUsage reads what a service's pods used during the load: cores on average, or MiB at the end or the beginning, whichever is more.
func (p *phase) ofUsage(m *measure) reading {
	const source = "processes"
	before, err := p.records.Usage(p.name, record.Before)
	after, err2 := p.records.Usage(p.name, record.After)
	if err = errors.Join(err, err2); errors.Is(err, fs.ErrNotExist) {
		return absent(source, "the environment does not tell what processes use")
	}
	if err != nil {
		return absent(source, "what processes used cannot be read: %v", err)
	}
	total, pods := 0.0, int64(0)
	for _, now := range after {
		if !p.isOf(now, m.service) {
			continue
		}
		i := slices.IndexFunc(before, func(u record.PodUsage) bool { return u.Pod == now.Pod })
		if i < 0 {
			return absent(source, "%s was not there before the load", now.Pod)
		}
		used, why := between(m, before[i].Parts, now.Parts)
		if why != "" {
			return absent(source, "%s %s", now.Pod, why)
		}
		total += used
		pods++
	}
	if pods == 0 && m.service == ClientName {
		return absent(source, "the load generator has no proxy")
	}
	if pods == 0 {
		return absent(source, "no pod belongs to %s", m.service)
	}
	if m.kind == mCPU {
		if !(p.load.Seconds > 0) {
			return absent(source, "the load took no time")
		}
		total /= p.load.Seconds
	}
	return exact(total, pods, source)
}

// isOf says whether a pod is one of the service, or the load generator's.
func (p *phase) isOf(u record.PodUsage, service string) bool {
	if service != ClientName {
		return slices.Contains(u.Services, service)
	}
	return slices.ContainsFunc(p.proxies, func(x record.Proxy) bool { return x.Client && x.Pod == u.Pod })
}

// between is what the parts of a pod used, or why that is not known.
func between(m *measure, before, after map[string]record.Usage) (used float64, why string) {
	found := false
	for part, now := range after {
		if m.field != "" && part != m.field {
			continue
		}
		found = true
		was, ok := before[part]
		switch {
		case m.kind == mMemory:
			used += float64(max(now.Memory, was.Memory)) / mebibyte
		case !ok || was.PID != now.PID:
			return 0, "has a program (" + part + ") that started during the load"
		default:
			used += now.CPU - was.CPU
		}
	}
	switch {
	case found:
		return used, ""
	case m.service == ClientName && m.field == record.App:
		return 0, "has no program of its own: the load generator is Squall itself"
	case m.field != "":
		return 0, fmt.Sprintf("has no part %q", m.field)
	default:
		return 0, "has no part whose use is known"
	}
}
