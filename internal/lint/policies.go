package lint

import (
	"slices"

	"squall/internal/rules"
)

func missingGateway(l *linter) {
	for _, v := range l.model.VirtualServices {
		for i, name := range v.Gateways {
			if name == rules.MeshGateway {
				continue
			}
			if !slices.ContainsFunc(l.model.Gateways, func(g *rules.Gateway) bool { return g.Name == name }) {
				l.report(v.Ref.At(".gateways[%d]", i), "name a Gateway, as namespace/name where it is in another", "there is no Gateway %s, so that nobody's requests are routed by this", name)
			}
		}
	}
}

// gatewaySelectsNothing leaves the ingress gateway out that an installation of Istio brings, when no workload of its namespace is known.
func gatewaySelectsNothing(l *linter) {
	for _, g := range l.model.Gateways {
		installed := g.Spec.GetSelector()["istio"] == "ingressgateway" || g.Spec.GetSelector()["istio"] == "egressgateway"
		if len(g.Workloads) == 0 && !installed {
			l.report(g.Ref.At(".selector"), "select the pods of a gateway, such as istio: ingressgateway", "no pod has the labels, so that nobody listens")
		}
	}
}

func selectsNothing(l *linter) {
	if len(l.model.Workloads) == 0 {
		return
	}
	look := func(ref rules.Ref, labels map[string]string) {
		ns := ref.Object.GetNamespace()
		if len(labels) == 0 || ns == "istio-system" {
			return
		}
		if !slices.ContainsFunc(l.model.Workloads, func(w *rules.Workload) bool { return w.Namespace == ns && fits(w.Labels, labels) }) {
			l.report(ref.At(".selector"), "use the labels of the pods, not of the Service", "no pod of %s has the labels, so that it holds for nobody", ns)
		}
	}
	for _, p := range l.model.Peers {
		look(p.Ref, p.Spec.GetSelector().GetMatchLabels())
	}
	for _, t := range l.model.Tokens {
		look(t.Ref, t.Spec.GetSelector().GetMatchLabels())
	}
	for _, a := range l.model.Authorizations {
		look(a.Ref, a.Spec.GetSelector().GetMatchLabels())
	}
}

func fits(labels, want map[string]string) bool {
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// jwtNotRequired finds workloads whose tokens are checked, and that no policy of ALLOW or DENY holds for.
func jwtNotRequired(l *linter) {
	for _, t := range l.model.Tokens {
		open := ""
		for _, w := range l.model.Workloads {
			if slices.Contains(l.model.TokensOf(w), t) && len(l.model.AuthorizationsOf(w)) == 0 {
				open = w.Name
				break
			}
		}
		if open != "" {
			l.report(t.Ref, "add an AuthorizationPolicy that asks for requestPrincipals", "a request without a token is let through to %s", open)
		}
	}
}
