package run

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// Deploy brings a mesh up with the plan's namespaces and fixtures, and waits until every workload serves and every proxy knows
// them. The proxies are those of the plan's namespaces. What was made until an error stays: the caller ends env. The objects are
// nil when nothing was sent to the API yet.
func Deploy(ctx context.Context, env mesh.Env, p *plan.Plan, with With) (*mesh.Objects, []record.Proxy, error) {
	if err := env.Up(ctx); err != nil {
		return nil, nil, fmt.Errorf("mesh: %w", err)
	}
	note := with.Note
	objects, err := mesh.NewObjects(env.REST())
	if err != nil {
		return nil, nil, err
	}
	if err := available(ctx, objects, p); err != nil {
		return objects, nil, err
	}
	d := &deployment{objects: objects, note: note}
	d.shared, _ = env.(mesh.Shared)
	if err := d.unowned(ctx, env, p); err != nil {
		return objects, nil, err
	}
	if note != nil {
		if err := note.Begin(ctx, objects); err != nil {
			return objects, nil, err
		}
	}
	for _, ns := range namespaces(p) {
		if err := d.makeNamespace(ctx, ns); err != nil {
			return objects, nil, err
		}
	}
	if bringer, ok := env.(mesh.Ingress); ok && p.NeedsIngress() {
		if err := bringer.BringIngress(ctx); err != nil {
			return objects, nil, err
		}
	}
	fixtures, err := prepare(env, p)
	if err != nil {
		return objects, nil, err
	}
	if with.Instruments != nil {
		more, err := with.Instruments(ctx)
		if err != nil {
			return objects, nil, err
		}
		fixtures = slices.Concat(more, fixtures)
	}
	for _, o := range fixtures {
		if err := d.apply(ctx, o); err != nil {
			return objects, nil, fmt.Errorf("fixtures: %w", err)
		}
	}
	proxies, err := awaitReady(ctx, env, objects, p, exceptions{})
	return objects, proxies, err
}

// prepare is what is deployed in namespaces: the fixtures, and on a cluster that is shared before them what makes proxies readable.
func prepare(env mesh.Env, p *plan.Plan) ([]*unstructured.Unstructured, error) {
	fixtures := slices.DeleteFunc(slices.Clone(p.Fixtures), func(u *unstructured.Unstructured) bool { return mesh.RefOf(u).IsNamespace() })
	shared, ok := env.(mesh.Shared)
	if !ok {
		return fixtures, nil
	}
	out := shared.Instruments(p.ProxyNamespaces())
	for _, o := range fixtures {
		o = o.DeepCopy()
		if err := shared.Prepare(o); err != nil {
			return nil, fmt.Errorf("fixtures: %s: %w", mesh.RefOf(o), err)
		}
		out = append(out, o)
	}
	return out, nil
}

// deployment applies objects, each noted before.
type deployment struct {
	objects *mesh.Objects
	shared  mesh.Shared // nil when the mesh ends with the run
	note    Noter
}

// With is what a deployment may have beside the plan.
type With struct {
	Note Noter // may be nil
	// Instruments makes objects that are to be there before the fixtures, once the mesh is up; nil is none.
	Instruments func(ctx context.Context) ([]*unstructured.Unstructured, error)
}

// Noter is told what is going to be changed; nil is nobody.
type Noter interface {
	// Begin is called before anything is changed.
	Begin(ctx context.Context, o *mesh.Objects) error
	// Note is told of each object before it is applied, with what was there, nil for nothing.
	Note(ctx context.Context, r mesh.Ref, before *unstructured.Unstructured) error
}

// apply applies an object.
func (d *deployment) apply(ctx context.Context, u *unstructured.Unstructured) error {
	if d.note != nil {
		before, err := d.objects.Get(ctx, mesh.RefOf(u))
		if err != nil {
			return err
		}
		if err := d.announce(ctx, u, before); err != nil {
			return err
		}
	}
	_, err := d.objects.Apply(ctx, u)
	return err
}

// announce stamps an object that is going to be applied, and notes its undo. One that has become another run's meanwhile is refused.
func (d *deployment) announce(ctx context.Context, u, before *unstructured.Unstructured) error {
	if d.shared != nil && !d.shared.Keeps(mesh.RefOf(u)) {
		if before != nil {
			if err := d.shared.Stamp().Others(before); err != nil {
				return err
			}
		}
		d.shared.Stamp().Put(u, before)
	}
	if d.note == nil {
		return nil
	}
	return d.note.Note(ctx, mesh.RefOf(u), before)
}

// patience is how long workloads may take to be ready: as long as the longest deadline that a Deployment of the fixtures gives itself.
func patience(p *plan.Plan) time.Duration {
	within := readyWithin
	for _, o := range p.Fixtures {
		if s, ok, err := unstructured.NestedInt64(o.Object, "spec", "progressDeadlineSeconds"); ok && err == nil {
			within = max(within, time.Duration(s)*time.Second)
		}
	}
	return within
}

// awaitReady waits until the workloads of the namespaces serve and every proxy knows them, and returns the proxies. What is excepted is
// neither waited for nor asked.
func awaitReady(ctx context.Context, env mesh.Env, objects *mesh.Objects, p *plan.Plan, except exceptions) ([]record.Proxy, error) {
	within, namespaces := patience(p), p.ProxyNamespaces()
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not ready within %s", within))
	defer cancel()
	for _, ns := range namespaces {
		if err := mesh.AwaitReady(ctx, objects, ns, slices.Concat(except.stuck, except.held)...); err != nil {
			return nil, err
		}
	}
	proxies, err := mesh.Proxies(ctx, objects, plan.ClientName, namespaces...)
	if err != nil {
		return nil, err
	}
	if proxies, err = except.from(ctx, objects, proxies); err != nil {
		return nil, err
	}
	hearing := except.hearing(proxies)
	for _, ns := range namespaces {
		if err := mesh.AwaitEndpoints(ctx, env, objects, hearing, ns); err != nil {
			return nil, err
		}
	}
	return proxies, mesh.AwaitSettled(ctx, env, hearing)
}
