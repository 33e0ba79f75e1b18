package mesh

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// A pod that has finished keeps its IP in its status after the network has given that to another one: it is nobody's any more.
func TestWatchAllFinishedPods(t *testing.T) {
	pod := func(name, ip string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Status: corev1.PodStatus{PodIP: ip, Phase: phase}}
	}
	kube := fake.NewClientset(
		pod("job", "10.0.0.1", corev1.PodSucceeded), pod("evicted", "10.0.0.1", corev1.PodFailed), pod("app", "10.0.0.1", corev1.PodRunning), pod("coming", "10.0.0.2", corev1.PodPending),
	)
	told := make(chan Pod, 100)
	if err := (&Objects{Kube: kube}).WatchAll(t.Context(), Watched{Pod: func(p Pod) { told <- p }, Service: func(*corev1.Service) {}}); err != nil {
		t.Fatal(err)
	}
	finished := pod("app", "10.0.0.1", corev1.PodSucceeded) // and so does one that finishes while it is watched
	if _, err := kube.CoreV1().Pods("default").UpdateStatus(t.Context(), finished, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := kube.CoreV1().Pods("default").Create(t.Context(), pod("last", "10.0.0.1", corev1.PodRunning), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for p := range told {
		got[p.Name]++
		if p.Name == "last" {
			break
		}
	}
	if len(got) != 3 || got["app"] != 1 || got["coming"] != 1 || got["last"] != 1 {
		t.Errorf("%v", got)
	}
}
