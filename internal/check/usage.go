package check

import (
	"errors"
	"io/fs"
	"slices"

	"cel.dev/cel-go/common/ast"

	"squall/internal/record"
)

const mebibyte = 1 << 20

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
	if m.service, err = c.service(args[0], false); err != nil {
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
		if !slices.Contains(now.Services, m.service) {
			continue
		}
		i := slices.IndexFunc(before, func(u record.PodUsage) bool { return u.Pod == now.Pod })
		if i < 0 {
			return absent(source, "%s was not there before the load", now.Pod)
		}
		used, ok := between(m, before[i].Parts, now.Parts)
		if !ok {
			return absent(source, "%s has no part %q", now.Pod, m.field)
		}
		total += used
		pods++
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

// between is what the parts of a pod used; ok is false when it has not the part that is asked for.
func between(m *measure, before, after map[string]record.Usage) (used float64, ok bool) {
	for part, now := range after {
		if m.field != "" && part != m.field {
			continue
		}
		ok = true
		if m.kind == mCPU {
			used += now.CPU - before[part].CPU
			continue
		}
		used += float64(max(now.Memory, before[part].Memory)) / mebibyte
	}
	return used, ok
}
