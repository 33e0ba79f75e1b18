package mesh

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"

	"squall/internal/kubeapi"
	"squall/internal/kubeapi/kubeapitest"
)

// cluster is an in-memory API with a workload of one pod, and no kubelet: the test plays it.
type cluster struct {
	*Objects
	t   *testing.T
	w   Workload
	set metav1.OwnerReference // the ReplicaSet of its template
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	o, err := NewObjects(&rest.Config{Host: kubeapitest.Serve(t, kubeapi.New(kubeapi.Options{})), QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Objects: o, t: t, w: Workload{"default", "app"}}
	labels := map[string]string{"app": "app"}
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}}
	d, err := o.Kube.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := o.Kube.AppsV1().ReplicaSets("default").Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "app-1", Annotations: map[string]string{revisionAnnotation: "1"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.set = *metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	c.pod("app-0", corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}})
	return c
}

// pod makes a pod of the workload.
func (c *cluster) pod(name string, status corev1.PodStatus) {
	c.t.Helper()
	c.podOf(name, map[string]string{"app": "app"}, status)
}

func (c *cluster) podOf(name string, labels map[string]string, status corev1.PodStatus) {
	c.t.Helper()
	pods := c.Kube.CoreV1().Pods("default")
	p, err := pods.Create(c.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, OwnerReferences: []metav1.OwnerReference{c.set}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}, metav1.CreateOptions{})
	if err == nil {
		p.Status = status
		_, err = pods.UpdateStatus(c.t.Context(), p, metav1.UpdateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// say writes the workload's status.
func (c *cluster) say(status appsv1.DeploymentStatus) {
	c.t.Helper()
	d, err := c.Deployment(c.t.Context(), c.w)
	if err == nil {
		status.ObservedGeneration = d.Generation
		d.Status = status
		_, err = c.Kube.AppsV1().Deployments("default").UpdateStatus(c.t.Context(), d, metav1.UpdateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) soon() context.Context {
	ctx, cancel := context.WithTimeoutCause(c.t.Context(), 10*time.Second, errors.New("not in time"))
	c.t.Cleanup(cancel)
	return ctx
}

func TestKilledPodsAreReplaced(t *testing.T) {
	c := newCluster(t)
	pods, err := c.PodsOf(t.Context(), c.w)
	if err != nil || len(pods) != 1 {
		t.Fatalf("%v, %v", pods, err)
	}
	stranger := pods[0].DeepCopy()
	stranger.UID = "another"
	if err := c.Kill(t.Context(), stranger); !apierrors.IsConflict(err) {
		t.Errorf("a pod that has the name of another was killed: %v", err)
	}
	if err := c.Kill(t.Context(), &pods[0]); err != nil {
		t.Fatal(err)
	}
	gone := []types.UID{pods[0].UID}
	brief, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("not in time"))
	defer cancel()
	if err := c.AwaitReplaced(brief, c.w, gone); err == nil || !strings.Contains(err.Error(), "0 of 1 others are ready: not in time") {
		t.Errorf("without another: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- c.AwaitReplaced(c.soon(), c.w, gone) }()
	c.pod("app-1", corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRolloutThatIsStuck(t *testing.T) {
	waiting := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "no such image"}},
		}}}
	}
	half := appsv1.DeploymentStatus{Replicas: 2, ReadyReplicas: 1, UpdatedReplicas: 1}
	t.Run("by what a pod says", func(t *testing.T) {
		c := newCluster(t)
		c.say(half)
		c.pod("app-1", waiting("ContainerCreating"))
		why := make(chan string, 1)
		go func() {
			reason, err := c.AwaitStuck(c.soon(), c.w)
			if err != nil {
				reason = err.Error()
			}
			why <- reason
		}()
		c.pod("app-2", waiting("ImagePullBackOff"))
		if got := <-why; got != "the image  of container app of pod app-2 cannot be pulled: no such image" {
			t.Error(got)
		}
		if stuck, err := c.IsStuck(t.Context(), c.w); !stuck || err != nil {
			t.Errorf("%v, %v", stuck, err)
		}
	})
	t.Run("by what the workload says", func(t *testing.T) {
		c := newCluster(t)
		failed := half
		failed.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "PodFailed", Message: "out of sails"}}
		c.say(failed)
		if reason, err := c.AwaitStuck(c.soon(), c.w); err != nil || !strings.Contains(reason, "out of sails") {
			t.Errorf("%q, %v", reason, err)
		}
	})
	t.Run("not at all", func(t *testing.T) {
		c := newCluster(t)
		c.say(appsv1.DeploymentStatus{Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1})
		if _, err := c.AwaitStuck(c.soon(), c.w); err == nil || !strings.Contains(err.Error(), "came to its end, but it was to be stuck") {
			t.Error(err)
		}
		if err := c.AwaitWorkload(c.soon(), c.w); err != nil {
			t.Error(err)
		}
		if stuck, err := c.IsStuck(t.Context(), c.w); stuck || err != nil {
			t.Errorf("%v, %v", stuck, err)
		}
	})
}

// A budget that forbids an eviction is asked again when a pod changes, and other refusals are final.
func TestEvict(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "app-0", Namespace: "default", UID: "u", Labels: map[string]string{"app": "app"}}}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "default"},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}}},
	}
	for name, c := range map[string]struct {
		answers []error
		want    string
	}{
		"allowed": {[]error{nil}, ""},
		"later":   {[]error{apierrors.NewTooManyRequests("the budget", 1), apierrors.NewTooManyRequests("the budget", 1), nil}, ""},
		"never":   {[]error{apierrors.NewForbidden(corev1.Resource("pods"), "app-0", errors.New("no right"))}, "no right"},
	} {
		t.Run(name, func(t *testing.T) {
			kube := fake.NewClientset(pod, deployment)
			asked := 0
			kube.PrependReactor("create", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
				asked++
				return true, nil, c.answers[asked-1]
			})
			kube.PrependWatchReactor("pods", func(k8stesting.Action) (bool, watch.Interface, error) {
				w := watch.NewFakeWithChanSize(1, false)
				w.Modify(pod)
				return true, w, nil
			})
			err := (&Objects{Kube: kube}).Evict(t.Context(), Workload{"default", "app"}, pod)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if asked != len(c.answers) {
				t.Errorf("asked %d times, want %d", asked, len(c.answers))
			}
		})
	}
}

func TestNodesThatTakePods(t *testing.T) {
	node := func(name string, spec corev1.NodeSpec) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	}
	kube := fake.NewClientset(
		node("control", corev1.NodeSpec{Taints: []corev1.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule}}}),
		node("closed", corev1.NodeSpec{Unschedulable: true}), node("open", corev1.NodeSpec{}),
		node("disliked", corev1.NodeSpec{Taints: []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectPreferNoSchedule}}}),
	)
	o := &Objects{Kube: kube}
	opens := func(want string) {
		t.Helper()
		all, open, err := o.Nodes(t.Context())
		if err != nil || len(all) != 4 || strings.Join(open, " ") != want {
			t.Errorf("%v of %v, %v, want %s", open, all, err, want)
		}
	}
	opens("disliked open")
	if err := o.Cordon(t.Context(), "open", true); err != nil {
		t.Fatal(err)
	}
	opens("disliked")
	if err := o.Cordon(t.Context(), "open", false); err != nil {
		t.Fatal(err)
	}
	opens("disliked open")
}
