package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// acting is one action of a phase: the pods from before it, and those that it was about.
type acting struct {
	plan.Action
	workload mesh.Workload
	before   []corev1.Pod
	pods     []corev1.Pod // of before: those that are killed, stopped and so on
	nodes    []string     // that were cordoned
	freed    *freed       // of a stop that ends by itself
}

// look notes the pods that there are before a phase's changes, and chooses those that are meant.
func (r *runner) look(ctx context.Context, p *plan.Phase) error {
	r.acting = nil
	for _, a := range p.Actions {
		x := &acting{Action: a, workload: mesh.Workload{Namespace: a.Namespace, Name: a.Workload}}
		var err error
		if x.before, err = r.objects.PodsOf(ctx, x.workload); err != nil {
			return fmt.Errorf("%s: %w", a.Step, err)
		}
		x.pods = x.before
		if a.Pods > 0 {
			x.pods = x.before[:min(a.Pods, len(x.before))]
		}
		r.acting = append(r.acting, x)
	}
	return nil
}

// act does the phase's actions, each noted in the journal before, and waits for what comes of them.
func (r *runner) act(ctx context.Context, p *plan.Phase) error {
	for _, x := range r.acting {
		if err := r.actOne(ctx, p, x); err != nil {
			return fmt.Errorf("%s: %w", x.Step, err)
		}
	}
	for _, x := range r.acting {
		if err := r.awaitOne(ctx, x); err != nil {
			return fmt.Errorf("%s: %w", x.Step, err)
		}
	}
	return nil
}

func (r *runner) actOne(ctx context.Context, p *plan.Phase, x *acting) error {
	switch x.Kind {
	case "kill":
		return r.eachPod(ctx, p, x, Deed{Action: Killed}, func(pod *corev1.Pod) error { return r.objects.Kill(ctx, pod) })
	case "evict":
		ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("a PodDisruptionBudget did not allow it within %s", readyWithin))
		defer cancel()
		return r.eachPod(ctx, p, x, Deed{Action: Evicted}, func(pod *corev1.Pod) error { return r.objects.Evict(ctx, x.workload, pod) })
	case "stop":
		return r.hold(ctx, p, x, record.App)
	case "partition":
		return r.partition(ctx, p, x)
	case "cordon":
		return r.cordon(ctx, p, x)
	}
	return nil // its object was changed
}

// eachPod does the deed to each of the pods.
func (r *runner) eachPod(ctx context.Context, p *plan.Phase, x *acting, deed Deed, do func(*corev1.Pod) error) error {
	for i := range x.pods {
		pod := &x.pods[i]
		deed.Target, deed.UID = pod.Name, string(pod.UID)
		if err := r.noteDeed(ctx, p.Name, x, deed); err != nil {
			return err
		}
		if err := do(pod); err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		r.tell(p, x, deed, "Pod", pod.Namespace+"/"+pod.Name)
	}
	return nil
}

// tell says what was done.
func (r *runner) tell(p *plan.Phase, x *acting, deed Deed, kind, name string) {
	r.changed = append(r.changed, record.Object{Phase: p.Name, Action: deed.Action, Kind: kind, Name: name})
	r.event(record.Event{Phase: p.Name, Kind: "apply", Text: fmt.Sprintf("%s: %s %s %s", x.Step, deed.Action, kind, name)})
}

func (x *acting) ref() mesh.Ref {
	return mesh.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: x.workload.Namespace, Name: x.workload.Name}
}

// hold stops the program or the proxy of each of the pods.
func (r *runner) hold(ctx context.Context, p *plan.Phase, x *acting, part string) error {
	holder, ok := r.Env.(mesh.Holder)
	if !ok {
		return fmt.Errorf("the environment %s cannot stop processes of pods", r.Env.Name())
	}
	r.held = append(r.held, x.workload)
	err := r.eachPod(ctx, p, x, Deed{Action: Held, Part: part}, func(pod *corev1.Pod) error { return holder.Hold(pod.Name, part) })
	if err == nil && x.For > 0 {
		r.freeLater(p, x, holder, part)
	}
	return err
}

// partition cuts the pods off. On this machine their proxies are stopped; on a cluster a NetworkPolicy does it, which is an object.
func (r *runner) partition(ctx context.Context, p *plan.Phase, x *acting) error {
	if _, ok := r.Env.(mesh.Holder); !ok {
		for i := range x.pods {
			if x.Whole {
				r.cut = append(r.cut, x.pods[i].Name)
			}
		}
		r.held = append(r.held, x.workload)
		return nil
	}
	if err := r.hold(ctx, p, x, record.Sidecar); err != nil {
		return err
	}
	for i := range x.pods {
		r.silence(x.pods[i].Name, "its proxy stands still by "+x.Step)
	}
	return nil
}

// silence takes a pod's proxy for one that cannot be asked any more, until the rollback.
func (r *runner) silence(pod, why string) {
	i := slices.IndexFunc(r.proxies, func(p record.Proxy) bool { return p.Pod == pod })
	if i < 0 {
		return
	}
	p := r.proxies[i]
	p.Held = why
	r.silent = append(r.silent, p)
	r.proxies = slices.Delete(slices.Clone(r.proxies), i, i+1)
}

// cordon closes the nodes of the pods that are open.
func (r *runner) cordon(ctx context.Context, p *plan.Phase, x *acting) error {
	_, open, err := r.objects.Nodes(ctx)
	if err != nil {
		return err
	}
	for i := range x.pods {
		node := x.pods[i].Spec.NodeName
		if !slices.Contains(open, node) || slices.Contains(x.nodes, node) {
			continue
		}
		deed := Deed{Action: Cordoned, Target: node}
		if err := r.noteDeed(ctx, p.Name, x, deed); err != nil {
			return err
		}
		if err := r.objects.Cordon(ctx, node, true); err != nil {
			return err
		}
		x.nodes = append(x.nodes, node)
		r.tell(p, x, deed, "Node", node)
	}
	if len(x.nodes) == 0 {
		return errors.New("none of the pods' nodes takes new pods as it is")
	}
	return nil
}

// awaitOne waits for what comes of an action before the workloads are looked at as a whole.
func (r *runner) awaitOne(ctx context.Context, x *acting) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not within %s", readyWithin))
	defer cancel()
	switch {
	case x.Kind == "kill" || x.Kind == "evict":
		return r.objects.AwaitReplaced(ctx, x.workload, uids(x.pods))
	case x.Stuck:
		r.stuck = append(r.stuck, x.workload)
		why, err := r.objects.AwaitStuck(ctx, x.workload)
		if err == nil {
			why, _, _ = strings.Cut(why, "\n")
			r.event(record.Event{Kind: "apply", Text: x.Step + ": stuck: " + why})
		}
		return err
	}
	return nil
}

func uids(pods []corev1.Pod) []types.UID {
	out := make([]types.UID, len(pods))
	for i := range pods {
		out[i] = pods[i].UID
	}
	return out
}

// refresh waits until the workloads are whole again, as far as the steps leave them so, and takes their proxies for those of the mesh.
func (r *runner) refresh(ctx context.Context) error {
	r.workloads = true
	proxies, err := awaitReady(ctx, r.Env, r.objects, r.Plan, r.excepted())
	if err != nil {
		return err
	}
	pods, err := mesh.Pods(ctx, r.objects, r.Plan.ProxyNamespaces()...)
	if err != nil {
		return err
	}
	r.silent = slices.DeleteFunc(r.silent, func(p record.Proxy) bool { // a later step may have ended its pod
		return !slices.ContainsFunc(pods, func(o mesh.Pod) bool { return o.Name == p.Pod })
	})
	return r.enlist(ctx, proxies)
}

// exceptions are what a step leaves so that it is not waited for.
type exceptions struct {
	stuck []mesh.Workload // whose rollout does not come to its end
	held  []mesh.Workload // whose pods may cease to be ready
	pods  []string        // whose proxies cannot be asked
	cut   []string        // of those whose proxies hear nothing from istiod
}

// from leaves out the proxies that cannot be asked: also those of pods that never come to serve.
func (e exceptions) from(ctx context.Context, o *mesh.Objects, proxies []record.Proxy) ([]record.Proxy, error) {
	out := slices.Clone(e.pods)
	for _, w := range e.stuck {
		pods, err := o.PodsOf(ctx, w)
		if err != nil {
			return nil, err
		}
		for i := range pods {
			if !mesh.IsReady(&pods[i]) {
				out = append(out, pods[i].Name)
			}
		}
	}
	return slices.DeleteFunc(proxies, func(p record.Proxy) bool { return slices.Contains(out, p.Pod) }), nil
}

// hearing are the proxies that hear from istiod.
func (e exceptions) hearing(proxies []record.Proxy) []record.Proxy {
	return slices.DeleteFunc(slices.Clone(proxies), func(p record.Proxy) bool { return slices.Contains(e.cut, p.Pod) })
}

func (r *runner) excepted() exceptions {
	out := exceptions{stuck: r.stuck, held: r.held, cut: r.cut}
	for _, p := range r.silent {
		out.pods = append(out.pods, p.Pod)
	}
	return out
}

// available is an error when the cluster lacks what the plan's actions need.
func available(ctx context.Context, o *mesh.Objects, p *plan.Plan) error {
	for _, ph := range p.Phases {
		for _, a := range ph.Actions {
			if a.Kind != "evict" && a.Kind != "cordon" {
				continue
			}
			all, open, err := o.Nodes(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", a.Step, err)
			}
			if len(open) < 2 {
				return fmt.Errorf("%s needs a cluster on which pods have another node to go to: of its %d nodes %d take new pods", a.Step, len(all), len(open))
			}
		}
	}
	return nil
}
