package guard_test

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/guard"
	"squall/internal/mesh"
)

var test = mesh.Target{Context: "kind-a", Cluster: "kind-a", Server: "https://10.0.0.1:6443"}

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestContexts(t *testing.T) {
	at := func(context, cluster, server string) mesh.Target {
		return mesh.Target{Context: context, Cluster: cluster, Server: server}
	}
	const far = "https://10.0.0.1:6443"
	for name, c := range map[string]struct {
		policy guard.Policy
		target mesh.Target
		want   string // "" is allowed
	}{
		"kind":                    {target: at("kind-squall", "x", far)},
		"k3d":                     {target: at("k3d-x", "x", far)},
		"minikube":                {target: at("minikube", "minikube", far)},
		"a name that only begins": {target: at("minikube-2", "x", far), want: "does not look like that of a test cluster"},
		"on this machine":         {target: at("x", "x", "https://127.0.0.1:6443")},
		"on this machine, IPv6":   {target: at("x", "x", "https://[::1]:6443")},
		"localhost":               {target: at("x", "x", "https://localhost:6443")},
		"looks like localhost":    {target: at("x", "x", "https://localhost.example.com:6443"), want: "test cluster"},
		"somewhere":               {target: at("staging", "x", far), want: "--yes runs there all the same; SQUALL_TEST_CONTEXTS=staging"},
		"said to be one":          {policy: guard.Policy{Test: []string{"stag*"}}, target: at("staging", "x", far)},
		"yes":                     {policy: guard.Policy{Yes: true}, target: at("staging", "x", far)},
		"protected context": {policy: guard.Policy{Yes: true, Protected: []string{"*prod*"}}, target: at("arn:aws:eks:eu:1:cluster/Prod-1", "x", far),
			want: "is protected by the pattern *prod*"},
		"protected cluster":      {policy: guard.Policy{Yes: true, Protected: []string{"*prod*"}}, target: at("x", "production", far), want: "protected"},
		"protected server":       {policy: guard.Policy{Yes: true, Protected: []string{"*.prod.example.com"}}, target: at("x", "x", "https://api.prod.example.com"), want: "protected"},
		"protected test cluster": {policy: guard.Policy{Yes: true, Test: []string{"*"}, Protected: []string{"kind-a"}}, target: test, want: "protected"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.policy.Judge(c.target, guard.Intent{Run: "x", Namespaces: []string{"squall"}})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestNamespaces(t *testing.T) {
	const (
		service = "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: %}}"
		rule    = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, namespace: squall}, spec: {hosts: [%]}}"
		role    = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: a}}"
		route   = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a, namespace: squall}, spec: {parentRefs: [{name: g%}]}}"
		bound   = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, namespace: squall}, spec: {hosts: [shop.example.com], gateways: [%]}}"
		space   = "{apiVersion: v1, kind: Namespace, metadata: {name: %}}"
	)
	for name, c := range map[string]struct {
		policy     guard.Policy
		own        []string
		text, with string
		want       string // "" is allowed
	}{
		"the run's own":              {text: service, with: "squall"},
		"its own is protected":       {own: []string{"kube-system"}, text: service, with: "kube-system", want: "kube-system is protected"},
		"default":                    {own: []string{"default"}, text: service, with: "default", want: "default is protected"},
		"default, by name":           {policy: guard.Policy{Namespaces: []string{"default"}}, own: []string{"default"}, text: service, with: "default"},
		"istio-system":               {text: service, with: "istio-system", want: "--allow-namespace istio-system"},
		"istio-system, by name":      {policy: guard.Policy{Namespaces: []string{"istio-system", "squall"}}, text: service, with: "istio-system"},
		"istio-system, by a pattern": {policy: guard.Policy{Namespaces: []string{"*"}}, text: service, with: "istio-system", want: "protected"},
		"yes allows no namespace":    {policy: guard.Policy{Yes: true}, text: service, with: "istio-system", want: "protected"},
		"in the list":                {policy: guard.Policy{Namespaces: []string{"team-*", "squ*"}}, text: service, with: "squall"},
		"not in the list":            {policy: guard.Policy{Namespaces: []string{"team-*"}}, text: service, with: "squall", want: "none of those that are allowed (team-*)"},
		"a rule for its own host":    {text: rule, with: "reviews"},
		"by its whole name":          {text: rule, with: "reviews.squall.svc.cluster.local"},
		"for a host of another's":    {text: rule, with: "reviews.shop.svc.cluster.local", want: "in shop: VirtualService squall/a (calls of reviews.shop.svc.cluster.local)"},
		"of another that is allowed": {policy: guard.Policy{Namespaces: []string{"squall", "shop"}}, text: rule, with: "reviews.shop.svc"},
		"a route of its own":         {text: route, with: ", namespace: squall"},
		"a route without a place":    {text: route},
		"a route at another's":       {text: route, with: ", namespace: shop", want: "in shop: HTTPRoute squall/a (attached there)"},
		"a host outside":             {text: rule, with: "www.example.com"},
		"for hosts of all":           {text: rule, with: "'*.svc.cluster.local'", want: "in the whole cluster: VirtualService squall/a (calls of *.svc.cluster.local)"},
		"by the shortest name":       {text: rule, with: "'*.local'", want: "--allow-cluster-scoped"},
		"for hosts of all, here":     {text: rule, with: "'*.local'], exportTo: [.", want: ""},
		"exported to another":        {text: rule, with: "'*.local'], exportTo: [., shop", want: "--allow-cluster-scoped"},
		"for hosts of its own":       {text: rule, with: "'*.squall.svc.cluster.local'"},
		"for any host at a gateway":  {text: strings.Replace(bound, "shop.example.com", "'*'", 1), with: "public"},
		"at a gateway of its own":    {text: bound, with: "mesh, public, ./public, squall/public"},
		"at another's gateway":       {text: bound, with: "mesh, shop/public", want: "in shop: VirtualService squall/a (attached there)"},
		"for the whole cluster":      {text: role, want: "--allow-cluster-scoped"},
		"which is allowed":           {policy: guard.Policy{ClusterScoped: true}, text: role},
		"a namespace":                {text: space, with: "shop", want: "shop is not one of the run's own"},
	} {
		t.Run(name, func(t *testing.T) {
			in := guard.Intent{Run: "x", Namespaces: []string{"squall"}, Touches: guard.Touches(object(t, strings.ReplaceAll(c.text, "%", c.with)), "")}
			if c.own != nil {
				in.Namespaces = c.own
			}
			err := c.policy.Judge(test, in)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// All reasons come at once, with what would have been changed.
func TestRefusal(t *testing.T) {
	in := guard.Intent{Run: "circuit", Namespaces: []string{"squall"}, Touches: []guard.Touch{
		{Namespace: "squall", Object: mesh.Ref{Kind: "Service", Namespace: "squall", Name: "a"}},
		{Namespace: "squall", Object: mesh.Ref{Kind: "DestinationRule", Namespace: "squall", Name: "a"}, Why: "circuitBreaker a"},
		{Namespace: "squall", Object: mesh.Ref{Kind: "Service", Namespace: "squall", Name: "b"}},
		{Namespace: "istio-system", Object: mesh.Ref{Kind: "EnvoyFilter", Namespace: "istio-system", Name: "mark"}, Why: "mark"},
	}}
	err := guard.Policy{}.Judge(mesh.Target{Context: "staging", Cluster: "s1", Server: "https://10.0.0.1"}, in)
	var refusal *guard.RefusedError
	if !errors.As(err, &refusal) || len(refusal.Reasons) != 2 {
		t.Fatal(err)
	}
	const want = `circuit is refused; nothing was sent
  context  staging (cluster s1)
  server   https://10.0.0.1
  changes  in squall: Service a, b; DestinationRule a (circuitBreaker a)
  changes  in istio-system: EnvoyFilter mark (mark)
  refused  the context staging does not look like that of a test cluster
           -> --yes runs there all the same; SQUALL_TEST_CONTEXTS=staging says for good that it is one
  refused  the namespace istio-system is protected
           -> --allow-namespace istio-system allows it`
	if err.Error() != want {
		t.Errorf("%s\nwant\n%s", err, want)
	}
}
