package run

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// effects saves what the phase's actions did to pods, as it is when the load has ended. late is why that is not known, "" when it is.
func (r *runner) effects(ctx context.Context, p *plan.Phase, late string) error {
	if len(r.acting) == 0 {
		return nil
	}
	var out []record.Effect
	var errs []error
	for _, x := range r.acting {
		list, err := r.effectsOf(ctx, x)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", x.Step, err))
		}
		for _, e := range list {
			e.Step, e.Workload, e.Missing = x.Step, x.Workload, late
			if err != nil {
				e.Missing = err.Error()
			}
			out = append(out, e)
		}
	}
	r.acting = nil
	return errors.Join(append(errs, r.Record.WriteEffects(p.Name, out))...)
}

func (r *runner) effectsOf(ctx context.Context, x *acting) (list []record.Effect, err error) {
	switch x.Kind {
	case "kill", "evict", "restart":
		return r.replaced(ctx, x)
	case "rollout":
		if list, err = r.replaced(ctx, x); err != nil || !x.Stuck {
			return list, err
		}
		stuck := record.Effect{Name: record.Stuck}
		is, err := r.objects.IsStuck(ctx, x.workload)
		if is {
			stuck.Pods = []string{x.Workload}
		}
		return append(list, stuck), err
	case "stop":
		return r.stillHeld(x, record.Stopped, record.App)
	case "partition":
		return r.stillHeld(x, record.Partitioned, record.Sidecar)
	case "cordon":
		_, open, err := r.objects.Nodes(ctx)
		closed := slices.DeleteFunc(slices.Clone(x.nodes), func(n string) bool { return slices.Contains(open, n) })
		return []record.Effect{{Name: record.Cordoned, Pods: closed}}, err
	}
	return nil, nil
}

// replaced are those of the pods that are gone, as far as others that serve came in their place.
func (r *runner) replaced(ctx context.Context, x *acting) ([]record.Effect, error) {
	e := record.Effect{Name: record.Replaced}
	now, err := r.objects.PodsOf(ctx, x.workload)
	if err != nil {
		return []record.Effect{e}, err
	}
	is := func(list []corev1.Pod, p corev1.Pod) bool {
		return slices.ContainsFunc(list, func(o corev1.Pod) bool { return o.UID == p.UID })
	}
	came := 0
	for i := range now {
		if mesh.IsReady(&now[i]) && !is(x.before, now[i]) {
			came++
		}
	}
	for _, p := range x.pods {
		if !is(now, p) && len(e.Pods) < came {
			e.Pods = append(e.Pods, p.Name)
		}
	}
	return []record.Effect{e}, nil
}

// stillHeld are those of the pods whose process is stopped, or was so for as long as it was meant to.
func (r *runner) stillHeld(x *acting, name, part string) ([]record.Effect, error) {
	holder, ok := r.Env.(mesh.Holder)
	if !ok {
		return nil, nil
	}
	e := record.Effect{Name: name}
	before, err := x.freed.stopped()
	errs := []error{err}
	for i := range x.pods {
		held, err := holder.Held(x.pods[i].Name, part)
		if held || slices.Contains(before, x.pods[i].Name) {
			e.Pods = append(e.Pods, x.pods[i].Name)
		}
		errs = append(errs, err)
	}
	return []record.Effect{e}, errors.Join(errs...)
}

// present lists the proxies of a phase as its load begins: those that can be asked, and those that stand still.
func (r *runner) present() []record.Proxy { return slices.Concat(r.proxies, r.silent) }

// partings notes for a phase whose changes came while its load ran which proxies did not last as long as it, so that what they counted
// and logged is not known, and which came.
func (r *runner) partings(p *plan.Phase, before []record.Proxy) error {
	if p.ApplyAt == 0 {
		return nil
	}
	by := func(list []record.Proxy, pod string) *record.Proxy {
		if i := slices.IndexFunc(list, func(x record.Proxy) bool { return x.Pod == pod }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	var out []record.Proxy
	for _, x := range before {
		silent := by(r.silent, x.Pod)
		switch {
		case x.Held != "" || by(r.proxies, x.Pod) != nil:
		case silent != nil:
			x.Ended = silent.Held + " since some time during the load"
		default:
			x.Ended = "its pod ended while the load ran"
		}
		out = append(out, x)
	}
	var errs []error
	for _, x := range r.proxies {
		if by(before, x.Pod) != nil {
			continue
		}
		x.Joined = true
		out = append(out, x)
		errs = append(errs, r.touch(p.Name, x.Pod))
	}
	return errors.Join(append(errs, r.Record.WritePhaseProxies(p.Name, out))...)
}

// touch makes a proxy's access log, so that an empty one says that it had no request.
func (r *runner) touch(phase, pod string) error {
	w, err := r.Record.AccessWriter(phase, pod)
	if err != nil {
		return err
	}
	return w.Close()
}
