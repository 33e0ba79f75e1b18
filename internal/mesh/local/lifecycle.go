package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"squall/internal/mesh"
)

const (
	// drainTime is how long a pod that ends waits for the other proxies to forget its address; it is Istio's own drain time.
	drainTime = 5 * time.Second
	drainPoll = 3 * time.Millisecond
	// idleTime is how long a proxy has to be without requests before its program is stopped: a caller's proxy lists an address no more
	// while one of its threads still sends a request there.
	idleTime = 100 * time.Millisecond
	// retryTime is before another look at what the API refused.
	retryTime = 50 * time.Millisecond
)

// start makes the Pod object and starts the pod's life beside the loop. A pod by that name that somebody else made is left
// alone, and the next name is tried later.
func (k *kubelet) start(ctx context.Context, key string, p *pod) error {
	made, err := k.objects.Kube.CoreV1().Pods(p.object.Namespace).Create(ctx, p.object, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		time.AfterFunc(retryTime, k.poke)
		return nil
	case err != nil:
		return fmt.Errorf("pod %s: %w", p.object.Name, err)
	}
	p.object.UID = made.UID
	if err := errors.Join(k.writeHosts(p), k.writeSidecar(ctx, p), k.writePod(ctx, p, "starting")); err != nil {
		return err
	}
	k.pods[key] = append(k.pods[key], p)
	k.mesh.mu.Lock()
	k.mesh.pods[p.object.Name] = p
	k.mesh.mu.Unlock()
	live, cancel := context.WithCancel(ctx)
	p.cancel = cancel
	k.wg.Go(func() {
		defer close(p.ended)
		k.live(live, p)
	})
	return nil
}

// live brings the pod up and watches its readiness until ctx ends.
func (k *kubelet) live(ctx context.Context, p *pod) {
	err := k.bringUp(ctx, p)
	k.tell(ctx, func(ctx context.Context) { k.settle(ctx, p, err) })
	if err == nil {
		k.watchReadiness(ctx, p)
	}
}

// bringUp starts the pod's processes; it returns when the pod can serve.
func (k *kubelet) bringUp(ctx context.Context, p *pod) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("folder of %s: %w", p.object.Name, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.startApp(ctx, p) })
	if p.hasProxy() {
		g.Go(func() error { return k.startEnvoy(ctx, p) })
	}
	return g.Wait()
}

// settle takes note of how a start ended.
func (k *kubelet) settle(ctx context.Context, p *pod, failure error) {
	p.ready, p.failure = failure == nil, failure
	message := ""
	if failure != nil {
		message = failure.Error()
	}
	k.note(ctx, p, message)
}

// note writes what is known of a pod, unless it is being ended.
func (k *kubelet) note(ctx context.Context, p *pod, message string) {
	if p.leaving {
		return
	}
	if err := k.writePod(ctx, p, message); err != nil && ctx.Err() == nil {
		k.mesh.fail(err)
	}
}

// remove takes pods off the endpoints, and ends their processes and deletes their objects beside the loop.
func (k *kubelet) remove(ctx context.Context, key string, pods ...*pod) error {
	if len(pods) == 0 {
		return nil
	}
	for _, p := range pods {
		p.served = p.ready
		p.leaving, p.ready = true, false
	}
	var stay []*pod
	for _, p := range k.pods[key] {
		if !p.leaving {
			stay = append(stay, p)
		}
	}
	k.pods[key] = stay
	k.leaving[key] += len(pods)
	err := k.writeSlices(ctx)
	for _, p := range pods {
		k.wg.Go(func() {
			k.end(ctx, p)
			k.tell(ctx, func(context.Context) {
				k.leaving[key]--
				delete(k.sidecars, p.object.Name)
			})
		})
	}
	return err
}

// end ends a pod: once no other proxy knows its address any more the program and then the proxy are stopped, and the
// objects deleted. One that crashes is killed before anybody knows.
func (k *kubelet) end(ctx context.Context, p *pod) {
	name, ns := p.object.Name, p.object.Namespace
	pods := k.objects.Kube.CoreV1().Pods(ns)
	var errs []error
	if p.crashes {
		errs = append(errs, p.crash(ctx))
	}
	errs = append(errs, gone(pods.Delete(ctx, name, metav1.DeleteOptions{}))) // its finalizer keeps it until the end
	p.cancel()
	<-p.ended
	if p.served && !p.crashes {
		k.drain(ctx, p)
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.grace()+10*time.Second)
	defer cancel()
	errs = append(errs, p.stop(stopping), os.RemoveAll(p.dir), os.RemoveAll(p.hosts.path))
	k.mesh.mu.Lock()
	delete(k.mesh.pods, name)
	k.mesh.mu.Unlock()
	errs = append(errs, k.deleteOwn(ctx, p))
	_, err := pods.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err := errors.Join(append(errs, gone(err))...); err != nil && ctx.Err() == nil {
		k.mesh.fail(fmt.Errorf("end of pod %s: %w", name, err))
	}
}

// gone is err, nil for an object that is not there.
func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// drain waits until no other proxy sends requests to the pod and its own has answered all, as far as the drain time allows.
func (k *kubelet) drain(ctx context.Context, p *pod) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	k.awaitForgotten(ctx, p)
	k.awaitIdle(ctx, p)
}

func (k *kubelet) awaitForgotten(ctx context.Context, p *pod) {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for _, name := range k.mesh.callers() {
		for k.mesh.knows(ctx, name, p.ip.String()+":") {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

// awaitIdle waits until the pod's own proxy has had no request for a while. One that does not answer has none.
func (k *kubelet) awaitIdle(ctx context.Context, p *pod) {
	if envoy := p.envoy.Load(); envoy == nil || envoy.Paused() {
		return
	}
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	var seen int64
	since := time.Now()
	for time.Since(since) < idleTime {
		taken, active, err := mesh.Inbound(ctx, k.mesh, p.object.Name)
		if err != nil {
			return
		}
		if active > 0 || taken != seen {
			seen, since = taken, time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// knows reports whether a pod's proxy has an endpoint that begins like that. A proxy that does not answer knows nothing.
func (m *Mesh) knows(ctx context.Context, name, prefix string) bool {
	all, err := mesh.Endpoints(ctx, m, name)
	if err != nil {
		return false
	}
	for _, list := range all {
		for _, address := range list {
			if strings.HasPrefix(address, prefix) {
				return true
			}
		}
	}
	return false
}

// callers are the pods whose proxies run and are not held.
func (m *Mesh) callers() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for name, p := range m.pods {
		if envoy := p.envoy.Load(); envoy != nil && !envoy.Paused() {
			out = append(out, name)
		}
	}
	return out
}

// grace is the time between SIGTERM and SIGKILL.
func (p *pod) grace() time.Duration {
	return graceOf(p.object)
}

func graceOf(o *corev1.Pod) time.Duration {
	if s := o.Spec.TerminationGracePeriodSeconds; s != nil {
		return max(time.Duration(*s)*time.Second, time.Millisecond)
	}
	return 30 * time.Second
}
