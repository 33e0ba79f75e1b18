package step

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
)

// way is where a route may lead.
type way struct {
	host   Host
	subset string
	sure   bool // requests of the load do take it
}

// waysOf are where the routes that can be reached lead, each once, mirrors included. Weights of 0 are no way.
func (c *compiler) waysOf(u *unstructured.Unstructured, request *Request) []way {
	var out []way
	add := func(to map[string]any, sure bool) {
		h, ok := c.set.Resolve(istioName(str(to, "host"), u.GetNamespace()), c.opts.Namespace)
		if !ok {
			return
		}
		for i, w := range out {
			if w.host.FQDN == h.FQDN && w.subset == str(to, "subset") {
				out[i].sure = w.sure || sure
				return
			}
		}
		out = append(out, way{h, str(to, "subset"), sure})
	}
	routes := fields.Maps(specOf(u), "http")
	for i, reach := range reaches(routes, request) {
		if reach == never {
			continue
		}
		list := fields.Maps(routes[i], "route")
		for _, d := range list {
			if len(list) == 1 || weightOf(d) > 0 {
				to, _ := d["destination"].(map[string]any)
				add(to, reach == always && !isAborted(routes[i]))
			}
		}
		for _, to := range mirrorsOf(routes[i]) {
			add(to, false)
		}
	}
	return out
}

// isAborted says whether requests on the route may end in the caller's proxy.
func isAborted(route map[string]any) bool {
	fault, _ := route["fault"].(map[string]any)
	return fault["abort"] != nil
}

func weightOf(destination map[string]any) float64 {
	switch w := destination["weight"].(type) {
	case int64:
		return float64(w)
	case float64:
		return w
	}
	return 0
}

// proveDestinations proves where the routes lead. Of the load generator's own proxy every way that its requests take for
// certain has to have got some; of others it is asked that no request took another way. e nil takes the service for one
// that only gateways follow, whose requests are those of the load.
func (c *compiler) proveDestinations(e *edge, u *unstructured.Unstructured) (out []Proof) {
	if e == nil {
		e = &edge{gateway: true, request: c.opts.Request}
	}
	ways := c.waysOf(u, e.request)
	if len(ways) == 0 {
		c.state(u.GetKind()+" %s: no request of the load comes to a route that leads to a service", u.GetName())
		return nil
	}
	if e.gateway {
		return c.proveThroughGateway(ways)
	}
	if e.direct {
		for _, w := range ways {
			if isOther := w.subset != "" || w.host.FQDN != e.host.FQDN; w.sure && isOther {
				out = append(out, c.named(c.proofAt("share", w.host, w.subset, true), w)...)
			}
		}
	}
	if c.opts.Midway {
		return out
	}
	return append(out, c.proveNoOtherWay(*e, ways)...)
}

// named puts the way into the proofs' texts.
func (c *compiler) named(proofs []Proof, w way) []Proof {
	for i := range proofs {
		proofs[i].Text = strings.Replace(proofs[i].Text, "the subset", subsetOf(w.host, w.subset), 1)
	}
	return proofs
}

// proveThroughGateway asks that some requests went the ways: other callers of the services do not follow the gateway's rules.
func (c *compiler) proveThroughGateway(ways []way) []Proof {
	sums := make([]string, len(ways))
	for i, w := range ways {
		sums[i] = c.requests("elsewhere", w.host, w.subset)
		if gateway := c.gatewayTo(w.host); gateway != "" {
			sums[i] = atGateway(`elsewhere(HOST, "upstream_rq_total"SUBSET)`, gateway, w.host, w.subset)
		}
	}
	return []Proof{{c.step.String(), "requests went where the gateway leads", strings.Join(sums, " + ") + " > 0"}}
}

func (c *compiler) requests(measure string, h Host, subset string) string {
	if subset == "" {
		return fmt.Sprintf("%s(%q, \"upstream_rq_total\")", measure, c.called(h))
	}
	return fmt.Sprintf("%s(%q, \"upstream_rq_total\", %q)", measure, c.called(h), subset)
}

// proveNoOtherWay asks that all requests to the host went to the subsets of the routes. It says nothing where a route leads to
// the host as a whole.
func (c *compiler) proveNoOtherWay(e edge, ways []way) []Proof {
	measure := "elsewhere"
	if e.direct {
		measure = "cluster"
	}
	var sums, subsets []string
	for _, w := range ways {
		if w.host.FQDN != e.host.FQDN {
			continue
		}
		if w.subset == "" {
			return nil
		}
		subsets = append(subsets, w.subset)
		sums = append(sums, c.requests(measure, w.host, w.subset))
	}
	if len(sums) == 0 {
		return nil
	}
	return []Proof{{c.step.String(), fmt.Sprintf("no request to %s went elsewhere than to %s", e.host.Short, strings.Join(subsets, ", ")),
		strings.Join(sums, " + ") + " == " + c.requests(measure, e.host, "")}}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
