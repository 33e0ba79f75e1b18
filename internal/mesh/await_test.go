package mesh

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestUnready(t *testing.T) {
	two, partition := int32(2), int32(1)
	meta := metav1.ObjectMeta{Name: "db", Generation: 3}
	stateful := func(status appsv1.StatefulSetStatus, strategy appsv1.StatefulSetUpdateStrategy) workload {
		return ofStatefulSet(&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: &two, UpdateStrategy: strategy}, Status: status})
	}
	daemon := func(status appsv1.DaemonSetStatus, strategy appsv1.DaemonSetUpdateStrategyType) workload {
		return ofDaemonSet(&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: strategy}}, Status: status})
	}
	rolling := appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType}
	parted := rolling
	parted.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
	for name, c := range map[string]struct {
		w    workload
		want string // what is waited for
	}{
		"stateful, new":       {stateful(appsv1.StatefulSetStatus{}, rolling), "stateful set db (0 of 2 pods)"},
		"stateful, one":       {stateful(appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1}, rolling), "stateful set db (1 of 2 pods)"},
		"stateful, unready":   {stateful(appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 2, ReadyReplicas: 1, UpdatedReplicas: 2}, rolling), "stateful set db (1 of 2 pods)"},
		"stateful, older":     {stateful(appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 2, ReadyReplicas: 2, UpdatedReplicas: 1}, rolling), "stateful set db (2 of 2 pods)"},
		"stateful, unseen":    {stateful(appsv1.StatefulSetStatus{ObservedGeneration: 2, Replicas: 2, ReadyReplicas: 2, UpdatedReplicas: 2}, rolling), "stateful set db (2 of 2 pods)"},
		"stateful, too many":  {stateful(appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 3, ReadyReplicas: 3, UpdatedReplicas: 3}, rolling), "stateful set db (3 of 2 pods)"},
		"stateful, ready":     {stateful(appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 2, ReadyReplicas: 2, UpdatedReplicas: 2}, rolling), ""},
		"stateful, partition": {stateful(appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 2, ReadyReplicas: 2, UpdatedReplicas: 1}, parted), ""},
		"daemon, unseen":      {daemon(appsv1.DaemonSetStatus{}, appsv1.RollingUpdateDaemonSetStrategyType), "daemon set db (0 of 0 pods)"},
		"daemon, one":         {daemon(appsv1.DaemonSetStatus{ObservedGeneration: 3, DesiredNumberScheduled: 2, NumberReady: 1, UpdatedNumberScheduled: 2}, appsv1.RollingUpdateDaemonSetStrategyType), "daemon set db (1 of 2 pods)"},
		"daemon, older":       {daemon(appsv1.DaemonSetStatus{ObservedGeneration: 3, DesiredNumberScheduled: 2, NumberReady: 2, UpdatedNumberScheduled: 1}, appsv1.RollingUpdateDaemonSetStrategyType), "daemon set db (2 of 2 pods)"},
		"daemon, by hand":     {daemon(appsv1.DaemonSetStatus{ObservedGeneration: 3, DesiredNumberScheduled: 2, NumberReady: 2, UpdatedNumberScheduled: 1}, appsv1.OnDeleteDaemonSetStrategyType), ""},
		"daemon, no node":     {daemon(appsv1.DaemonSetStatus{ObservedGeneration: 3}, appsv1.RollingUpdateDaemonSetStrategyType), ""},
	} {
		t.Run(name, func(t *testing.T) {
			waiting, failed := unready([]workload{c.w})
			if got := strings.Join(waiting, ", "); got != c.want || failed != nil {
				t.Errorf("%q, %v, want %q", got, failed, c.want)
			}
		})
	}
}

// A StatefulSet is waited for as a Deployment is, and its pods say what it is stuck at.
func TestStatefulSetIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		revision string // of the pod that cannot get its image
		fails    bool
	}{"ready": {}, "stuck": {"new", true}, "older pod is stuck": {revision: "old"}} {
		t.Run(name, func(t *testing.T) {
			k := newCluster(t)
			k.say(appsv1.DeploymentStatus{Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1})
			sets := k.Kube.AppsV1().StatefulSets("default")
			labels := map[string]string{"app": "db"}
			s, err := sets.Create(t.Context(), &appsv1.StatefulSet{
				ObjectMeta: metav1.ObjectMeta{Name: "db"},
				Spec: appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "db", Image: "db"}}},
				}},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			say := func(ready int32) {
				s.Status = appsv1.StatefulSetStatus{ObservedGeneration: s.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: ready, UpdateRevision: "new"}
				if s, err = sets.UpdateStatus(t.Context(), s, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			say(0)
			ctx, cancel := context.WithCancel(k.soon())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- AwaitReady(ctx, k.Objects, "default") }()
			if c.revision != "" {
				k.set = *metav1.NewControllerRef(s, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))
				k.podOf("db-0", map[string]string{"app": "db", appsv1.ControllerRevisionHashLabelKey: c.revision}, corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
					Name: "db", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}},
				}}})
			}
			if !c.fails {
				say(1)
			}
			err = <-done
			if (err != nil) != c.fails || c.fails && !strings.Contains(fmt.Sprint(err), "stateful set db (0 of 1 pods): the image  of container db of pod db-0 cannot be pulled") {
				t.Error(err)
			}
		})
	}
}

// A pod that has run to its end has no proxy that could be asked, and its address may be another's.
func TestEndedPodsAreNoProxies(t *testing.T) {
	c := newCluster(t)
	for name, phase := range map[string]corev1.PodPhase{"done": corev1.PodSucceeded, "evicted": corev1.PodFailed, "live": corev1.PodRunning} {
		c.podOf(name, map[string]string{"app": "job", TLSModeLabel: "istio"}, corev1.PodStatus{Phase: phase})
	}
	proxies, err := Proxies(t.Context(), c.Objects, "fortio", "default")
	if err != nil || len(proxies) != 1 || proxies[0].Pod != "live" {
		t.Errorf("%v, %v", proxies, err)
	}
}
