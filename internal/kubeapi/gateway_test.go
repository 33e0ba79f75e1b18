package kubeapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"squall/internal/gatewayapi"
)

func TestGatewayResourcesAreTheCRDs(t *testing.T) {
	for _, r := range gatewayResources() {
		var crd struct {
			Spec struct {
				Scope string
				Names struct {
					Kind, Plural, Singular string
					ShortNames, Categories []string
				}
				Versions []struct {
					Name         string
					Served       bool
					Subresources map[string]any
				}
			}
		}
		if err := json.Unmarshal(gatewayapi.CRD(r.Plural+"."+r.Group), &crd); err != nil {
			t.Fatalf("%s: %v", r.Kind, err)
		}
		n := crd.Spec.Names
		if n.Kind != r.Kind || n.Singular != r.Singular || !slices.Equal(n.ShortNames, r.ShortNames) || !slices.Equal(n.Categories, r.Categories) {
			t.Errorf("%s: the row has other names than the CRD: %+v", r.Kind, n)
		}
		var served []string
		for _, v := range crd.Spec.Versions {
			if v.Served {
				served = append(served, v.Name)
			}
			if _, status := v.Subresources["status"]; status != r.Status {
				t.Errorf("%s: the CRD has a subresource of the status: %t", r.Kind, status)
			}
		}
		if !slices.Equal(served, r.Versions) || crd.Spec.Scope != "Namespaced" {
			t.Errorf("%s: versions %v, the CRD has %v", r.Kind, r.Versions, served)
		}
	}
}

const routesPath = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"

func TestGatewayAPIIsServedWhereItIsAskedFor(t *testing.T) {
	for _, on := range []bool{false, true} {
		code, _, _ := start(t, Options{GatewayAPI: on}).call("GET", routesPath, "", "")
		if want := map[bool]int{false: http.StatusNotFound, true: http.StatusOK}[on]; code != want {
			t.Errorf("GatewayAPI: %t: got %d, want %d", on, code, want)
		}
	}
}

func TestDefaultsOfACRD(t *testing.T) {
	a := start(t, Options{GatewayAPI: true})
	const body = `{"metadata": {"name": "a", "labels": {"b": "c"}}, "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "s"}],
		"rules": [{"matches": [{"headers": [{"name": "u", "value": "v"}]}], "backendRefs": [{"name": "s", "port": 80}]}, {}]}}`
	for _, o := range []map[string]any{a.must("POST", routesPath, "application/json", body), a.must("GET", routesPath+"/a", "", "")} {
		rules := list(o, "spec", "rules")
		var want []any
		if err := json.Unmarshal([]byte(`[
			{"matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [{"type": "Exact", "name": "u", "value": "v"}]}],
			 "backendRefs": [{"group": "", "kind": "Service", "name": "s", "port": 80, "weight": 1}]},
			{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]`), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(rules, want) {
			t.Errorf("got %v\nwant %v", rules, want)
		}
	}
}

func TestStatusOfARoute(t *testing.T) {
	a := start(t, Options{GatewayAPI: true})
	o := a.must("POST", routesPath, "application/json", `{"metadata": {"name": "a"}, "spec": {}}`)
	o["status"] = map[string]any{"parents": []any{}}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	o = a.must("PUT", routesPath+"/a/status", "application/json", string(b))
	if lookup(o, "status", "parents") == nil || lookup(o, "metadata", "generation") != float64(1) {
		t.Errorf("got %v", o)
	}
}

func TestUnknownFieldOfARoute(t *testing.T) {
	a := start(t, Options{GatewayAPI: true})
	code, _, o := a.call("POST", routesPath+"?fieldValidation=Strict", "application/json",
		`{"metadata": {"name": "a", "labels": {"b": "c"}}, "spec": {"rules": [{"retry": {}}]}}`)
	if message := text(o, "message"); code != http.StatusBadRequest || !strings.Contains(message, `unknown field "spec.rules[0].retry"`) || strings.Contains(message, "metadata") {
		t.Errorf("got %d: %s", code, message)
	}
}
