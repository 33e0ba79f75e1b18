package kubeapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
)

// managersOf are the managers of an object with the fields that each owns.
func managersOf(t *testing.T, o map[string]any) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range mapsOf(list(o, "metadata", "managedFields")) {
		b, err := json.Marshal(m["fieldsV1"])
		if err != nil {
			t.Fatal(err)
		}
		out[fmt.Sprint(m["manager"], " ", m["operation"], " ", m["subresource"])] = string(b)
	}
	return out
}

func (a *api) apply(path, manager, query, body string) (int, map[string]any) {
	a.t.Helper()
	code, _, out := a.call("PATCH", path+"?fieldManager="+manager+query, string(types.ApplyYAMLPatchType), body)
	return code, out
}

func TestApplyBuiltInKind(t *testing.T) {
	a := start(t, Options{})
	c := a.kube().AppsV1().Deployments("default")
	with := func(replicas int32, env string) *appsv1.DeploymentApplyConfiguration {
		return appsv1.Deployment("web", "default").WithSpec(appsv1.DeploymentSpec().WithReplicas(replicas).
			WithSelector(applymeta.LabelSelector().WithMatchLabels(map[string]string{"app": "web"})).
			WithTemplate(corev1.PodTemplateSpec().WithLabels(map[string]string{"app": "web"}).WithSpec(corev1.PodSpec().WithContainers(
				corev1.Container().WithName("c").WithImage("i").WithEnv(corev1.EnvVar().WithName(env).WithValue("1"))))))
	}
	one, err := c.Apply(t.Context(), with(2, "A"), metav1.ApplyOptions{FieldManager: "one"})
	if err != nil || *one.Spec.Replicas != 2 || one.Generation != 1 {
		t.Fatalf("%v %v", one, err)
	}
	again, err := c.Apply(t.Context(), with(2, "A"), metav1.ApplyOptions{FieldManager: "one"})
	if err != nil || again.ResourceVersion != one.ResourceVersion {
		t.Errorf("the same again: %v, revision %s, was %s", err, again.ResourceVersion, one.ResourceVersion)
	}
	_, err = c.Apply(t.Context(), with(3, "B"), metav1.ApplyOptions{FieldManager: "two"})
	if !errors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one"`) || !strings.Contains(err.Error(), ".spec.replicas") {
		t.Errorf("conflict: %v", err)
	}
	two, err := c.Apply(t.Context(), with(3, "B"), metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil || *two.Spec.Replicas != 3 || two.Generation != 2 {
		t.Fatalf("%v %v", two, err)
	}
	if env := two.Spec.Template.Spec.Containers[0].Env; len(env) != 2 {
		t.Errorf("both managers' variables: %v", env)
	}
	// What a manager no longer applies and nobody else owns goes.
	three, err := c.Apply(t.Context(), with(3, "C"), metav1.ApplyOptions{FieldManager: "two"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range three.Spec.Template.Spec.Containers[0].Env {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"A", "C"}) {
		t.Errorf("variables %v", names)
	}
}

func TestApplyIstioKind(t *testing.T) {
	a := start(t, Options{})
	body := func(weight int) string {
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec:\n  hosts: [a]\n  http: [{route: [{destination: {host: a}, weight: %d}]}]\n", weight)
	}
	if code, out := a.apply(virtuals+"/v", "one", "", body(1)); code != 201 {
		t.Fatalf("%d %v", code, out)
	}
	if code, out := a.apply(virtuals+"/v", "two", "", body(1)); code != 200 || len(managersOf(t, out)) != 2 {
		t.Fatalf("the same from another: %d %v", code, managersOf(t, out))
	}
	code, out := a.apply(virtuals+"/v", "two", "", body(2))
	causes := mapsOf(list(out, "details", "causes"))
	if code != 409 || len(causes) != 1 || causes[0]["reason"] != "FieldManagerConflict" || causes[0]["field"] != ".spec.http" || causes[0]["message"] != `conflict with "one"` {
		t.Errorf("%d %v", code, out)
	}
	if code, out = a.apply(virtuals+"/v", "two", "&force=true", body(2)); code != 200 {
		t.Fatalf("%d %v", code, out)
	}
	if m := managersOf(t, out); strings.Contains(m["one Apply <nil>"], "f:http") || !strings.Contains(m["two Apply <nil>"], "f:http") {
		t.Errorf("after force: %v", m)
	}
	// Another version of the kind has the same fields and the same owners.
	beta := strings.Replace(body(3), "/v1", "/v1beta1", 1)
	path := strings.Replace(virtuals, "/v1/", "/v1beta1/", 1) + "/v"
	if code, out = a.apply(path, "one", "", beta); code != 409 {
		t.Errorf("as v1beta1: %d %v", code, out)
	}
	if code, out = a.apply(path, "two", "", beta); code != 200 || out["apiVersion"] != "networking.istio.io/v1beta1" {
		t.Errorf("as v1beta1: %d %v", code, out)
	}
	for body, words := range map[string]string{
		strings.Replace(body(1), "hosts", "host", 1): `unknown field "spec.host"`,
		"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {managedFields: [{manager: x, operation: Apply, apiVersion: v1, fieldsType: FieldsV1, fieldsV1: {}}]}\n": "managedFields must be nil",
	} {
		if code, out = a.apply(virtuals+"/v", "two", "&fieldValidation=Strict", body); code != 400 || !strings.Contains(text(out, "message"), words) {
			t.Errorf("%d %v", code, out["message"])
		}
	}
}

func TestUpdatesAreTracked(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", deployments+"?fieldManager=maker", "", deployment("d"))
	a.must("PATCH", deployments+"/d/status?fieldManager=controller", string(types.MergePatchType), `{"status":{"readyReplicas":1},"spec":{"replicas":9}}`)
	out := a.must("PATCH", deployments+"/d", string(types.MergePatchType), `{"metadata":{"labels":{"a":"b"}},"status":{"readyReplicas":5}}`)
	if number(out, "status", "readyReplicas") != 1 || number(out, "spec", "replicas") != 1 {
		t.Errorf("object and status leak into each other: %v", out)
	}
	m := managersOf(t, out)
	for key, want := range map[string]string{"maker Update <nil>": "f:image", "controller Update status": "f:readyReplicas", "test Update <nil>": "f:labels"} {
		if !strings.Contains(m[key], want) {
			t.Errorf("%s does not own %s: %v", key, want, m)
		}
	}
	if strings.Contains(m["controller Update status"], "f:spec") || strings.Contains(m["test Update <nil>"], "f:status") {
		t.Errorf("fields that were not written: %v", m)
	}
	code, out := a.apply(deployments+"/d", "two", "", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"spec":{"containers":[{"name":"c","image":"other"}]}}}}`)
	if code != 409 || !strings.Contains(text(out, "message"), `"maker"`) {
		t.Errorf("apply over an update: %d %v", code, out["message"])
	}
}

func TestApplyOfStatus(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", virtuals, "", `{"metadata":{"name":"v"},"spec":{"hosts":["a"]}}`)
	body := `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","status":{"observedGeneration":"1"}}`
	if code, out := a.apply(virtuals+"/v/status", "c", "", body); code != 200 || text(out, "status", "observedGeneration") != "1" || number(out, "metadata", "generation") != 1 {
		t.Errorf("%d %v", code, out)
	}
	if code, out := a.apply(virtuals+"/none/status", "c", "", body); code != 404 {
		t.Errorf("status of nothing: %d %v", code, out)
	}
}
