package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// applyChanges makes the phase's changes and does its actions, and returns when the first change was sent.
func (r *runner) applyChanges(ctx context.Context, p *plan.Phase) (sent time.Time, err error) {
	changes, err := r.prepared(p.Changes)
	if err != nil {
		return sent, err
	}
	for _, c := range changes {
		if err := r.may(ctx, c.After); err != nil { // before anything of the phase is changed or noted
			return sent, fmt.Errorf("%s: %w", c.Step, err)
		}
	}
	if err := r.look(ctx, p); err != nil {
		return sent, err
	}
	kubernetes := false
	var services []*unstructured.Unstructured
	var unmarked []*unstructured.Unstructured
	for _, c := range changes {
		if c.Last {
			if err := r.awaitSeen(ctx, unmarked); err != nil {
				return sent, err
			}
		}
		r.workloads = r.workloads || !mesh.SeenByIstiod(c.After) // also when something fails from here on
		stored, at, err := r.applyOne(ctx, p.Name, c.Step, c.After)
		if err != nil {
			return sent, err
		}
		if sent.IsZero() {
			sent = at
		}
		switch {
		case !mesh.SeenByIstiod(stored):
			kubernetes = true
			if stored.GetKind() == "Service" {
				services = append(services, stored)
			}
		case len(c.Marks) == 0:
			unmarked = append(unmarked, stored)
		}
	}
	if sent.IsZero() {
		sent = time.Now()
	}
	r.workloads = r.workloads || len(p.Actions) > 0
	if err := r.act(ctx, p); err != nil || !kubernetes && len(p.Actions) == 0 {
		return sent, err
	}
	if err := r.refresh(ctx); err != nil {
		return sent, err
	}
	return sent, r.awaitServices(ctx, services)
}

// prepared are the changes, with workloads readied for a cluster as their fixtures were.
func (r *runner) prepared(changes []plan.Change) ([]plan.Change, error) {
	shared, ok := r.Env.(mesh.Shared)
	if !ok {
		return changes, nil
	}
	out := slices.Clone(changes)
	for i, c := range out {
		if c.After.GetKind() != "Deployment" {
			continue
		}
		out[i].After = c.After.DeepCopy()
		if err := shared.Prepare(out[i].After); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Step, err)
		}
	}
	return out, nil
}

// awaitServices waits until the Services that were changed have the endpoints of their pods, which serve.
func (r *runner) awaitServices(ctx context.Context, services []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready within %s", readyWithin))
	defer cancel()
	return mesh.AwaitSlices(ctx, r.objects, services)
}

// awaitSeen waits until istiod has seen the objects, which leave no mark in a proxy.
func (r *runner) awaitSeen(ctx context.Context, unmarked []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeoutCause(ctx, liveWithin, fmt.Errorf("not within %s", liveWithin))
	defer cancel()
	return mesh.AwaitSeen(ctx, r.Env, unmarked)
}

// applyOne notes the undo, then makes the object be after; sent is when it was sent.
func (r *runner) applyOne(
	ctx context.Context, phase, step string, after *unstructured.Unstructured,
) (stored *unstructured.Unstructured, sent time.Time, err error) {
	ref := mesh.RefOf(after)
	before, err := r.objects.Get(ctx, ref)
	if err != nil {
		return nil, sent, err
	}
	if err := r.note(ctx, Entry{Phase: phase, Step: step, Ref: ref}, before); err != nil {
		return nil, sent, err
	}
	sent = time.Now()
	stored, err = r.objects.Apply(ctx, r.stamped(after, before))
	if err != nil {
		return nil, sent, fmt.Errorf("%s: %w", step, err)
	}
	if err := r.noteMade(ctx, stored); err != nil {
		return nil, sent, fmt.Errorf("%s: %w", step, err)
	}
	r.remember(stored)
	action := "changed"
	if before == nil {
		action = "created"
	}
	r.changed = append(r.changed, object(phase, action, ref, before, stored))
	r.event(record.Event{Phase: phase, Kind: "apply", Text: step + ": " + action + " " + ref.String()})
	return stored, sent, nil
}

func object(phase, action string, ref mesh.Ref, before, after *unstructured.Unstructured) record.Object {
	return record.Object{
		Phase: phase, Action: action, Kind: ref.Kind, Name: strings.TrimPrefix(ref.Namespace+"/"+ref.Name, "/"),
		Before: text(before), After: text(after),
	}
}

// text is an object as a person would write it.
func text(u *unstructured.Unstructured) string {
	if u == nil {
		return ""
	}
	b, err := yaml.Marshal(mesh.Authored(u).Object)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// awaitChanges waits for the marks of the changes, each at the proxies that know its host.
func (r *runner) awaitChanges(ctx context.Context, p *plan.Phase, start time.Time) ([]mesh.Live, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, liveWithin, fmt.Errorf("the change was not live within %s", liveWithin))
	defer cancel()
	latest := map[string]mesh.Live{}
	for _, x := range r.proxies {
		latest[x.Pod] = mesh.Live{Pod: x.Pod, After: time.Since(start)}
	}
	marked := false
	for _, c := range p.Changes {
		if len(c.Marks) == 0 {
			continue
		}
		if !marked {
			clear(latest)
			marked = true
		}
		concerned, err := r.concerned(ctx, &c)
		if err != nil {
			return nil, err
		}
		live, err := mesh.AwaitLive(ctx, r.Env, concerned, c.Marks, start)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Step, err)
		}
		for _, l := range live {
			if l.After > latest[l.Pod].After {
				latest[l.Pod] = l
			}
		}
	}
	for _, ns := range namespacesOfServices(p) { // proxies learned of a new Service with the change that leads to it
		if err := mesh.AwaitEndpoints(ctx, r.Env, r.objects, r.excepted().hearing(r.proxies), ns); err != nil {
			return nil, err
		}
	}
	out := make([]mesh.Live, 0, len(latest))
	for _, l := range latest {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b mesh.Live) int { return strings.Compare(a.Pod, b.Pod) })
	return out, nil
}

// namespacesOfServices are those in which the phase changes a Service.
func namespacesOfServices(p *plan.Phase) (out []string) {
	for _, c := range p.Changes {
		if ns := c.After.GetNamespace(); c.After.GetKind() == "Service" && !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	return out
}

// concerned are the proxies that have a change's marks when it is live.
func (r *runner) concerned(ctx context.Context, c *plan.Change) ([]record.Proxy, error) {
	out := r.excepted().hearing(r.proxies)
	if c.Host != "" {
		if out = mesh.Knows(r.configs, out, c.Host); len(out) == 0 {
			return nil, fmt.Errorf("%s: no proxy knows the host %s", c.Step, c.Host)
		}
	}
	out, err := mesh.Followers(ctx, r.objects, c.After, out)
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("no proxy follows %s: none is of a gateway that the Gateways in its spec.gateways select", mesh.RefOf(c.After))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Step, err)
	}
	return out, nil
}
