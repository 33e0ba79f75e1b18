package plan

import (
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
	"squall/internal/scenario"
)

// NeedsIngress says whether the plan has to do with Istio's ingress gateway: a Gateway selects it, or a load calls its Service.
func (p *Plan) NeedsIngress() bool {
	if slices.ContainsFunc(p.Fixtures, selectsIngress) {
		return true
	}
	return slices.ContainsFunc(p.Phases, func(ph Phase) bool {
		return callsIngress(ph.Load.URL) || ph.SignIn != nil && callsIngress(ph.SignIn.URL) ||
			slices.ContainsFunc(ph.Changes, func(c Change) bool { return selectsIngress(c.After) })
	})
}

// ProxyNamespaces are those whose proxies the plan has to do with.
func (p *Plan) ProxyNamespaces() []string {
	if p.NeedsIngress() {
		return append(slices.Clone(p.Namespaces), mesh.RootNamespace)
	}
	return p.Namespaces
}

func selectsIngress(u *unstructured.Unstructured) bool {
	if u.GetKind() != "Gateway" || u.GroupVersionKind().Group != "networking.istio.io" {
		return false
	}
	selector, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector") // the API will refuse another type
	have := mesh.IngressLabels()
	for k, v := range selector {
		if have[k] != v {
			return false
		}
	}
	return true
}

func callsIngress(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Hostname() == mesh.IngressGateway+"."+mesh.RootNamespace ||
		strings.HasPrefix(u.Hostname(), mesh.IngressGateway+"."+mesh.RootNamespace+"."))
}

// namesIngress says whether a load or the request before one calls the ingress gateway.
func namesIngress(s *scenario.Spec) bool {
	loads := []*scenario.LoadSpec{s.Baseline.Load}
	for i := range s.Stages {
		loads = append(loads, s.Stages[i].Load)
	}
	return slices.ContainsFunc(loads, func(l *scenario.LoadSpec) bool {
		return l != nil && (callsIngress(l.URL) || l.SignIn != nil && callsIngress(l.SignIn.URL))
	})
}
