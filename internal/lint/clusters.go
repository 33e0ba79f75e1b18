package lint

import (
	"fmt"
	"slices"

	v1 "istio.io/api/networking/v1"

	"squall/internal/rules"
)

// each calls f for every destination of every route, with its cluster as the route's caller sees it.
func (l *linter) each(f func(w way, d rules.Destination, c rules.Cluster)) {
	if !l.knowsServices() {
		return
	}
	for _, w := range l.ways() {
		for _, r := range w.routes {
			for _, d := range append(slices.Clone(r.Destinations), r.Mirrors...) {
				if c := l.model.Cluster(w.caller, d); c.Service != nil && c.Unknown == "" {
					f(w, d, c)
				}
			}
		}
	}
}

func missingSubset(l *linter) {
	l.each(func(_ way, d rules.Destination, c rules.Cluster) {
		if c.Missing {
			l.report(d.Ref, "add the subset to a DestinationRule of the host", "no DestinationRule has the subset %q of %s: requests are answered with 503", d.Subset, c.Service.Name)
		}
	})
}

func subsetWithoutPods(l *linter) {
	l.each(func(_ way, d rules.Destination, c rules.Cluster) {
		if !c.Missing && d.Subset != "" && rules.Pods(c.Workloads) == 0 {
			l.report(d.Ref, "name a version that runs, or start one", "no pod is in the subset %q of %s: requests are answered with 503", d.Subset, c.Service.Name)
		}
	})
}

func ejectsNothing(l *linter) {
	if !l.knowsServices() {
		return
	}
	for _, d := range l.model.DestinationRules {
		s := l.model.Service(d.Host, d.Ref.Object.GetNamespace())
		if s == nil || s.Unknown != "" {
			continue
		}
		for _, p := range policies(d, s) {
			l.ejection(p.ref, p.spec.GetOutlierDetection(), rules.Pods(p.pods))
			for i, port := range p.spec.GetPortLevelSettings() {
				l.ejection(p.ref.At(".portLevelSettings[%d]", i), port.GetOutlierDetection(), rules.Pods(p.pods))
			}
		}
	}
}

// ejection reports an outlier detection of the settings at ref that may not eject one of so many pods.
func (l *linter) ejection(ref rules.Ref, o *v1.OutlierDetection, pods int) {
	percent, said := int(o.GetMaxEjectionPercent()), "maxEjectionPercent is set"
	if percent == 0 {
		percent, said = 10, "maxEjectionPercent is 10 unless it is set"
	}
	if o != nil && pods > 0 && pods*percent < 100 {
		l.report(ref.At(".outlierDetection"), "set maxEjectionPercent so that one pod is within it", "%s, and of %d pods that is none: nothing is ejected", said, pods)
	}
}

// policy is what a DestinationRule says for its host or for a subset, and the pods that are meant.
type policy struct {
	ref  rules.Ref
	spec *v1.TrafficPolicy
	pods []*rules.Workload
}

// policies are those of the host and of each subset, as they are written: what a subset takes over from its host is not in its own.
func policies(d *rules.DestinationRule, s *rules.Service) []policy {
	out := []policy{{d.Ref.At(".trafficPolicy"), d.Spec.GetTrafficPolicy(), s.Workloads}}
	for i, sub := range d.Spec.GetSubsets() {
		others := func(w *rules.Workload) bool { return !fits(w.Labels, sub.GetLabels()) }
		out = append(out, policy{d.Ref.At(".subsets[%d].trafficPolicy", i), sub.GetTrafficPolicy(), slices.DeleteFunc(slices.Clone(s.Workloads), others)})
	}
	return out
}

func mtlsConflict(l *linter) {
	if !l.knowsServices() {
		return
	}
	for _, d := range l.model.DestinationRules {
		s := l.model.Service(d.Host, d.Ref.Object.GetNamespace())
		if s == nil {
			continue
		}
		for _, p := range policies(d, s) {
			told := map[string]bool{}
			for _, port := range s.Ports {
				tls, ref := p.tls(port)
				if what := l.refusal(tls, p.pods, port); what != "" && !told[ref.Path] {
					told[ref.Path] = true
					l.report(ref, "leave tls out: Istio chooses what both speak", "callers speak %s, and port %d of %s %s", tls.GetMode(), port.Number, s.Name, what)
				}
			}
		}
	}
}

// tls is what callers of a port speak by the policy: settings of the port take the place of all others, also where they have no tls.
func (p policy) tls(port rules.Port) (*v1.ClientTLSSettings, rules.Ref) {
	for i, own := range p.spec.GetPortLevelSettings() {
		if int(own.GetPort().GetNumber()) == port.Number {
			return own.GetTls(), p.ref.At(".portLevelSettings[%d].tls", i)
		}
	}
	return p.spec.GetTls(), p.ref.At(".tls")
}

// refusal is why a port of one of the pods does not take what callers speak, or "".
func (l *linter) refusal(tls *v1.ClientTLSSettings, pods []*rules.Workload, port rules.Port) string {
	for _, w := range pods {
		if port.Target == 0 && l.hasPortModes(w) {
			continue // which of the pod's ports it is, is not known
		}
		takes, from := l.model.PeerMode(w, port.Target)
		switch mode := tls.GetMode(); {
		case tls == nil:
		case takes == rules.Strict && (mode == v1.ClientTLSSettings_DISABLE || mode == v1.ClientTLSSettings_SIMPLE):
			return fmt.Sprintf("takes mutual TLS alone, by %s", from)
		case takes == rules.Disabled && mode == v1.ClientTLSSettings_ISTIO_MUTUAL && from.IsZero():
			return fmt.Sprintf("takes none: the pods of %s have no proxy", w.Name)
		case takes == rules.Disabled && mode == v1.ClientTLSSettings_ISTIO_MUTUAL:
			return fmt.Sprintf("takes none, by %s", from)
		}
	}
	return ""
}

// hasPortModes says whether a PeerAuthentication has other modes for some of the workload's ports.
func (l *linter) hasPortModes(w *rules.Workload) bool {
	return slices.ContainsFunc(l.model.Peers, func(p *rules.PeerAuthentication) bool {
		labels := p.Spec.GetSelector().GetMatchLabels()
		return len(p.Spec.GetPortLevelMtls()) > 0 && len(labels) > 0 && p.Ref.Object.GetNamespace() == w.Namespace && fits(w.Labels, labels)
	})
}

// notHTTP is about services none of whose ports is or may be HTTP: what else a service has besides is not the rules' business.
func notHTTP(l *linter) {
	for _, v := range l.model.VirtualServices {
		if len(v.Spec.GetHttp()) == 0 || !slices.Contains(v.Gateways, rules.MeshGateway) {
			continue
		}
		for i, h := range v.Hosts {
			s := l.model.Service(h, v.Ref.Object.GetNamespace())
			if s == nil || len(s.Ports) == 0 || slices.ContainsFunc(s.Ports, func(p rules.Port) bool { return p.HTTP() != rules.No }) {
				continue
			}
			p := s.Ports[0]
			l.report(v.Ref.At(".hosts[%d]", i), "call the port http or set its appProtocol", "port %d of %s is %s, for which HTTP routes do not hold", p.Number, s.Name, p.Protocol)
		}
	}
}

// failoverWithoutOutlier looks at what a DestinationRule says for its host, and for each subset on top of it.
func failoverWithoutOutlier(l *linter) {
	for _, d := range l.model.DestinationRules {
		host := d.Spec.GetTrafficPolicy()
		l.failover(d.Ref.At(".trafficPolicy"), host, host)
		for i, s := range d.Spec.GetSubsets() {
			if s.GetTrafficPolicy() != nil {
				l.failover(d.Ref.At(".subsets[%d].trafficPolicy", i), s.GetTrafficPolicy(), host)
			}
		}
	}
}

// failover reports a failover in a policy that has no outlier detection, nor has the one below it.
func (l *linter) failover(ref rules.Ref, p, below *v1.TrafficPolicy) {
	setting := p.GetLoadBalancer().GetLocalityLbSetting()
	if len(setting.GetFailover()) == 0 && len(setting.GetFailoverPriority()) == 0 || len(setting.GetDistribute()) > 0 {
		return
	}
	if p.GetOutlierDetection() == nil && below.GetOutlierDetection() == nil {
		l.report(ref.At(".loadBalancer.localityLbSetting"), "add an outlierDetection",
			"Istio prefers near pods only where pods can be ejected: without an outlierDetection all get their turn, wherever they are")
	}
}
