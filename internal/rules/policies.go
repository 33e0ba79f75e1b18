package rules

import (
	securityv1 "istio.io/api/security/v1"
	typev1beta1 "istio.io/api/type/v1beta1"
)

// Mode is which connections a workload takes.
type Mode string

// The modes of mutual TLS. Permissive is Istio's default.
const (
	Permissive Mode = "PERMISSIVE"
	Strict     Mode = "STRICT"
	Disabled   Mode = "DISABLE"
)

// PeerMode is the mode of mutual TLS of a workload's port (of the pod, 0 is any without a setting of its own). The policy of the
// workload wins over the namespace's, and that over the root namespace's; of several the oldest.
func (m *Model) PeerMode(w *Workload, port int) (Mode, Ref) {
	mode, ref := Permissive, Ref{}
	if !w.Sidecar {
		return Disabled, ref
	}
	var mesh, namespace, workload *PeerAuthentication
	for _, p := range m.Peers {
		ns, labels := p.Ref.Object.GetNamespace(), p.Spec.GetSelector().GetMatchLabels()
		switch {
		case len(labels) == 0 && ns == m.root:
			mesh = first(mesh, p)
		case len(labels) == 0 && ns == w.Namespace:
			namespace = first(namespace, p)
		case len(labels) > 0 && ns == w.Namespace && ns != m.root && includes(w.Labels, labels):
			workload = first(workload, p)
		}
	}
	for _, p := range []*PeerAuthentication{mesh, namespace, workload} {
		if p != nil && p.Spec.GetMtls().GetMode() != securityv1.PeerAuthentication_MutualTLS_UNSET {
			mode, ref = Mode(p.Spec.GetMtls().GetMode().String()), p.Ref.At(".mtls")
		}
	}
	if workload == nil || port == 0 {
		return mode, ref
	}
	own := workload.Spec.GetPortLevelMtls()[uint32(port)]
	if own.GetMode() != securityv1.PeerAuthentication_MutualTLS_UNSET {
		return Mode(own.GetMode().String()), workload.Ref.At(".portLevelMtls[%d]", port)
	}
	return mode, ref
}

func first[T any](have, next *T) *T {
	if have != nil {
		return have
	}
	return next
}

// holds says whether a policy of security holds for a workload: in the workload's namespace or the root one, by labels or by none.
// targets says that the policy names what it holds for in a way that the model does not follow.
func (m *Model) holds(ref Ref, selector *typev1beta1.WorkloadSelector, w *Workload) bool {
	ns := ref.Object.GetNamespace()
	return (ns == w.Namespace || ns == m.root) && includes(w.Labels, selector.GetMatchLabels())
}

// AuthorizationsOf are the AuthorizationPolicies that hold for the workload.
func (m *Model) AuthorizationsOf(w *Workload) []*AuthorizationPolicy {
	var out []*AuthorizationPolicy
	for _, p := range m.Authorizations {
		if w.Sidecar && m.holds(p.Ref, p.Spec.GetSelector(), w) && len(p.Spec.GetTargetRefs()) == 0 && p.Spec.GetTargetRef() == nil {
			out = append(out, p)
		}
	}
	return out
}

// TokensOf are the RequestAuthentications that hold for the workload.
func (m *Model) TokensOf(w *Workload) []*RequestAuthentication {
	var out []*RequestAuthentication
	for _, p := range m.Tokens {
		if w.Sidecar && m.holds(p.Ref, p.Spec.GetSelector(), w) && len(p.Spec.GetTargetRefs()) == 0 && p.Spec.GetTargetRef() == nil {
			out = append(out, p)
		}
	}
	return out
}
