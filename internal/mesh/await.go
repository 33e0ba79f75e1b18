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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// AwaitReady waits until every Deployment, StatefulSet and DaemonSet of the namespace but the excepted Deployments has as many ready pods as
// it asks for, told by the API's watch. The error of one that failed, or was not ready when ctx ended, says why as the pods say it. What
// waiting does not help is an error at once: an image that cannot be pulled, a container that crashes again and again; a pod that no node
// takes is one after a time.
func AwaitReady(ctx context.Context, o *Objects, namespace string, except ...Workload) error {
	stuck := stuckPods{since: map[types.UID]time.Time{}}
	var waiting []string
	for {
		now, next, err := look(ctx, o, namespace, &stuck, except)
		if err == nil {
			if waiting = now; len(waiting) == 0 {
				return nil
			}
			err = next()
		}
		switch {
		case err == nil:
		case ctx.Err() != nil && len(waiting) > 0:
			return errors.Join(fmt.Errorf("not ready: %s: %w", strings.Join(waiting, ", "), context.Cause(ctx)), podReasons(ctx, o, namespace))
		default:
			return err
		}
	}
}

// look says what is not ready; next returns when that may have changed.
func look(ctx context.Context, o *Objects, namespace string, stuck *stuckPods, except []Workload) (waiting []string, next func() error, err error) {
	all, watches, err := deployed(ctx, o, namespace, except)
	if err != nil {
		return nil, nil, err
	}
	if waiting, err = unready(all); err != nil || len(waiting) == 0 {
		return nil, nil, err
	}
	pods, err := o.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("pods of %s: %w", namespace, err)
	}
	if err := stuck.judge(ctx, o, all, pods.Items); err != nil {
		return nil, nil, fmt.Errorf("not ready: %s: %w", strings.Join(waiting, ", "), err)
	}
	watches = append(watches, watching(o.Kube.CoreV1().Pods(namespace), pods.ResourceVersion))
	return waiting, func() error { return nextChange(ctx, watches) }, nil
}

// opener begins a watch from where something was listed.
type opener func(context.Context) (watch.Interface, error)

func watching(of interface {
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}, version string,
) opener {
	return func(ctx context.Context) (watch.Interface, error) {
		return of.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
	}
}

// workload is something that has pods, as far as one waits for it.
type workload struct {
	name        string // such as deployment httpbin
	want, ready int32
	settled     bool  // its pods are those of its newest template, and no others
	failed      error // it has given up
	// newest reports whether the pod, which is one of its own, is of its newest template: older ones are about to go.
	newest func(p *corev1.Pod, sets []appsv1.ReplicaSet) bool
}

// deployed lists what has pods in a namespace, with the watches that tell of its changes.
func deployed(ctx context.Context, o *Objects, namespace string, except []Workload) (out []workload, watches []opener, err error) {
	apps := o.Kube.AppsV1()
	deployments, err := apps.Deployments(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("deployments of %s: %w", namespace, err)
	}
	for i := range deployments.Items {
		if d := &deployments.Items[i]; !slices.Contains(except, Workload{d.Namespace, d.Name}) {
			out = append(out, ofDeployment(d))
		}
	}
	stateful, err := apps.StatefulSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("stateful sets of %s: %w", namespace, err)
	}
	for i := range stateful.Items {
		out = append(out, ofStatefulSet(&stateful.Items[i]))
	}
	daemons, err := apps.DaemonSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("daemon sets of %s: %w", namespace, err)
	}
	for i := range daemons.Items {
		out = append(out, ofDaemonSet(&daemons.Items[i]))
	}
	return out, []opener{
		watching(apps.Deployments(namespace), deployments.ResourceVersion),
		watching(apps.StatefulSets(namespace), stateful.ResourceVersion),
		watching(apps.DaemonSets(namespace), daemons.ResourceVersion),
	}, nil
}

func ofDeployment(d *appsv1.Deployment) workload {
	w := workload{name: "deployment " + d.Name, want: wanted(d.Spec.Replicas), ready: d.Status.ReadyReplicas}
	seen := d.Status.ObservedGeneration >= d.Generation
	w.settled = seen && d.Status.UpdatedReplicas >= w.want && d.Status.Replicas <= w.want
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && seen {
			w.failed = fmt.Errorf("deployment %s: %s: %s", d.Name, c.Reason, c.Message)
		}
	}
	w.newest = func(p *corev1.Pod, sets []appsv1.ReplicaSet) bool {
		owner := metav1.GetControllerOf(p)
		return seen && owner != nil && owner.Kind == "ReplicaSet" && owner.Name == newestSet(d, sets)
	}
	return w
}

func ofStatefulSet(s *appsv1.StatefulSet) workload {
	w := workload{name: "stateful set " + s.Name, want: wanted(s.Spec.Replicas), ready: s.Status.ReadyReplicas}
	seen := s.Status.ObservedGeneration >= s.Generation
	updated := s.Status.UpdatedReplicas >= w.want
	if r := s.Spec.UpdateStrategy.RollingUpdate; s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType || r != nil && r.Partition != nil && *r.Partition > 0 {
		updated = true // older pods stay until somebody deletes them, or moves the partition
	}
	w.settled = seen && updated && s.Status.Replicas == w.want
	w.newest = func(p *corev1.Pod, _ []appsv1.ReplicaSet) bool {
		return seen && metav1.IsControlledBy(p, s) && p.Labels[appsv1.ControllerRevisionHashLabelKey] == s.Status.UpdateRevision
	}
	return w
}

func ofDaemonSet(d *appsv1.DaemonSet) workload {
	w := workload{name: "daemon set " + d.Name, want: d.Status.DesiredNumberScheduled, ready: d.Status.NumberReady}
	updated := d.Status.UpdatedNumberScheduled >= w.want || d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
	w.settled = d.Status.ObservedGeneration >= d.Generation && updated
	w.newest = func(p *corev1.Pod, _ []appsv1.ReplicaSet) bool { return w.settled && metav1.IsControlledBy(p, d) }
	return w
}

// wanted is how many pods something asks for.
func wanted(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

// unready says which of them have not as many ready pods as they ask for, and which have given up.
func unready(list []workload) (waiting []string, failed error) {
	for _, w := range list {
		failed = errors.Join(failed, w.failed)
		if !w.settled || w.ready < w.want {
			waiting = append(waiting, fmt.Sprintf("%s (%d of %d pods)", w.name, w.ready, w.want))
		}
	}
	slices.Sort(waiting)
	return waiting, failed
}

// nextChange returns when one of the watches tells of something, or when it is time to look again at pods that no node takes.
func nextChange(ctx context.Context, watches []opener) error {
	told := make(chan struct{}, len(watches))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, open := range watches {
		w, err := open(ctx)
		if err != nil {
			return fmt.Errorf("watch workloads: %w", err)
		}
		defer w.Stop()
		go func() {
			select {
			case <-w.ResultChan():
				told <- struct{}{}
			case <-ctx.Done():
			}
		}()
	}
	again := time.NewTimer(unschedulableFor / 4)
	defer again.Stop()
	select {
	case <-told:
	case <-again.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
