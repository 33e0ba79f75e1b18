package kubeapi

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// names are the names of what a path lists.
func (a *api) names(path string) []string {
	a.t.Helper()
	var out []string
	for _, o := range mapsOf(list(a.must("GET", path, "", ""), "items")) {
		out = append(out, text(o, "metadata", "name"))
	}
	return out
}

func (a *api) owned(name string, owners ...map[string]any) map[string]any {
	a.t.Helper()
	var refs []any
	for _, o := range owners {
		refs = append(refs, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": text(o, "metadata", "name"), "uid": text(o, "metadata", "uid")})
	}
	return a.must("POST", configMaps, "", string(mustJSON(map[string]any{"metadata": map[string]any{"name": name, "ownerReferences": refs}})))
}

func TestOwnersTakeWhatIsTheirs(t *testing.T) {
	for policy, want := range map[metav1.DeletionPropagation][]string{
		"":                                 {"shared", "stranger"},
		metav1.DeletePropagationBackground: {"shared", "stranger"},
		metav1.DeletePropagationForeground: {"shared", "stranger"},
		metav1.DeletePropagationOrphan:     {"child", "grandchild", "shared", "stranger"},
	} {
		t.Run(string(policy), func(t *testing.T) {
			a := start(t, Options{})
			owner, stranger := a.owned("owner"), a.owned("stranger")
			a.owned("grandchild", a.owned("child", owner))
			a.owned("shared", owner, stranger)
			a.must("DELETE", configMaps+"/owner?propagationPolicy="+string(policy), "", "")
			if got := a.names(configMaps); !slices.Equal(got, want) {
				t.Errorf("left: %v, want %v", got, want)
			}
			if refs := list(a.must("GET", configMaps+"/shared", "", ""), "metadata", "ownerReferences"); len(refs) != 1 {
				t.Errorf("owners of shared: %v", refs)
			}
		})
	}
}

func TestOwnersInACircle(t *testing.T) {
	a := start(t, Options{})
	one := a.owned("one")
	two := a.owned("two", one)
	a.must("PATCH", configMaps+"/one", string(types.MergePatchType), fmt.Sprintf(
		`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"two","uid":%q}]}}`, text(two, "metadata", "uid")))
	a.must("DELETE", configMaps+"/one", "", `{"propagationPolicy":"Foreground"}`)
	if got := a.names(configMaps); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestNamespaceTakesItsObjects(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", "/api/v1/namespaces", "", `{"metadata":{"name":"shop"}}`)
	a.must("POST", "/api/v1/namespaces/shop/configmaps", "", `{"metadata":{"name":"c"}}`)
	a.must("POST", "/apis/networking.istio.io/v1/namespaces/shop/virtualservices", "", `{"metadata":{"name":"v"},"spec":{"hosts":["a"]}}`)
	a.must("POST", configMaps, "", `{"metadata":{"name":"other"}}`)
	w, err := a.kube().CoreV1().ConfigMaps("shop").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	next(t, w)
	a.must("DELETE", "/api/v1/namespaces/shop", "", "")
	if got := named(next(t, w)); got != "DELETED c" {
		t.Errorf("the watch saw %s", got)
	}
	for _, o := range a.server.Snapshot() {
		if text(o, "metadata", "namespace") == "shop" || text(o, "metadata", "name") == "shop" {
			t.Errorf("left: %v", o["metadata"])
		}
	}
	a.must("GET", configMaps+"/other", "", "")
}

func TestFinalizersHoldObjectAndNamespace(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", "/api/v1/namespaces", "", `{"metadata":{"name":"shop"}}`)
	const path = "/api/v1/namespaces/shop/configmaps"
	a.must("POST", path, "", `{"metadata":{"name":"held","finalizers":["squall.dev/hold"]}}`)
	a.must("POST", path, "", `{"metadata":{"name":"free"}}`)
	ns := a.must("DELETE", "/api/v1/namespaces/shop", "", "")
	if text(ns, "status", "phase") != "Terminating" || text(ns, "metadata", "deletionTimestamp") == "" {
		t.Errorf("namespace: %v", ns)
	}
	if got := a.names(path); !slices.Equal(got, []string{"held"}) {
		t.Errorf("left: %v", got)
	}
	if code, _, out := a.call("POST", path, "", `{"metadata":{"name":"late"}}`); code != http.StatusForbidden {
		t.Errorf("create in a namespace that goes: %d %v", code, out)
	}
	first := a.must("DELETE", path+"/held", "", "")
	if again := a.must("DELETE", path+"/held", "", ""); text(again, "metadata", "resourceVersion") != text(first, "metadata", "resourceVersion") {
		t.Errorf("a second delete is no change: %v", again)
	}
	a.must("PATCH", path+"/held", string(types.MergePatchType), `{"metadata":{"finalizers":null}}`)
	for _, p := range []string{path + "/held", "/api/v1/namespaces/shop"} {
		if code, _, _ := a.call("GET", p, "", ""); code != http.StatusNotFound {
			t.Errorf("%s: %d", p, code)
		}
	}
	// Deleting it again while it is terminating, with nothing left to hold it, is the same.
	a.must("POST", "/api/v1/namespaces", "", `{"metadata":{"name":"shop"}}`)
	a.must("DELETE", "/api/v1/namespaces/shop", "", "")
}

// A pod that something holds is told how long it may take to end, by who deletes it or by itself; the shortest time holds.
func TestGraceOfPods(t *testing.T) {
	a := start(t, Options{})
	const path = "/api/v1/namespaces/default/pods"
	grace := func(o map[string]any) int64 { return number(o, "metadata", "deletionGracePeriodSeconds") }
	for name, spec := range map[string]string{"plain": "", "own": `"terminationGracePeriodSeconds":7,`} {
		a.must("POST", path, "", `{"metadata":{"name":"`+name+`","finalizers":["squall.dev/hold"]},"spec":{`+spec+`"containers":[{"name":"c","image":"i"}]}}`)
	}
	if got := grace(a.must("DELETE", path+"/plain", "", "")); got != 30 {
		t.Errorf("grace %d, want Kubernetes' own 30", got)
	}
	if got := grace(a.must("DELETE", path+"/own", "", "")); got != 7 {
		t.Errorf("grace %d, want the pod's 7", got)
	}
	if got := grace(a.must("DELETE", path+"/own", "", `{"gracePeriodSeconds":0}`)); got != 0 {
		t.Errorf("grace %d, want 0 as asked for", got)
	}
	if got := grace(a.must("DELETE", path+"/own", "", "")); got != 0 {
		t.Errorf("grace %d after a second delete", got)
	}
}

func TestDeleteCollection(t *testing.T) {
	a := start(t, Options{})
	for i, app := range []string{"a", "a", "b"} {
		a.must("POST", configMaps, "", fmt.Sprintf(`{"metadata":{"name":"c%d","labels":{"app":%q}}}`, i, app))
	}
	out := a.must("DELETE", configMaps+"?labelSelector=app%3Da", "", "")
	if out["kind"] != "ConfigMapList" || len(list(out, "items")) != 2 {
		t.Errorf("%v", out)
	}
	if got := a.names(configMaps); !slices.Equal(got, []string{"c2"}) {
		t.Errorf("left: %v", got)
	}
	a.must("DELETE", configMaps, "", "")
	if got := a.names(configMaps); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestDeletePreconditionsThatHold(t *testing.T) {
	a := start(t, Options{})
	o := a.owned("x")
	out := a.must("DELETE", configMaps+"/x", "", fmt.Sprintf(`{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":%q,"resourceVersion":%q}}`,
		text(o, "metadata", "uid"), text(o, "metadata", "resourceVersion")))
	if out["status"] != "Success" || text(out, "details", "uid") != text(o, "metadata", "uid") {
		t.Errorf("%v", out)
	}
}
