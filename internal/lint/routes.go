package lint

import (
	"fmt"
	"slices"
	"strings"

	"squall/internal/rules"
)

func faultBesideTimeout(l *linter) {
	for _, w := range l.ways() {
		for _, r := range w.routes {
			var ref rules.Ref
			switch {
			case r.Delay != nil && r.Delay.Share > 0:
				ref = r.Delay.Ref
			case r.Abort != nil && r.Abort.Share > 0:
				ref = r.Abort.Ref
			default:
				continue
			}
			var beside []string
			if r.Timeout > 0 {
				beside = append(beside, "timeout")
			}
			if !r.Retries.Ref.IsZero() && r.Retries.Attempts > 0 {
				beside = append(beside, "retries")
			}
			if len(beside) > 0 {
				l.report(ref, "put the fault on the next hop, or take them away", "the proxy injects faults before its router, where the %s of the same route cannot see them",
					strings.Join(beside, " and "))
			}
		}
	}
}

func percentZero(l *linter) {
	for _, w := range l.ways() {
		for _, r := range w.routes {
			if d := r.Delay; d != nil && d.Share == 0 {
				l.report(d.Ref, "write percentage: {value: 100}", "delays none of the requests")
			}
			if a := r.Abort; a != nil && a.Share == 0 {
				l.report(a.Ref, "write percentage: {value: 100}", "aborts none of the requests")
			}
		}
	}
}

func unreachableRoute(l *linter) {
	for _, w := range l.ways() {
		for i, r := range w.routes {
			if before := hiding(w.routes[:i], r); before != nil {
				l.report(r.Ref, "move it before, or give that one a match", "no request comes to it: %s takes all that fit it", before.Ref.Path)
			}
		}
	}
}

// hiding is a route before r that takes all that r would: one without a match, or with the same one.
func hiding(before []*rules.Route, r *rules.Route) *rules.Route {
	for _, b := range before {
		if len(b.Spec.GetMatch()) == 0 {
			return b
		}
		same := len(r.Spec.GetMatch()) > 0 && fmt.Sprint(b.Spec.GetMatch()) == fmt.Sprint(r.Spec.GetMatch())
		if same {
			return b
		}
	}
	return nil
}

func weightsNot100(l *linter) {
	for _, w := range l.ways() {
		if w.service.IsGatewayAPI() {
			continue // weights of the Gateway API are shares of their sum
		}
		for _, r := range w.routes {
			sum := int32(0)
			for _, d := range r.Spec.GetRoute() {
				sum += d.GetWeight()
			}
			if n := len(r.Spec.GetRoute()); n > 1 && sum != 100 || n == 1 && sum != 0 && sum != 100 {
				l.report(r.Ref.At(".route"), "let them sum to 100", "the weights sum to %d: Istio takes each as a share of that, not as percent", sum)
			}
		}
	}
}

// conflictingHosts leaves out VirtualServices of gateways, and what two DestinationRules do not both say: Istio merges those.
func conflictingHosts(l *linter) {
	services := map[string][]*rules.VirtualService{}
	for _, v := range l.model.VirtualServices {
		if !slices.Contains(v.Gateways, rules.MeshGateway) {
			continue
		}
		for _, h := range v.Hosts {
			i := slices.IndexFunc(services[h], func(o *rules.VirtualService) bool { return o != v && together(o, v) })
			if i >= 0 {
				o := services[h][i].Ref.Object
				l.report(v.Ref.At("%s", v.HostsPath()), "merge the two", "%s %s holds for %s too: Istio takes one of them, and which depends on their age",
					o.GetKind(), o.GetName(), h)
			}
			services[h] = append(services[h], v)
		}
	}
	for i, d := range l.model.DestinationRules {
		for _, o := range l.model.DestinationRules[:i] {
			if what := bothSay(o, d); what != "" {
				l.report(d.Ref.At(".host"), "merge the two", "DestinationRule %s has %s for %s too: Istio takes one of them, and which depends on their age",
					o.Ref.Object.GetName(), what, d.Host)
				break
			}
		}
	}
}

// together says whether one caller may see both: not when each is for its own namespace alone.
func together(a, b *rules.VirtualService) bool {
	private := slices.Equal(a.Spec.GetExportTo(), []string{"."}) && slices.Equal(b.Spec.GetExportTo(), []string{"."})
	return !private || a.Ref.Object.GetNamespace() == b.Ref.Object.GetNamespace()
}

// bothSay is what two DestinationRules of one host and namespace say both, or "". Those with a workload selector are for some alone.
func bothSay(a, b *rules.DestinationRule) string {
	if a.Host != b.Host || a.Ref.Object.GetNamespace() != b.Ref.Object.GetNamespace() ||
		a.Spec.GetWorkloadSelector() != nil || b.Spec.GetWorkloadSelector() != nil {
		return ""
	}
	if a.Spec.GetTrafficPolicy() != nil && b.Spec.GetTrafficPolicy() != nil {
		return "a trafficPolicy"
	}
	for _, s := range a.Spec.GetSubsets() {
		for _, t := range b.Spec.GetSubsets() {
			if s.GetName() == t.GetName() {
				return fmt.Sprintf("the subset %q", s.GetName())
			}
		}
	}
	return ""
}

func unknownHost(l *linter) {
	if !l.knowsServices() {
		return
	}
	for _, v := range l.model.VirtualServices {
		if slices.ContainsFunc(v.Gateways, func(g string) bool { return g != rules.MeshGateway }) {
			continue // a gateway routes requests for hosts that no service has
		}
		for i, h := range v.Hosts {
			if !strings.HasPrefix(h, "*") && l.model.Service(h, v.Ref.Object.GetNamespace()) == nil {
				l.report(v.Ref.At("%s[%d]", v.HostsPath(), i), "name a service, with its namespace where it is another", "no service has the host %s, so that nobody's requests are routed by this", h)
			}
		}
	}
	for _, w := range l.ways() {
		for _, r := range w.routes {
			for _, d := range append(slices.Clone(r.Destinations), r.Mirrors...) {
				if l.model.Service(d.Host, w.caller.Namespace) == nil {
					l.report(d.Ref, "name a service, with its namespace where it is another", "no service has the host %s: requests are answered with 503", d.Host)
				}
			}
		}
	}
	for _, d := range l.model.DestinationRules {
		if !strings.HasPrefix(d.Host, "*") && l.model.Service(d.Host, d.Ref.Object.GetNamespace()) == nil {
			l.report(d.Ref.At(".host"), "name a service, with its namespace where it is another", "no service has the host %s, so that it holds for nobody", d.Host)
		}
	}
}

// retriesDilute finds an abort for one host beside retries, of a route to another, that repeat what the abort answers. Istio's own
// retries count: they repeat gRPC's UNAVAILABLE and CANCELLED. An abort of all requests is left out: each try fails as the first did.
func retriesDilute(l *linter) {
	for _, w := range l.ways() {
		for _, r := range w.routes {
			if r.Abort == nil || r.Abort.Share == 0 || r.Abort.Share >= 1 {
				continue
			}
			if above := l.repeating(r); above != nil {
				n := above.Retries.Attempts
				l.report(r.Abort.Ref, "switch the retries off (attempts: 0), or expect the share to the power of one more than they are",
					"%s tries again %d times what fails of its host: of a share p of failures below it, p^%d is seen above", above.Retries.Ref, n, n+1)
			}
		}
	}
}

// repeating is a route to other hosts whose retries repeat what the route's abort answers.
func (l *linter) repeating(faulty *rules.Route) *rules.Route {
	hosts := map[string]bool{}
	for _, d := range faulty.Destinations {
		hosts[d.Host] = true
	}
	for _, w := range l.ways() {
		for _, r := range w.routes {
			other := len(r.Destinations) > 0 && !slices.ContainsFunc(r.Destinations, func(d rules.Destination) bool { return hosts[d.Host] })
			again := faulty.Abort.Status > 0 && r.Retries.Retried(faulty.Abort.Status) ||
				faulty.Abort.GRPC != "" && r.Retries.Has(strings.ReplaceAll(strings.ToLower(faulty.Abort.GRPC), "_", "-"))
			if other && again {
				return r
			}
		}
	}
	return nil
}
