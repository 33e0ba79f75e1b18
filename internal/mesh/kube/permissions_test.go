package kube

import (
	"testing"

	"k8s.io/client-go/rest"

	"squall/internal/kubeapi"
	"squall/internal/kubeapi/kubeapitest"
	"squall/internal/mesh"
)

// A run asks for what its objects need, as the API names them, beyond what every run needs.
func TestPermissionsOfObjects(t *testing.T) {
	m, err := New(Options{
		Config: &rest.Config{Host: kubeapitest.Serve(t, kubeapi.New(kubeapi.Options{})), QPS: -1}, Namespaces: []string{"squall"},
		Objects: []mesh.Ref{
			{APIVersion: "v1", Kind: "Service", Namespace: "squall", Name: "a"}, // every run may change these
			{APIVersion: "batch/v1", Kind: "Job", Namespace: "squall", Name: "a"},
			{APIVersion: "batch/v1", Kind: "Job", Namespace: "squall", Name: "b"},
			{APIVersion: "v1", Kind: "Namespace", Name: "shop"},
			{APIVersion: "example.com/v1", Kind: "Unknown", Namespace: "squall", Name: "a"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	more, err := m.forObjects(t.Context(), m.Permissions())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"get, patch, create, update, delete jobs.batch in squall", "patch, create, update, delete namespaces"}
	if got := grouped(more); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%q\nwant %q", got, want)
	}
}
