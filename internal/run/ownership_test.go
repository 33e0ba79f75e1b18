package run

import (
	"errors"
	"strings"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"squall/internal/mesh"
)

// A run may change what nobody else owns, and nothing else.
func TestOwnership(t *testing.T) {
	stamp := mesh.Stamp{RunID: "circuit-1", Expires: time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)}
	yes := true
	const argo = "argocd.argoproj.io/tracking-id"
	for name, c := range map[string]struct {
		live  func(*unstructured.Unstructured) // nil is that there is none
		squal bool                             // the live object was applied by Squall
		same  bool                             // the run changes nothing of it
		want  []string                         // none is free
	}{
		"not there":           {},
		"of a person":         {live: func(*unstructured.Unstructured) {}, want: []string{"a person with kubectl owns spec.trafficPolicy.connectionPool.tcp.maxConnections of it (field manager kubectl-edit)", "--namespace"}},
		"of a person, equal":  {live: func(*unstructured.Unstructured) {}, same: true},
		"of this run":         {squal: true, live: func(u *unstructured.Unstructured) { stamp.Put(u, nil) }},
		"of Squall, unmarked": {squal: true, live: func(*unstructured.Unstructured) {}},
		"of another run": {squal: true, live: func(u *unstructured.Unstructured) { mesh.Stamp{RunID: "other-2", Expires: stamp.Expires}.Put(u, nil) },
			want: []string{"DestinationRule default/httpbin is of run other-2", "until 2026-11-26T10:00:00Z", "'squall rollback'"}},
		"of another run, equal": {squal: true, same: true, live: func(u *unstructured.Unstructured) { mesh.Stamp{RunID: "other-2", Expires: stamp.Expires}.Put(u, nil) },
			want: []string{"DestinationRule default/httpbin is of run other-2"}},
		"of Argo CD": {squal: true, live: func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{argo: "shop:a"}) },
			want: []string{"Argo CD owns spec.trafficPolicy", argo + " shop:a", "automated sync"}},
		"of Argo CD, equal": {squal: true, same: true, live: func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{argo: "shop:a"}) }},
		"of Flux": {squal: true, live: func(u *unstructured.Unstructured) {
			u.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "shop"})
		},
			want: []string{"Flux owns", "flux suspend"}},
		"of Helm": {squal: true, live: func(u *unstructured.Unstructured) {
			u.SetLabels(map[string]string{mesh.ManagedByLabel: "Helm"})
			u.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "shop"})
		}, want: []string{"Helm owns", "meta.helm.sh/release-name shop"}},
		"of some tool": {squal: true, live: func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{mesh.ManagedByLabel: "pulumi"}) },
			want: []string{"pulumi owns", mesh.ManagedByLabel}},
		"of Flagger": {squal: true, live: func(u *unstructured.Unstructured) {
			u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "flagger.app/v1beta1", Kind: "Canary", Name: "shop", UID: "1", Controller: &yes}})
		}, want: []string{"Flagger (Canary shop) owns", "suspend"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			if c.live != nil {
				u := destinationRule("v1", 100)
				c.live(u)
				if c.squal {
					if u.GetLabels()[mesh.RunIDLabel] == "" {
						a.apply(destinationRule("v1", 100)) // the rest is somebody else's
					} else {
						a.apply(u)
					}
					a.mark(u)
				} else if _, err := a.create(u); err != nil {
					t.Fatal(err)
				}
			}
			connections := int64(1)
			if c.same {
				connections = 100
			}
			err := a.Free(t.Context(), destinationRule("v1", connections), stamp)
			var owned *mesh.OwnedError
			var held *mesh.HeldError
			if len(c.want) == 0 && err != nil || len(c.want) > 0 && !errors.As(err, &owned) && !errors.As(err, &held) {
				t.Fatalf("%v", err)
			}
			for _, text := range c.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q is missing in %s", text, err)
				}
			}
			now, err := a.Get(t.Context(), mesh.RefOf(destinationRule("v1", 1)))
			if got := connectionsOf(now); err != nil || now != nil && got != 100 {
				t.Errorf("something was changed: %v, %v", now, err)
			}
		})
	}
}

// What a run changes has its stamp, and is afterwards as it was, who owns its fields included.
func TestStampIsRolledBack(t *testing.T) {
	a := newAPI(t)
	stamp := mesh.Stamp{RunID: "circuit-1", Expires: time.Now()}
	u := destinationRule("v1", 1)
	u.SetLabels(map[string]string{"team": "a"})
	before, err := a.create(u)
	if err != nil {
		t.Fatal(err)
	}
	after := outlierRule()
	stamp.Put(after, before)
	stored := a.apply(after)
	if l := stored.GetLabels(); l[mesh.RunIDLabel] != "circuit-1" || l["team"] != "a" || l[mesh.ManagedByLabel] != "" || !mesh.Expired(stored, time.Now().Add(time.Second*2)) {
		t.Errorf("%v %v", l, stored.GetAnnotations())
	}
	if err := a.Restore(t.Context(), mesh.RefOf(before), before); err != nil {
		t.Fatal(err)
	}
	now, err := a.Get(t.Context(), mesh.RefOf(before))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []*unstructured.Unstructured{before, now} {
		o.SetResourceVersion("")
		o.SetGeneration(0)
	}
	if diff := mesh.Difference(mesh.RefOf(before), before, now); diff != "" {
		t.Error(diff)
	}
	was, is := before.GetManagedFields(), now.GetManagedFields()
	if len(was) != 1 || len(is) != 1 || is[0].Manager != "kubectl-edit" || is[0].FieldsV1.String() != was[0].FieldsV1.String() {
		t.Errorf("fields were owned by %v, are by %v", was, is)
	}
}

// outlierRule has a field that nobody owns.
func outlierRule() *unstructured.Unstructured {
	u := destinationRule("v1", 1)
	u.Object["spec"] = map[string]any{"host": "httpbin", "trafficPolicy": map[string]any{"outlierDetection": map[string]any{"interval": "1s"}}}
	return u
}

// create makes a DestinationRule as a person.
func (a *api) create(u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	rule := &istio.DestinationRule{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, rule); err != nil {
		return nil, err
	}
	rules := a.istio.NetworkingV1().DestinationRules(u.GetNamespace())
	if _, err := rules.Create(a.t.Context(), rule, metav1.CreateOptions{FieldManager: "kubectl-edit"}); err != nil {
		return nil, err
	}
	return a.Get(a.t.Context(), mesh.RefOf(u))
}

// mark gives the live object what another has beside its spec, as somebody else.
func (a *api) mark(u *unstructured.Unstructured) {
	a.t.Helper()
	live, err := a.Get(a.t.Context(), mesh.RefOf(u))
	if err != nil {
		a.t.Fatal(err)
	}
	rule := &istio.DestinationRule{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, rule); err != nil {
		a.t.Fatal(err)
	}
	rule.Labels, rule.Annotations, rule.OwnerReferences = u.GetLabels(), u.GetAnnotations(), u.GetOwnerReferences()
	if _, err := a.istio.NetworkingV1().DestinationRules(rule.Namespace).Update(a.t.Context(), rule, metav1.UpdateOptions{FieldManager: "gitops"}); err != nil {
		a.t.Fatal(err)
	}
}

// connectionsOf is what a rule allows, 0 when there is none.
func connectionsOf(u *unstructured.Unstructured) int64 {
	if u == nil {
		return 0
	}
	n, _, _ := unstructured.NestedInt64(u.Object, "spec", "trafficPolicy", "connectionPool", "tcp", "maxConnections")
	return n
}

// An object that would be for the whole cluster is refused where it was taken for one of a namespace: by that it was judged.
func TestClusterScopedInANamespace(t *testing.T) {
	a := newAPI(t)
	u := mesh.Namespace("shop")
	u.SetNamespace("squall")
	_, err := a.Apply(t.Context(), u)
	if err == nil || !strings.Contains(err.Error(), "Namespace squall/shop: the API has namespaces in no namespace, for the whole cluster") {
		t.Error(err)
	}
	if now, err := a.Get(t.Context(), mesh.RefOf(mesh.Namespace("shop"))); now != nil || err != nil {
		t.Errorf("it is there: %v, %v", now, err)
	}
}

// What another run has to do with is said once, however many objects that are.
func TestHeldTogether(t *testing.T) {
	held := func(run, name string) error {
		return &mesh.HeldError{Refs: []mesh.Ref{{Kind: "Service", Namespace: "squall", Name: name}}, Run: run, Until: "noon"}
	}
	other := errors.New("something else")
	got := errors.Join(heldTogether([]error{held("a-1", "x"), nil, held("b-2", "y"), other, held("a-1", "z")})...)
	const want = "Service squall/x, Service squall/z are of run a-1, until noon: "
	if text := got.Error(); !strings.HasPrefix(text, want) || strings.Count(text, "until") != 2 || !errors.Is(got, other) {
		t.Error(got)
	}
}
