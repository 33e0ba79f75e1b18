package rules

import (
	"slices"

	v1 "istio.io/api/networking/v1"
)

// Cluster is a service, or a subset of it, as a caller's proxy sees it.
type Cluster struct {
	Service *Service // nil: no service has the host, and the proxy answers 503 with the flag NC or 404
	Subset  string
	Port    int
	// Missing says that no DestinationRule has the subset: the proxy has no such cluster and answers 503.
	Missing bool
	// Workloads serve the cluster. None that are ready: the proxy answers 503 with the flag UH.
	Workloads []*Workload
	// Rules are the DestinationRules that hold, of which the first says most.
	Rules   []*DestinationRule
	Pool    *v1.ConnectionPoolSettings
	PoolRef Ref
	Outlier *v1.OutlierDetection
	// OutlierRef, BalancerRef and TLSRef are the places of what stands before them; zero refs are Istio's defaults.
	OutlierRef  Ref
	Balancer    *v1.LoadBalancerSettings
	BalancerRef Ref
	TLS         *v1.ClientTLSSettings // nil: Istio chooses mutual TLS for pods with a sidecar
	TLSRef      Ref
	// Unknown is why the cluster cannot be told, or "".
	Unknown string
}

// Cluster finds what a destination is for a caller.
func (m *Model) Cluster(c Caller, d Destination) Cluster {
	s := m.Service(d.Host, c.Namespace)
	out := Cluster{Service: s, Subset: d.Subset, Port: d.Port}
	if s == nil {
		return out
	}
	out.Workloads, out.Unknown = s.Workloads, s.Unknown
	if c.Proxy == NoProxy {
		return out
	}
	out.Rules = m.destinationRules(c, s)
	for _, r := range out.Rules {
		out.adopt(r.Spec.GetTrafficPolicy(), r.Ref.At(".trafficPolicy"), false)
	}
	if d.Subset == "" {
		return out
	}
	subset, ref := out.subset()
	if subset == nil {
		out.Missing, out.Workloads = true, nil
		return out
	}
	out.Workloads = slices.DeleteFunc(slices.Clone(s.Workloads), func(w *Workload) bool { return !includes(w.Labels, subset.GetLabels()) })
	out.adopt(subset.GetTrafficPolicy(), ref.At(".trafficPolicy"), true)
	return out
}

// subset finds the subset's definition: of several DestinationRules the oldest that has it.
func (c *Cluster) subset() (*v1.Subset, Ref) {
	for _, r := range c.Rules {
		for i, s := range r.Spec.GetSubsets() {
			if s.GetName() == c.Subset {
				return s, r.Ref.At(".subsets[%d]", i)
			}
		}
	}
	return nil, Ref{}
}

// adopt takes over a traffic policy, whole field by whole field. Unless it overrides, the whole policy counts only where there is none yet.
// Settings of the port take the place of all others.
func (c *Cluster) adopt(p *v1.TrafficPolicy, ref Ref, override bool) {
	set := c.PoolRef.Object != nil || c.OutlierRef.Object != nil || c.BalancerRef.Object != nil || c.TLSRef.Object != nil
	if p == nil || set && !override {
		return
	}
	for i, port := range p.GetPortLevelSettings() {
		if int(port.GetPort().GetNumber()) == c.Port {
			at := ref.At(".portLevelSettings[%d]", i)
			c.Pool, c.PoolRef = port.GetConnectionPool(), at.At(".connectionPool")
			c.Outlier, c.OutlierRef = port.GetOutlierDetection(), at.At(".outlierDetection")
			c.Balancer, c.BalancerRef = port.GetLoadBalancer(), at.At(".loadBalancer")
			c.TLS, c.TLSRef = port.GetTls(), at.At(".tls")
			return
		}
	}
	if p.GetConnectionPool() != nil {
		c.Pool, c.PoolRef = p.GetConnectionPool(), ref.At(".connectionPool")
	}
	if p.GetOutlierDetection() != nil {
		c.Outlier, c.OutlierRef = p.GetOutlierDetection(), ref.At(".outlierDetection")
	}
	if p.GetLoadBalancer() != nil {
		c.Balancer, c.BalancerRef = p.GetLoadBalancer(), ref.At(".loadBalancer")
	}
	if p.GetTls() != nil {
		c.TLS, c.TLSRef = p.GetTls(), ref.At(".tls")
	}
}

// destinationRules are looked for in the caller's namespace, then in the service's, then in the root namespace. Rules for the most
// specific host count; those with a workload selector that fits come first, and then alone.
func (m *Model) destinationRules(c Caller, s *Service) []*DestinationRule {
	places := []string{c.Namespace, s.Namespace, m.root}
	if c.Namespace == m.root {
		places = []string{s.Namespace, m.root}
	}
	for _, ns := range places {
		if found := m.destinationRulesIn(ns, c, s); len(found) > 0 {
			return found
		}
	}
	return nil
}

func (m *Model) destinationRulesIn(ns string, c Caller, s *Service) []*DestinationRule {
	best := ""
	var all, selected []*DestinationRule
	for _, r := range m.DestinationRules {
		selector := r.Spec.GetWorkloadSelector()
		if r.Ref.Object.GetNamespace() != ns || !covers(r.Host, s.Host) || len(r.Host) < len(best) {
			continue
		}
		if !exported(r.Ref, r.Spec.GetExportTo(), c.Namespace) || selector != nil && (ns != c.Namespace || !includes(c.Labels, selector.GetMatchLabels())) {
			continue
		}
		if r.Host != best {
			best, all, selected = r.Host, nil, nil
		}
		if selector != nil {
			selected = append(selected, r)
		} else {
			all = append(all, r)
		}
	}
	if len(selected) > 0 {
		return selected
	}
	return all
}
