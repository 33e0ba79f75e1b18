package rules

import (
	"net"
	"slices"
	"strconv"
	"strings"

	securityv1 "istio.io/api/security/v1"
)

// Access is a request as a workload's proxy sees it.
type Access struct {
	Request
	// Principal is the identity of the caller's certificate, "" in plain text: cluster.local/ns/NAMESPACE/sa/ACCOUNT.
	Principal string
	Namespace string // of the principal, "" in plain text
	// Target is the port of the pod, 0 when it is not known.
	Target int
	// Claims says whether the request has a token that the proxy knows. What is in it is not known.
	Claims Truth
}

// Authorized says whether the workload's policies let a request through, and which decides. A custom policy makes it Unknown.
// As in Istio: a DENY that matches refuses; else any ALLOW that matches lets through; without an ALLOW everything goes through.
func (m *Model) Authorized(w *Workload, a Access) (Truth, Ref) {
	policies := m.AuthorizationsOf(w)
	denied, by := No, Ref{}
	for _, p := range policies {
		switch p.Spec.GetAction() {
		case securityv1.AuthorizationPolicy_CUSTOM:
			return Unknown, p.Ref.At(".action")
		case securityv1.AuthorizationPolicy_DENY:
			fit, ref := p.matches(a)
			if fit == Yes {
				return No, ref
			}
			if fit == Unknown {
				denied, by = Unknown, ref
			}
		}
	}
	allowed, hasAllow, allower := No, false, Ref{}
	for _, p := range policies {
		if p.Spec.GetAction() != securityv1.AuthorizationPolicy_ALLOW {
			continue
		}
		fit, ref := p.matches(a)
		if !hasAllow || fit == Yes || fit == Unknown && allowed == No {
			allowed, allower = fit, ref
		}
		hasAllow = true
		if fit == Yes {
			break
		}
	}
	switch {
	case hasAllow && allowed != Yes:
		return allowed, allower
	case denied == Unknown:
		return Unknown, by
	case hasAllow:
		return Yes, allower
	}
	return Yes, Ref{}
}

// matches says whether one of the policy's rules matches, and which.
func (p *AuthorizationPolicy) matches(a Access) (Truth, Ref) {
	out, at := No, p.Ref
	for i, rule := range p.Spec.GetRules() {
		fit := matchesRule(rule, a)
		if fit == Yes {
			return Yes, p.Ref.At(".rules[%d]", i)
		}
		if fit == Unknown {
			out, at = Unknown, p.Ref.At(".rules[%d]", i)
		}
	}
	return out, at
}

func matchesRule(rule *securityv1.Rule, a Access) Truth {
	out := Yes
	if len(rule.GetFrom()) > 0 {
		any := No
		for _, f := range rule.GetFrom() {
			any = any.or(fromSource(f.GetSource(), a))
		}
		out = out.and(any)
	}
	if len(rule.GetTo()) > 0 {
		any := No
		for _, t := range rule.GetTo() {
			any = any.or(toOperation(t.GetOperation(), a))
		}
		out = out.and(any)
	}
	for _, c := range rule.GetWhen() {
		out = out.and(when(c, a))
	}
	return out
}

// one says whether a value is one of those wanted; with none wanted it is.
func one(wanted []string, value string, known bool) Truth {
	if len(wanted) == 0 {
		return Yes
	}
	if !known {
		return Unknown
	}
	return truth(slices.ContainsFunc(wanted, func(w string) bool { return globbed(w, value) }))
}

// none says whether a value is none of those unwanted; with none unwanted it is.
func none(unwanted []string, value string, known bool) Truth {
	if len(unwanted) == 0 {
		return Yes
	}
	return one(unwanted, value, known).not()
}

// globbed is Istio's match of text: exact, prefix*, *suffix, or * for anything that is there.
func globbed(pattern, value string) bool {
	switch {
	case pattern == "*":
		return value != ""
	case strings.HasSuffix(pattern, "*"):
		return strings.HasPrefix(value, strings.TrimSuffix(pattern, "*"))
	case strings.HasPrefix(pattern, "*"):
		return strings.HasSuffix(value, strings.TrimPrefix(pattern, "*"))
	}
	return pattern == value
}

func fromSource(s *securityv1.Source, a Access) Truth {
	out := one(s.GetPrincipals(), a.Principal, true).and(none(s.GetNotPrincipals(), a.Principal, true))
	out = out.and(one(s.GetNamespaces(), a.Namespace, true)).and(none(s.GetNotNamespaces(), a.Namespace, true))
	if len(s.GetServiceAccounts()) > 0 || len(s.GetNotServiceAccounts()) > 0 {
		out = out.and(Unknown)
	}
	if len(s.GetIpBlocks())+len(s.GetNotIpBlocks())+len(s.GetRemoteIpBlocks())+len(s.GetNotRemoteIpBlocks()) > 0 {
		out = out.and(Unknown)
	}
	if len(s.GetRequestPrincipals()) > 0 {
		out = out.and(a.claimed())
	}
	if len(s.GetNotRequestPrincipals()) > 0 {
		out = out.and(notClaimed(s.GetNotRequestPrincipals(), a.Claims))
	}
	return out
}

// claimed: a request without a token has no claim; one with a token may have it.
func (a Access) claimed() Truth {
	if a.Claims == No {
		return No
	}
	return Unknown
}

// notClaimed: a request without a token has none of the principals; one with a token has some principal, so that not * fails.
func notClaimed(unwanted []string, claims Truth) Truth {
	switch {
	case claims == No:
		return Yes
	case claims == Yes && slices.Contains(unwanted, "*"):
		return No
	}
	return Unknown
}

func toOperation(o *securityv1.Operation, a Access) Truth {
	path, _, _ := strings.Cut(a.Path, "?")
	host := a.Authority
	if h, _, err := net.SplitHostPort(host); err == nil && len(o.GetHosts()) > 0 && !hasPort(o.GetHosts()) {
		host = h
	}
	port := ""
	if a.Target != 0 {
		port = strconv.Itoa(a.Target)
	}
	out := one(o.GetMethods(), a.Method, a.Method != "").and(none(o.GetNotMethods(), a.Method, a.Method != ""))
	out = out.and(paths(o.GetPaths(), path))
	if len(o.GetNotPaths()) > 0 {
		out = out.and(paths(o.GetNotPaths(), path).not())
	}
	out = out.and(one(o.GetPorts(), port, port != "")).and(none(o.GetNotPorts(), port, port != ""))
	return out.and(one(o.GetHosts(), host, host != "")).and(none(o.GetNotHosts(), host, host != ""))
}

func hasPort(hosts []string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool { return strings.Contains(h, ":") })
}

// paths is one for paths; templates such as /a/{*} are not known.
func paths(wanted []string, path string) Truth {
	if slices.ContainsFunc(wanted, func(w string) bool { return strings.Contains(w, "{") }) {
		return Unknown
	}
	return one(wanted, path, path != "")
}

// when is a condition. What a token holds is not known.
func when(c *securityv1.Condition, a Access) Truth {
	var value string
	known := true
	name, isHeader := strings.CutPrefix(c.GetKey(), "request.headers[")
	switch {
	case isHeader:
		value, _, known = a.header(strings.TrimSuffix(name, "]"))
	case c.GetKey() == "source.principal":
		value = a.Principal
	case c.GetKey() == "source.namespace":
		value = a.Namespace
	case strings.HasPrefix(c.GetKey(), "request.auth."):
		if len(c.GetValues()) > 0 {
			return a.claimed()
		}
		return notClaimed(c.GetNotValues(), a.Claims)
	default:
		return Unknown
	}
	return one(c.GetValues(), value, known).and(none(c.GetNotValues(), value, known))
}
