package step

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"squall/internal/scenario"
)

// rejections are the counters of what flow control refuses.
func rejections() []string {
	return []string{
		"http.rejected_concurrent", "http.rejected_new", "http.rejected_deny",
		"transport.rejected_concurrent", "transport.rejected_new", "transport.rejected_deny",
		"memory.memory_rejected", "cpu.rejected_cpu",
	}
}

// limiting is what a setting refuses by: counters of rejections, or the break, which has none.
func limiting(key string, value any) (counters []string, cuts bool) {
	part, rest, _ := strings.Cut(strings.TrimPrefix(key, "flowcontrol."), ".")
	on := value == true || value == "true"
	switch {
	case value == nil || reflect.ValueOf(value).Kind() == reflect.Slice && reflect.ValueOf(value).Len() == 0:
	case part == "break":
		return nil, on
	case part == "http" || part == "transport":
		counter, ok := map[string]string{
			"concurrent": ".rejected_concurrent", "newconnect": ".rejected_new", "warmup_period": ".rejected_new", "deny": ".rejected_deny",
		}[rest]
		if ok {
			return []string{part + counter}, false
		}
	case part == "memory" && (on || strings.HasSuffix(rest, "heap_limit") || strings.HasSuffix(rest, ".filter_path")):
		return []string{"memory.memory_rejected"}, false
	case part == "cpu" && (on || rest == "percent_limit" || strings.HasSuffix(rest, ".limit") || strings.HasSuffix(rest, ".filter_path")):
		return []string{"cpu.rejected_cpu"}, false
	}
	return nil, false
}

// limits are the counters of all that settings refuse by. A port that is only switched on refuses by the limits that it has already.
func limits(values map[string]any) (counters []string, cuts bool) {
	for _, key := range sortedKeys(values) {
		names, cut := limiting(key, values[key])
		cuts = cuts || cut
		counters = append(counters, names...)
	}
	for _, port := range []string{"http", "transport"} {
		on := values["flowcontrol."+port+".enabled"]
		if (on == true || on == "true") && !slices.ContainsFunc(counters, func(name string) bool { return strings.HasPrefix(name, port+".") }) {
			counters = append(counters, port+".rejected_concurrent", port+".rejected_new", port+".rejected_deny")
		}
	}
	slices.Sort(counters)
	return slices.Compact(counters), cuts
}

// sum adds up counters of the service.
func sum(service string, counters []string) string {
	var terms []string
	for _, name := range counters {
		terms = append(terms, fmt.Sprintf("flowcontrol(%s).%s", strconv.Quote(service), name))
	}
	return strings.Join(terms, " + ")
}

// proveFlowControl asks that flow control refused something by what the step sets, and nothing by what no step has set.
func proveFlowControl(c *compiler, s scenario.Step) []Proof {
	spec := s.Spec.(*scenario.FlowControl)
	if isBlock(spec) {
		c.state("Elasticsearch does not count the writes that a block refuses: of those of interface traffic a check on records().waited tells")
		return nil
	}
	values := map[string]any{}
	for name, v := range spec.Settings {
		values[name] = v.Value
	}
	counters, cuts := limits(values)
	var out []Proof
	if len(counters) > 0 {
		out = append(out, Proof{s.String(), "flow control refused by the limits that the step sets", sum(spec.Service, counters) + " > 0"})
	}
	if cuts {
		out = append(out, c.proveBreak(s, spec)...)
	}
	if len(out) == 0 && !cuts {
		c.state("it takes limits away or lets through, so that nothing is refused by it")
		return nil
	}
	all, _ := limits(Over(c.opts.Settings, c.settings)[spec.Service])
	others := slices.DeleteFunc(rejections(), func(name string) bool { return slices.Contains(all, name) })
	if len(out) > 0 && len(others) > 0 {
		out = append(out, Proof{s.String(), "nothing is refused by limits that no step sets", sum(spec.Service, others) + " == 0"})
	}
	return out
}

// proveBreak looks for the answers of the break, for which flow control has no counter: they are the service's own and no proxy's.
func (c *compiler) proveBreak(s scenario.Step, spec *scenario.FlowControl) []Proof {
	const text = "the service itself answers that traffic is cut off"
	if c.callsFlow(spec) {
		return []Proof{{s.String(), text, "count(code == 503 && size(flags) == 0) > 0"}}
	}
	if h, ok := c.set.Resolve(spec.Service, c.opts.Namespace); ok && spec.URL == "" {
		return []Proof{{s.String(), text, fmt.Sprintf("elsewhere(%q, \"upstream_rq_503\") > 0", c.called(h))}}
	}
	c.state("the break has no counter, and the load does not call the service itself")
	return nil
}
