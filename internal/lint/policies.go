package lint

import (
	"slices"
	"strings"

	securityv1 "istio.io/api/security/v1"

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

// jwtNotRequired finds workloads whose tokens are checked, and whose policies ask for none.
func jwtNotRequired(l *linter) {
	for _, t := range l.model.Tokens {
		open := ""
		for _, w := range l.model.Workloads {
			if slices.Contains(l.model.TokensOf(w), t) && !askForToken(l.model.AuthorizationsOf(w)) {
				open = w.Name
				break
			}
		}
		if open != "" {
			l.report(t.Ref, "add an AuthorizationPolicy that asks for requestPrincipals", "a request without a token is let through to %s", open)
		}
	}
}

// askForToken says whether policies refuse a request, be it of some paths alone, for having no token. They count as asking too when they let
// nothing through at all, or leave every request to a provider, which may ask.
func askForToken(policies []*rules.AuthorizationPolicy) bool {
	allows, rulesOfAllow := 0, 0
	for _, p := range policies {
		action := p.Spec.GetAction()
		if action == securityv1.AuthorizationPolicy_ALLOW {
			allows++
			rulesOfAllow += len(p.Spec.GetRules())
		}
		if slices.ContainsFunc(p.Spec.GetRules(), func(r *securityv1.Rule) bool { return asks(action, r) }) {
			return true
		}
	}
	return allows > 0 && rulesOfAllow == 0
}

// asks says of one rule what askForToken says of policies. A request without a token has no claims: a rule of ALLOW has to want one for
// refusing it, and a rule of DENY to be for all without one. AUDIT refuses nobody.
func asks(action securityv1.AuthorizationPolicy_Action, r *securityv1.Rule) bool {
	everyone := len(r.GetFrom()) == 0 && len(r.GetTo()) == 0 && len(r.GetWhen()) == 0
	switch action {
	case securityv1.AuthorizationPolicy_ALLOW:
		return names(r, (*securityv1.Source).GetRequestPrincipals, (*securityv1.Condition).GetValues)
	case securityv1.AuthorizationPolicy_DENY:
		return everyone || names(r, (*securityv1.Source).GetNotRequestPrincipals, (*securityv1.Condition).GetNotValues)
	case securityv1.AuthorizationPolicy_CUSTOM:
		return everyone
	}
	return false
}

// names says whether a source or a condition of the rule has something to say of tokens.
func names(r *securityv1.Rule, of func(*securityv1.Source) []string, values func(*securityv1.Condition) []string) bool {
	return slices.ContainsFunc(r.GetFrom(), func(f *securityv1.Rule_From) bool { return len(of(f.GetSource())) > 0 }) ||
		slices.ContainsFunc(r.GetWhen(), func(c *securityv1.Condition) bool {
			return strings.HasPrefix(c.GetKey(), "request.auth.") && len(values(c)) > 0
		})
}
