package lint

import (
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
		o := d.Spec.GetTrafficPolicy().GetOutlierDetection()
		if s == nil || s.Unknown != "" || o == nil {
			continue
		}
		percent := int(o.GetMaxEjectionPercent())
		ref := d.Ref.At(".trafficPolicy.outlierDetection")
		said := "maxEjectionPercent is 10 unless it is set"
		if percent == 0 {
			percent = 10
		} else {
			said = "maxEjectionPercent is set"
		}
		if pods := rules.Pods(s.Workloads); pods > 0 && pods*percent < 100 {
			l.report(ref, "set maxEjectionPercent so that one pod is within it", "%s, and of %d pods that is none: nothing is ejected", said, pods)
		}
	}
}

func mtlsConflict(l *linter) {
	if !l.knowsServices() {
		return
	}
	for _, d := range l.model.DestinationRules {
		mode := d.Spec.GetTrafficPolicy().GetTls()
		s := l.model.Service(d.Host, d.Ref.Object.GetNamespace())
		if mode == nil || s == nil {
			continue
		}
		for _, w := range s.Workloads {
			takes, from := l.model.PeerMode(w, 0)
			plain := mode.GetMode() == v1.ClientTLSSettings_DISABLE || mode.GetMode() == v1.ClientTLSSettings_SIMPLE
			switch {
			case plain && takes == rules.Strict:
				l.report(d.Ref.At(".trafficPolicy.tls"), "leave tls out: Istio chooses what both speak", "callers speak %s, and the pods of %s take mutual TLS alone, by %s", mode.GetMode(), s.Name, from)
			case mode.GetMode() == v1.ClientTLSSettings_ISTIO_MUTUAL && takes == rules.Disabled:
				l.report(d.Ref.At(".trafficPolicy.tls"), "leave tls out: Istio chooses what both speak", "callers speak mutual TLS, and the pods of %s take none, by %s", s.Name, from)
			default:
				continue
			}
			break
		}
	}
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
