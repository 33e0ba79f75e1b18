package step

import (
	apisecurity "istio.io/api/security/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/scenario"
)

func jwt(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.JWT)
	if !c.hasPods(spec.Workload) || !c.claim(c.podsInWords(spec.Workload), "tokens of "+spec.Issuer, "", s.Path) {
		return
	}
	rule := &apisecurity.JWTRule{
		Issuer: spec.Issuer, Audiences: spec.Audiences, JwksUri: spec.JWKSURI, Jwks: spec.JWKS,
		ForwardOriginalToken: spec.ForwardOriginalToken,
	}
	for _, h := range spec.FromHeaders {
		rule.FromHeaders = append(rule.FromHeaders, &apisecurity.JWTHeader{Name: h.Name, Prefix: h.Prefix})
	}
	u, ok := c.policyFor("RequestAuthentication", "jwt", c.opts.Namespace, spec.Workload)
	if !ok {
		return
	}
	layJWTRule(fields.Child(u.Object, "spec"), spec.Issuer, c.fields(rule))
	if spec.Require {
		c.fillPolicy(c.newPolicy("AuthorizationPolicy", "jwt", c.opts.Namespace, spec.Workload), &apisecurity.AuthorizationPolicy{
			Action: apisecurity.AuthorizationPolicy_DENY,
			Rules: []*apisecurity.Rule{{
				From: []*apisecurity.Rule_From{{Source: &apisecurity.Source{NotRequestPrincipals: []string{"*"}}}},
			}},
		})
	}
}

// layJWTRule replaces the rule of the issuer, or adds it to those of others.
func layJWTRule(spec map[string]any, issuer string, rule map[string]any) {
	rules := fields.Maps(spec, "jwtRules")
	for i, old := range rules {
		if str(old, "issuer") == issuer {
			rules[i] = rule
			spec["jwtRules"] = toList(rules)
			return
		}
	}
	spec["jwtRules"] = append(toList(rules), rule)
}

func authorize(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Authorize)
	if !c.hasPods(spec.Workload) {
		return
	}
	policy := &apisecurity.AuthorizationPolicy{Action: action(spec.Action)}
	for _, r := range spec.Rules {
		policy.Rules = append(policy.Rules, accessRule(r))
	}
	u := c.newPolicy("AuthorizationPolicy", "authorize", c.opts.Namespace, spec.Workload)
	c.made[s.Path] = u.GetName()
	if spec.DryRun {
		u.SetAnnotations(map[string]string{dryRun: "true"})
	}
	c.fillPolicy(u, policy)
}

// dryRun is Istio's annotation of policies that only count.
const dryRun = "istio.io/dry-run"

// fillPolicy puts action and rules beside the policy's selector. An action that is ALLOW, Istio's default, is left out.
func (c *compiler) fillPolicy(u *unstructured.Unstructured, policy *apisecurity.AuthorizationPolicy) {
	laid(fields.Child(u.Object, "spec"), c.fields(policy))
}

func action(name string) apisecurity.AuthorizationPolicy_Action {
	switch name {
	case "DENY":
		return apisecurity.AuthorizationPolicy_DENY
	case "AUDIT":
		return apisecurity.AuthorizationPolicy_AUDIT
	}
	return apisecurity.AuthorizationPolicy_ALLOW
}

func accessRule(r scenario.AuthorizeRule) *apisecurity.Rule {
	out := &apisecurity.Rule{}
	if f := r.From; f != nil {
		out.From = []*apisecurity.Rule_From{{Source: &apisecurity.Source{
			Principals: f.Principals, NotPrincipals: f.NotPrincipals,
			RequestPrincipals: f.RequestPrincipals, NotRequestPrincipals: f.NotRequestPrincipals,
			Namespaces: f.Namespaces, NotNamespaces: f.NotNamespaces, IpBlocks: f.IPBlocks, NotIpBlocks: f.NotIPBlocks,
		}}}
	}
	if t := r.To; t != nil {
		out.To = []*apisecurity.Rule_To{{Operation: &apisecurity.Operation{
			Hosts: t.Hosts, NotHosts: t.NotHosts, Methods: t.Methods, NotMethods: t.NotMethods,
			Paths: t.Paths, NotPaths: t.NotPaths, Ports: t.Ports, NotPorts: t.NotPorts,
		}}}
	}
	for _, w := range r.When {
		out.When = append(out.When, &apisecurity.Condition{Key: w.Key, Values: w.Values, NotValues: w.NotValues})
	}
	return out
}
