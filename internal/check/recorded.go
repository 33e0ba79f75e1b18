package check

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"squall/internal/record"
	"squall/internal/traffic/store"
)

// reporterVariable says whose proxy told of a request; it is the callee's where a predicate does not ask.
const reporterVariable = "reporter"

const callee = "destination"

// waitedField is how many records were on disk for some time before the store took them.
const waitedField = "waited"

// recordedFields are what records(…) has.
func recordedFields() []string {
	fields := []string{"count", "ratio", "rate", "mean", "min", "max", "versions", waitedField}
	for name := range percentileNames() {
		fields = append(fields, name)
	}
	slices.Sort(fields)
	return fields
}

// recorded compiles records(SERVICE, PRED).FIELD and origins(SERVICE, PRED).count; service and predicate may be left out.
func (c *compiler) recorded(sel, of ast.Expr, field string) (*measure, error) {
	name := of.AsCall().FunctionName()
	m := &measure{kind: mRecorded, field: field}
	switch {
	case name == "origins":
		m.kind = mOrigins
		if field != "count" {
			return nil, c.errOn(sel, "write origins(…).count", "origins has no %q", field)
		}
	case !slices.Contains(recordedFields(), field):
		return nil, c.errOn(sel, didYouMean(field, recordedFields()), "records has no %q", field)
	case field == "ratio":
		m.kind = mRecordedRatio
	case field == waitedField && len(of.AsCall().Args()) > 0:
		return nil, c.errOn(of, "write records()."+waitedField, "it is not known of which service or kind the records are that waited")
	}
	m.q = percentileNames()[field]
	service, preds, err := c.serviceFirst(of, ofRecorded)
	if err != nil {
		return nil, err
	}
	m.service = service
	if len(of.AsCall().Args()) > preds+1 {
		return nil, c.errOn(of, "join conditions with &&", "%s takes a service and one predicate", name)
	}
	if err := c.withPredicate(m, of, ofRecorded, preds); err != nil {
		return nil, err
	}
	if field == "ratio" && m.pred == nil {
		return nil, c.errOn(sel, "say which of them", "all records are a share of 1")
	}
	return m, nil
}

// serviceFirst reads the service that a call's arguments may begin with, and returns how many arguments that takes.
func (c *compiler) serviceFirst(call ast.Expr, d domain) (service string, n int, err error) {
	args := call.AsCall().Args()
	if len(args) == 0 {
		return "", 0, nil
	}
	switch first := args[0]; first.Kind() {
	case ast.IdentKind:
		if _, ok := d.find(first.AsIdent()); ok && !slices.Contains(c.services, first.AsIdent()) {
			return "", 0, nil // a condition by itself, such as failed
		}
	case ast.LiteralKind:
	case ast.CallKind:
		if first.AsCall().FunctionName() != operators.Subtract { // a-b is a name that lacks its quotes
			return "", 0, nil
		}
	default:
		return "", 0, nil
	}
	service, err = c.service(args[0], false)
	return service, 1, err
}

// recordedVars are the variables of records that differ in none of them.
type recordedVars struct{ g *record.TrafficGroup }

var _ cel.Activation = (*recordedVars)(nil)

func (v *recordedVars) Parent() cel.Activation { return nil }

func (v *recordedVars) ResolveName(name string) (any, bool) {
	switch name {
	case "code":
		return v.g.Code, true
	case "failed":
		return v.g.Failed > 0, true
	case "flags":
		return splitFlags(v.g.Flags), true
	case "serviceNamespace":
		return v.g.Namespace, true
	}
	text := map[string]string{
		"interface": v.g.Interface, "method": v.g.Method, "version": v.g.Version, "service": v.g.Service, "workload": v.g.Workload,
		"source": v.g.Source, reporterVariable: v.g.Reporter,
	}
	s, ok := text[name]
	return s, ok
}

// traffic reads what the store held of the phase, once.
func (p *phase) traffic() (record.Traffic, error) {
	if !p.trafficRead {
		p.trafficRead = true
		p.recorded, p.trafficErr = p.records.Traffic(p.name)
	}
	return p.recorded, p.trafficErr
}

// whole is what the store held of the phase, when that is all there was of what the measure reads; else a reading says why not.
func (p *phase) whole(m *measure) (record.Traffic, reading, bool) {
	t, err := p.traffic()
	source := "records"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, absent(source, "the run collected no records"), false
	case err != nil:
		return t, absent(source, "the records cannot be read: %v", err), false
	}
	source = "records in " + t.Store
	if t.Complete != "ok" {
		return t, absent(source, "they are incomplete: %s", t.Complete), false
	}
	if why := dropped(t); why != "" {
		return t, absent(source, "the store dropped some: %s", why), false
	}
	if why := p.unrecorded(m); why != "" {
		return t, absent(source, "%s", why), false
	}
	return t, reading{source: source}, true
}

// ofRecorded sums up the records that match.
func (p *phase) ofRecorded(m *measure, confidence float64) reading {
	t, out, ok := p.whole(m)
	if !ok {
		return out
	}
	if m.field == waitedField {
		return exact(float64(t.Waited), int64(t.Waited), out.source) //nolint:gosec // a number of requests
	}
	n, sum, err := p.sumUp(m, t.Groups)
	if err != nil {
		return absent(out.source, "%v", err)
	}
	r := sum.reading(m, n, p.load.Seconds, confidence)
	r.source = out.source
	return r
}

// ofOrigins counts the origins of failures that match.
func (p *phase) ofOrigins(m *measure) reading {
	t, out, ok := p.whole(m)
	if !ok {
		return out
	}
	n, all := 0, origins(t.Groups)
	for _, o := range all {
		if m.service != "" && (o.Service != m.service || o.Namespace != p.namespace) {
			continue
		}
		for _, caller := range o.Callers {
			v, err := m.pred.holds(&recordedVars{o.group(caller)})
			if err != nil {
				return absent(out.source, "%v", err)
			}
			if v == Pass {
				n++
				break
			}
		}
	}
	return exact(float64(n), int64(len(all)), out.source)
}

// unrecorded says why records that the measure reads are missing: those of a pod that ended, and those of a service whose pods were
// called by another name, since each record is of one service.
func (p *phase) unrecorded(m *measure) string {
	for _, x := range p.proxies {
		isOf := slices.Contains(x.Services, m.service)
		if x.Ended != "" && (isOf || m.readsAll()) {
			return fmt.Sprintf("those of %s may be incomplete: %s", x.Pod, x.Ended)
		}
		if isOf && len(x.Services) > 1 && m.service != x.Labels["app"] && (slices.Contains(x.Services, x.Labels["app"]) || x.Services[0] != m.service) {
			return fmt.Sprintf("the pods of %s are those of %s too, by which their records go", m.service,
				strings.Join(slices.DeleteFunc(slices.Clone(x.Services), func(s string) bool { return s == m.service }), ", "))
		}
	}
	return ""
}

// readsAll says whether the measure reads records of any proxy: it names no service, or asks for those of callers, or they decide what an
// origin is. What waited is about no proxy's records but those that came.
func (m *measure) readsAll() bool {
	return m.field != waitedField && (m.service == "" || m.kind == mOrigins || m.asksReporter())
}

// asksReporter says whether the predicate chooses by whose proxy told.
func (m *measure) asksReporter() bool {
	return m.pred != nil && slices.Contains(m.pred.uses, reporterVariable)
}

// recordedSum is what the matching groups come to.
type recordedSum struct {
	k        int64
	sum      float64 // seconds
	min, max float64 // seconds
	all      store.Summary
	versions []string
}

// sumUp adds the groups that match; n is how many records the service has at all.
func (p *phase) sumUp(m *measure, groups []record.TrafficGroup) (n int64, out recordedSum, err error) {
	asked := m.asksReporter()
	for i := range groups {
		g := &groups[i]
		if m.service != "" && (g.Service != m.service || g.Namespace != p.namespace) || !asked && g.Reporter != callee {
			continue
		}
		n += g.Records
		v, err := m.pred.holds(&recordedVars{g})
		if err != nil {
			return n, out, err
		}
		if v == Pass {
			if err := out.add(g); err != nil {
				return n, out, err
			}
		}
	}
	return n, out, nil
}

func (s *recordedSum) add(g *record.TrafficGroup) error {
	if s.k == 0 || g.Min < s.min {
		s.min = g.Min
	}
	s.max = max(s.max, g.Max)
	s.k += g.Records
	s.sum += g.Sum
	if g.Version != "" && !slices.Contains(s.versions, g.Version) {
		s.versions = append(s.versions, g.Version)
	}
	if err := s.all.AddHistogram(g.Buckets); err != nil {
		return fmt.Errorf("the durations of %s %s are damaged: %w", g.Method, g.Interface, err)
	}
	s.all.Records += uint64(g.Records) //nolint:gosec // a number of requests
	s.all.Min, s.all.Max = inSeconds(s.min), inSeconds(s.max)
	return nil
}

func inSeconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }

func (s *recordedSum) reading(m *measure, n int64, seconds, confidence float64) reading {
	t := &tally{n: n, k: s.k}
	switch m.field {
	case "count":
		return exact(float64(s.k), n, "")
	case "versions":
		return exact(float64(len(s.versions)), n, "")
	case "ratio":
		return t.share("record", confidence)
	case "rate":
		if !(seconds > 0) {
			return absent("", "the load took no time")
		}
		return exact(float64(s.k)/seconds, n, "")
	}
	if s.k == 0 {
		return absent("", "none of %s records matches", thousands(n))
	}
	switch m.field {
	case "mean":
		return exact(s.sum/float64(s.k), s.k, "")
	case "min":
		return exact(s.min, s.k, "")
	case "max":
		return exact(s.max, s.k, "")
	}
	return s.quantile(m.q)
}

// quantile is known as closely as the store keeps durations.
func (s *recordedSum) quantile(q float64) reading {
	v := s.all.Quantile(q).Seconds()
	off := max(v*store.QuantileError, time.Microsecond.Seconds())
	r := exact(v, s.k, "")
	r.lo, r.hi, r.method = max(s.min, v-off), min(s.max, v+off), "buckets"
	return r
}
