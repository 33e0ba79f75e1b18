package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// Workload is a Deployment.
type Workload struct{ Namespace, Name string }

func (w Workload) String() string { return "deployment " + w.Namespace + "/" + w.Name }

// Deployment reads the workload.
func (o *Objects) Deployment(ctx context.Context, w Workload) (*appsv1.Deployment, error) {
	d, err := o.Kube.AppsV1().Deployments(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w, err)
	}
	return d, nil
}

// PodsOf lists the workload's pods that are not being deleted, by name.
func (o *Objects) PodsOf(ctx context.Context, w Workload) ([]corev1.Pod, error) {
	pods, _, err := o.podsOf(ctx, w)
	return pods, err
}

func (o *Objects) podsOf(ctx context.Context, w Workload) (pods []corev1.Pod, at metav1.ListOptions, err error) {
	d, err := o.Deployment(ctx, w)
	if err != nil {
		return nil, at, err
	}
	at.LabelSelector = metav1.FormatLabelSelector(d.Spec.Selector)
	list, err := o.Kube.CoreV1().Pods(w.Namespace).List(ctx, at)
	if err != nil {
		return nil, at, fmt.Errorf("pods of %s: %w", w, err)
	}
	at.ResourceVersion = list.ResourceVersion
	pods = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, at, nil
}

// IsReady reports whether the pod serves.
func IsReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Kill deletes the very pod and gives it no time to end. One that is gone already is an error: it was not killed.
func (o *Objects) Kill(ctx context.Context, p *corev1.Pod) error {
	now := int64(0)
	opts := metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.UID}}
	if err := o.Kube.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, opts); err != nil {
		return fmt.Errorf("kill pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

// Evict asks the API to move the very pod away. While a PodDisruptionBudget forbids it, it is asked again whenever a pod of the workload
// changes, until ctx ends.
func (o *Objects) Evict(ctx context.Context, w Workload, p *corev1.Pod) error {
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}},
	}
	for {
		_, at, err := o.podsOf(ctx, w)
		if err != nil {
			return err
		}
		err = o.Kube.CoreV1().Pods(p.Namespace).EvictV1(ctx, eviction)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("evict pod %s/%s: %w", p.Namespace, p.Name, err)
		if !apierrors.IsTooManyRequests(err) {
			return err
		}
		if next := o.nextPod(ctx, w, at); next != nil {
			return errors.Join(err, next)
		}
	}
}

// nextPod returns when a pod of those that were listed has changed.
func (o *Objects) nextPod(ctx context.Context, w Workload, at metav1.ListOptions) error {
	pods, err := o.Kube.CoreV1().Pods(w.Namespace).Watch(ctx, at)
	if err != nil {
		return fmt.Errorf("watch pods of %s: %w", w, err)
	}
	return nextEvent(ctx, pods)
}

// nextEvent returns at the watch's next event, or with the cause when ctx ends before, and stops the watch.
func nextEvent(ctx context.Context, w watch.Interface) error {
	defer w.Stop()
	select {
	case <-w.ResultChan():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// AwaitReplaced waits until none of the pods is there and the workload has as many ready ones as it asks for, all of them others.
func (o *Objects) AwaitReplaced(ctx context.Context, w Workload, gone []types.UID) error {
	for {
		d, err := o.Deployment(ctx, w)
		if err != nil {
			return err
		}
		pods, at, err := o.podsOf(ctx, w)
		if err != nil {
			return err
		}
		ready, left := 0, 0
		for i := range pods {
			switch {
			case slices.Contains(gone, pods[i].UID):
				left++
			case IsReady(&pods[i]):
				ready++
			}
		}
		if want := int(wanted(d.Spec.Replicas)); left == 0 && ready >= want {
			return nil
		} else if err := o.nextPod(ctx, w, at); err != nil {
			return fmt.Errorf("%s: %d of the pods are still there, %d of %d others are ready: %w", w, left, ready, want, err)
		}
	}
}

// AwaitWorkload waits until the workload has as many ready pods as it asks for.
func (o *Objects) AwaitWorkload(ctx context.Context, w Workload) error {
	return o.awaitDeployment(ctx, w, func(d *appsv1.Deployment) (bool, error) {
		waiting, failed := unready([]workload{ofDeployment(d)})
		return len(waiting) == 0, failed
	})
}

// AwaitStuck waits until a new version of the workload has shown that its pods do not come to serve; reason is why. One that comes
// to its end is an error.
func (o *Objects) AwaitStuck(ctx context.Context, w Workload) (reason string, err error) {
	stuck := stuckPods{since: map[types.UID]time.Time{}}
	err = o.awaitDeployment(ctx, w, func(d *appsv1.Deployment) (bool, error) {
		waiting, failed := unready([]workload{ofDeployment(d)})
		if failed != nil {
			reason = failed.Error()
			return true, nil //nolint:nilerr // a failure is what is waited for
		}
		if len(waiting) == 0 {
			return false, fmt.Errorf("the rollout of %s came to its end, but it was to be stuck", w)
		}
		pods, err := o.PodsOf(ctx, w)
		if err != nil {
			return false, err
		}
		if err := stuck.judge(ctx, o, []workload{ofDeployment(d)}, pods); err != nil {
			reason = err.Error()
		}
		return reason != "", nil
	})
	return reason, err
}

// IsStuck reports whether a rollout of the workload has not come to its end.
func (o *Objects) IsStuck(ctx context.Context, w Workload) (bool, error) {
	d, err := o.Deployment(ctx, w)
	if err != nil {
		return false, err
	}
	waiting, failed := unready([]workload{ofDeployment(d)})
	return len(waiting) > 0 || failed != nil, nil
}

// awaitDeployment waits until the workload is as done says, told by the API's watches of it and of its pods.
func (o *Objects) awaitDeployment(ctx context.Context, w Workload, done func(*appsv1.Deployment) (bool, error)) error {
	for {
		list, err := o.Kube.AppsV1().Deployments(w.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + w.Name})
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", w, err)
		case len(list.Items) == 0:
			return fmt.Errorf("%s is not there", w)
		}
		_, at, err := o.podsOf(ctx, w)
		if err != nil {
			return err
		}
		if ok, err := done(&list.Items[0]); ok || err != nil {
			return err
		}
		if err := nextChange(ctx, []opener{
			watching(o.Kube.AppsV1().Deployments(w.Namespace), list.ResourceVersion), watching(o.Kube.CoreV1().Pods(w.Namespace), at.ResourceVersion),
		}); err != nil {
			return fmt.Errorf("%s: %w", w, errors.Join(err, podReasons(ctx, o, w.Namespace)))
		}
	}
}

// Cordon makes a node take no new pods, or take them again.
func (o *Objects) Cordon(ctx context.Context, node string, on bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on)
	_, err := o.Kube.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	return nil
}

// Nodes lists the nodes, and those of them that take new pods.
func (o *Objects) Nodes(ctx context.Context) (all, open []string, err error) {
	list, err := o.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("nodes: %w", err)
	}
	for _, n := range list.Items {
		all = append(all, n.Name)
		closed := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule })
		if !n.Spec.Unschedulable && !closed {
			open = append(open, n.Name)
		}
	}
	return all, open, nil
}
