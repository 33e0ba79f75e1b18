package kube

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"squall/internal/mesh"
)

// A container that starts again fails a run that stands on its pod, and no other.
func TestRestarts(t *testing.T) {
	gateway := maps.Clone(mesh.IngressLabels())
	for name, c := range map[string]struct {
		namespace  string
		labels     map[string]string
		namespaces []string // of the run
		fails      bool
	}{
		"of the run":        {"squall", nil, []string{"squall"}, true},
		"istiod":            {mesh.RootNamespace, map[string]string{"app": "istiod"}, []string{"squall"}, true},
		"a dashboard":       {mesh.RootNamespace, map[string]string{"app": "kiali"}, []string{"squall"}, false},
		"a dashboard again": {mesh.RootNamespace, map[string]string{"app": "kiali"}, []string{"squall", mesh.RootNamespace}, false},
		"another's gateway": {mesh.RootNamespace, gateway, []string{"squall"}, false},
		"its gateway":       {mesh.RootNamespace, gateway, []string{"squall", mesh.RootNamespace}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := New(Options{Config: &rest.Config{Host: "https://127.0.0.1:9"}, Namespaces: c.namespaces})
			if err != nil {
				t.Fatal(err)
			}
			for restarts := range int32(2) {
				m.see(t.Context(), &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "a", Labels: c.labels},
					Status: corev1.PodStatus{
						Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
						ContainerStatuses: []corev1.ContainerStatus{{Name: "a", RestartCount: restarts}},
					},
				}, false)
			}
			if failed := len(m.failed) > 0; failed != c.fails {
				t.Errorf("failed: %v", failed)
			}
		})
	}
}
