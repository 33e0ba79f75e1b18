package step

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/scenario"
)

// hangs is what requests meet that get no answer: the caller's proxy gives up to wait, or the caller itself does.
func hangs() evidence {
	return evidence{
		"", `count(flag("UT")) + count(error == "timeout") > 0`,
		`elsewhere(HOST, "upstream_rq_timeout") + elsewhere(HOST, "upstream_rq_tx_reset") > 0`,
	}
}

// cut is what requests meet that do not get through: those on connections that there are hang, and new connections are not made.
func cut() evidence {
	return evidence{
		"", `count(flag("UT")) + count(flag("UF")) + count(error == "timeout") > 0`,
		`elsewhere(HOST, "upstream_rq_timeout") + elsewhere(HOST, "upstream_rq_tx_reset") + elsewhere(HOST, "upstream_cx_connect_fail") > 0`,
	}
}

// met is the evidence for callers of the workload's service; "" where no service leads to the workload.
func (c *compiler) met(e evidence, u *unstructured.Unstructured) string {
	h, direct, ok := c.facing(u)
	if !ok {
		return ""
	}
	if direct {
		return e.direct
	}
	return strings.ReplaceAll(e.elsewhere, "HOST", strconv.Quote(c.called(h)))
}

// effect is a statement about how many pods of the step's workload met an effect.
func effect(name, workload string, want int) string {
	return fmt.Sprintf("%s(%q) == %d", name, workload, want)
}

// acted is the step's action; ok is false when it has none.
func (c *compiler) acted() (a Action, u *unstructured.Unstructured, ok bool) {
	for _, a := range c.actions {
		if a.Step == c.step.String() && a.Kind == c.step.Kind {
			u := c.set.objects[key{"apps", "Deployment", a.Namespace, a.Workload}]
			if a.Pods == 0 {
				a.Pods = replicasOf(u)
			}
			return a, u, true
		}
	}
	return a, nil, false
}

// proveReplaced asks that the pods are gone, by their UIDs, and that others came in their place.
func proveReplaced(c *compiler, s scenario.Step) []Proof {
	a, _, ok := c.acted()
	if !ok {
		return nil
	}
	text := "the pods that were there are gone, and others serve in their place"
	return []Proof{{s.String(), text, effect("replaced", a.Workload, a.Pods)}}
}

func proveRollout(c *compiler, s scenario.Step) []Proof {
	a, _, ok := c.acted()
	switch {
	case !ok:
		return nil
	case !a.Stuck:
		return proveReplaced(c, s)
	}
	return []Proof{{s.String(), "the new version does not come to serve, and the pods that were there stay",
		effect("stuck", a.Workload, 1) + " && " + effect("replaced", a.Workload, 0)}}
}

func proveStop(c *compiler, s scenario.Step) []Proof {
	a, u, ok := c.acted()
	if !ok {
		return nil
	}
	return c.proveHeld(held{"stopped", "the programs are stopped", "requests to them hang"}, hangs(), a, u)
}

func provePartition(c *compiler, s scenario.Step) []Proof {
	a, u, ok := c.acted()
	if !ok {
		return nil
	}
	text := "requests to the pods do not get through"
	if !c.opts.Cluster {
		return c.proveHeld(held{"partitioned", "the pods' proxies are stopped", text}, cut(), a, u)
	}
	if spec := s.Spec.(*scenario.Partition); spec.From != "" {
		return c.proveOneCaller(spec.From, text, u)
	}
	if expr := c.met(cut(), u); expr != "" {
		return []Proof{{s.String(), text + ", so that the cluster's network heeds the policy", expr}}
	}
	return c.withoutCallers(u)
}

// withoutCallers says why no caller's proxy proves what is done to the pods of a workload.
func (c *compiler) withoutCallers(u *unstructured.Unstructured) []Proof {
	return c.unprovable("no service leads to the pods of %s, so that no caller's proxy tells", u.GetName())
}

// proveOneCaller looks for requests that did not get through at the proxies of the caller that is cut off, where checks can name them, and
// at those of all callers but the load generator otherwise.
func (c *compiler) proveOneCaller(from, text string, u *unstructured.Unstructured) []Proof {
	h, _, ok := c.facing(u)
	if !ok {
		return c.withoutCallers(u)
	}
	expr := strings.ReplaceAll(cut().elsewhere, "HOST", strconv.Quote(c.called(h)))
	if from == c.opts.Client {
		expr = strings.ReplaceAll(expr, "elsewhere(", "cluster(")
	} else if d, ok := c.set.objects[key{"apps", "Deployment", c.opts.Namespace, from}]; ok {
		if caller, _, ok := c.facing(d); ok && caller.Namespace == c.opts.Namespace && caller.FQDN != h.FQDN {
			expr = atGateway(cut().elsewhere, caller.Short, h, "")
		}
	}
	return []Proof{{c.step.String(), text + " from " + from + ", so that the cluster's network heeds the policy", expr}}
}

// held is what is done to pods that stand still, and what requests to them meet.
type held struct{ effect, text, requests string }

// proveHeld asks for the pods that are held, and for what their callers meet. Without a service nobody calls them.
func (c *compiler) proveHeld(what held, e evidence, a Action, u *unstructured.Unstructured) []Proof {
	isHeld := effect(what.effect, a.Workload, a.Pods)
	if expr := c.met(e, u); expr != "" {
		return []Proof{{c.step.String(), what.text + ", and " + what.requests, isHeld + " && " + expr}}
	}
	return []Proof{{c.step.String(), what.text, isHeld}}
}

func proveCordon(c *compiler, s scenario.Step) []Proof {
	a, _, ok := c.acted()
	if !ok {
		return nil
	}
	return []Proof{{s.String(), "the nodes of the pods take no new ones", fmt.Sprintf("cordoned(%q) > 0", a.Workload)}}
}

// proveScale asks the load generator's proxy how many endpoints the service has for it. A service without any answers UH; a version
// without any gets nothing while the others get requests.
func proveScale(c *compiler, s scenario.Step) []Proof {
	_, u, ok := c.acted()
	if !ok {
		return nil
	}
	h, direct, ok := c.facing(u)
	port := firstPort(h)
	if !ok || port == 0 {
		c.state("no service leads to the pods of %s, so that no proxy tells how many there are", u.GetName())
		return nil
	}
	left := 0
	selector, _, _ := unstructured.NestedStringMap(h.service.Object, "spec", "selector")
	for _, d := range c.set.list("apps", "Deployment") {
		if d.GetNamespace() == h.Namespace && includes(templateLabels(d), selector) {
			left += replicasOf(d)
		}
	}
	expr := fmt.Sprintf("gauge(%q) == %d", fmt.Sprintf("cluster.outbound|%d||%s.membership_total", port, h.FQDN), left)
	text := fmt.Sprintf("the callers' proxies have %d endpoints of %s", left, h.Short)
	switch version := templateLabels(u)["version"]; {
	case left == 0 && direct:
		return []Proof{{s.String(), text + ", and answer for it with the flag UH", expr + ` && count(flag("UH")) > 0`}}
	case left == 0:
		return []Proof{{s.String(), text + ", and find none to send to", expr +
			fmt.Sprintf(" && elsewhere(%q, \"upstream_cx_none_healthy\") > 0", c.called(h))}}
	case replicasOf(u) == 0 && version != "" && !c.opts.Midway && c.isOnly(u, h, version):
		return []Proof{{s.String(), text + ", and " + version + " gets no request while others do", expr +
			fmt.Sprintf(" && access(%q, version == %q).count == 0 && access(%q).count > 0", h.Short, version, h.Short)}}
	}
	return []Proof{{s.String(), text, expr}}
}

// isOnly says whether no other workload of the service has the version.
func (c *compiler) isOnly(u *unstructured.Unstructured, h Host, version string) bool {
	labels, _ := c.set.pods(h)
	for _, l := range labels {
		if l["version"] == version && !maps.Equal(l, templateLabels(u)) {
			return false
		}
	}
	return true
}

// firstPort is the first port of a host's service, 0 for none.
func firstPort(h Host) int64 {
	if h.service == nil {
		return 0
	}
	for _, p := range fields.Maps(specOf(h.service), "ports") {
		if n, ok := p["port"].(int64); ok {
			return n
		}
	}
	return 0
}
