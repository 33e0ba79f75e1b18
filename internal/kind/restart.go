package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"squall/internal/mesh"
	"squall/internal/toolchain"
)

// settleWithin is for all pods to be seen anew. What writes endpoints waits some 20 s for the lease that it held itself before.
const settleWithin = 2 * time.Minute

// current fails when the API tells of a time before the nodes were started: after a node has come back, the API shows the pods as ready
// that were so when it went, until the kubelet has started them anew, and endpoints with their addresses from then, for longer still.
// It looks at systemPods.
func current(ctx context.Context, client kubernetes.Interface) error {
	pods, err := systemPods(ctx, client)
	if err != nil {
		return err
	}
	if err := podsCurrent(ctx, client, pods); err != nil {
		return err
	}
	return endpointsCurrent(ctx, client, pods)
}

// systemPods are the pods that a cluster works by, by their namespaces.
func systemPods(ctx context.Context, client kubernetes.Interface) (map[string][]corev1.Pod, error) {
	out := map[string][]corev1.Pod{}
	for _, namespace := range []string{metav1.NamespaceSystem, mesh.RootNamespace} {
		list, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("pods of %s: %w", namespace, err)
		}
		out[namespace] = list.Items
	}
	return out, nil
}

func podsCurrent(ctx context.Context, client kubernetes.Interface, pods map[string][]corev1.Pod) error {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("look at the nodes: %w", err)
	}
	var names []string
	for _, n := range list.Items {
		names = append(names, n.Name)
	}
	since, err := startTimes(ctx, names)
	if err != nil {
		return err
	}
	for namespace, of := range pods {
		for i := range of {
			if outlived(&of[i], since) {
				return fmt.Errorf("the node %s was started again, and its pod %s/%s was not yet", of[i].Spec.NodeName, namespace, of[i].Name)
			}
		}
	}
	return nil
}

// outlived reports whether a container is said to run since before its node does. Pods' times have no fractions of a second.
func outlived(p *corev1.Pod, since map[string]time.Time) bool {
	started, known := since[p.Spec.NodeName]
	return known && slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil && c.State.Running.StartedAt.Time.Before(started.Truncate(time.Second))
	})
}

func endpointsCurrent(ctx context.Context, client kubernetes.Interface, pods map[string][]corev1.Pod) error {
	for namespace, of := range pods {
		addresses := map[string][]corev1.PodIP{}
		for i := range of {
			addresses[of[i].Name] = of[i].Status.PodIPs
		}
		list, err := client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("endpoints of %s: %w", namespace, err)
		}
		for i := range list.Items {
			if pod := moved(&list.Items[i], addresses); pod != "" {
				return fmt.Errorf("the Service %s/%s leads to an address that the pod %s does not have", namespace, list.Items[i].Labels[discoveryv1.LabelServiceName], pod)
			}
		}
	}
	return nil
}

// moved is a pod that the slice has at another address than the pod's own, which are given by its name; empty when there is none.
func moved(s *discoveryv1.EndpointSlice, own map[string][]corev1.PodIP) string {
	for _, e := range s.Endpoints {
		if e.TargetRef == nil || e.TargetRef.Kind != "Pod" {
			continue
		}
		if !slices.ContainsFunc(own[e.TargetRef.Name], func(ip corev1.PodIP) bool { return slices.Contains(e.Addresses, ip.IP) }) {
			return e.TargetRef.Name
		}
	}
	return ""
}

// awaitCurrent waits until the API tells of now.
func (c *cluster) awaitCurrent(ctx context.Context, client kubernetes.Interface) (err error) {
	if current(ctx, client) == nil {
		return nil
	}
	done := toolchain.Track(c.Progress, c.update("waiting for the pods of "+c.Name+", which was started again (about 30 s)"), nothing)
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeoutCause(ctx, settleWithin, fmt.Errorf("it took longer than %v", settleWithin))
	defer cancel()
	var last error // of what was asked
	err = await(ctx, client.CoreV1().Pods(metav1.NamespaceAll), &corev1.Pod{}, "", func() bool {
		pods, err := systemPods(ctx, client)
		if err == nil {
			err = podsCurrent(ctx, client, pods)
		}
		last = err
		return err == nil
	})
	if err == nil {
		err = await(ctx, client.DiscoveryV1().EndpointSlices(metav1.NamespaceAll), &discoveryv1.EndpointSlice{}, "", func() bool {
			last = current(ctx, client)
			return last == nil
		})
	}
	if err == nil {
		err = awaitInjection(ctx, client)
	}
	if err != nil {
		return fmt.Errorf("pods of the cluster %s: %w", c.Name, errors.Join(context.Cause(ctx), last))
	}
	return nil
}

// awaitInjection waits until the API server reaches istiod's webhook. Nothing tells when a node's kube-proxy has followed the endpoints, so
// that a pod with a sidecar is made, and not kept.
func awaitInjection(ctx context.Context, client kubernetes.Interface) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "squall-injection-", Labels: map[string]string{"sidecar.istio.io/inject": "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "none"}}},
	}
	tick := time.NewTicker(apiPoll)
	defer tick.Stop()
	for {
		_, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsInternalError(err) && ctx.Err() == nil { // that is a webhook that cannot be called; what refuses the pod was reached
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sidecars cannot be injected: %w", err)
		case <-tick.C:
		}
	}
}
