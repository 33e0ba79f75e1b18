package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"squall/internal/mesh"
)

// watch keeps the pods of a namespace known until live ends; ctx bounds the first list.
func (m *Mesh) watch(ctx, live context.Context, namespace string) error {
	factory := informers.NewSharedInformerFactoryWithOptions(m.objects.Kube, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(o any, before bool) { m.see(live, o, before) },
		UpdateFunc: func(_, o any) { m.see(live, o, false) },
		DeleteFunc: m.forget,
	})
	if err != nil {
		return fmt.Errorf("watch pods of %s: %w", namespace, err)
	}
	factory.Start(live.Done())
	m.wg.Go(factory.Shutdown)
	for _, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return fmt.Errorf("pods of %s: %w", namespace, context.Cause(ctx))
		}
	}
	return nil
}

// see takes what the API says of a pod: a proxy that has started is followed, a container that starts again is a failure. before says
// that it was there when the watch began.
func (m *Mesh) see(live context.Context, o any, before bool) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	restarts, started := map[string]int32{}, time.Time{}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		restarts[c.Name] = c.RestartCount
		if c.Name == proxyContainer && c.State.Running != nil {
			started = c.State.Running.StartedAt.Time
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	had := m.pods[p.Name]
	if had == nil || had.key.namespace != p.Namespace {
		had = &pod{key: key{p.Namespace, p.Name}, restarts: restarts, before: before, node: p.Spec.NodeName}
		m.pods[p.Name] = had
		close(m.known)
		m.known = make(chan struct{})
	}
	for name, n := range restarts {
		if was, ok := had.restarts[name]; ok && n > was && had.served && p.DeletionTimestamp == nil && m.concerns(p) {
			m.fail(fmt.Errorf("container %s of pod %s was started again: %s", name, had.key, endOf(p, name)))
		}
	}
	had.restarts, had.node, had.served = restarts, p.Spec.NodeName, had.served || mesh.IsReady(p)
	if started.IsZero() || had.follows != nil || !slices.Contains(m.opts.Namespaces, p.Namespace) || !instrumented(p) {
		return
	}
	ctx, cancel := context.WithCancel(live)
	had.follows = cancel
	m.wg.Go(func() {
		f := &follower{mesh: m, key: had.key}
		if err := f.run(ctx); err != nil && live.Err() == nil {
			m.fail(err)
		}
	})
}

// concerns says whether the run stands on the pod. Of those in Istio's root namespace it is istiod, and the ingress gateway where it is the
// run's; others, such as a dashboard, may come and go.
func (m *Mesh) concerns(p *corev1.Pod) bool {
	if p.Namespace != mesh.RootNamespace || p.Labels["app"] == "istiod" {
		return true
	}
	return slices.Contains(m.opts.Namespaces, p.Namespace) && instrumented(p)
}

// instrumented says whether Squall's filters are for the pod: in the root namespace for those of the ingress gateway alone.
func instrumented(p *corev1.Pod) bool {
	if p.Namespace != mesh.RootNamespace {
		return true
	}
	for k, v := range mesh.IngressLabels() {
		if p.Labels[k] != v {
			return false
		}
	}
	return true
}

// endOf is how a container ended before it was started again.
func endOf(p *corev1.Pod, container string) string {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if t := c.LastTerminationState.Terminated; c.Name == container && t != nil {
			return fmt.Sprintf("it ended with exit code %d (%s)", t.ExitCode, t.Reason)
		}
	}
	return "its end is not known"
}

// forget ends what is held for a pod that is gone. Its name stays known, so that who asks for it is told why.
func (m *Mesh) forget(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	p, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	m.mu.Lock()
	had := m.pods[p.Name]
	delete(m.pods, p.Name)
	m.mu.Unlock()
	if had != nil && had.follows != nil {
		had.follows()
	}
	m.admins.drop(key{p.Namespace, p.Name})
	m.workers.drop(key{p.Namespace, p.Name})
}
