package run

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
	"squall/internal/plan"
)

// unowned is an error when an object that the run is going to apply is somebody else's, whatever the phase. It is asked before the first
// change, and all of them are in it.
func (d *deployment) unowned(ctx context.Context, env mesh.Env, p *plan.Plan) error {
	if d.shared == nil {
		return nil
	}
	all, err := prepare(env, p)
	if err != nil {
		return err
	}
	for _, phase := range p.Phases {
		for _, c := range phase.Changes {
			after := c.After.DeepCopy()
			if after.GetKind() == "Deployment" {
				if err := d.shared.Prepare(after); err != nil {
					return fmt.Errorf("%s: %w", c.Step, err)
				}
			}
			all = append(all, after)
		}
	}
	var errs []error
	for _, ns := range namespaces(p) {
		errs = append(errs, d.ownNamespace(ctx, ns))
	}
	seen := map[identity]bool{}
	for _, u := range all {
		if id := identify(mesh.RefOf(u)); !seen[id] {
			seen[id] = true
			errs = append(errs, d.objects.Free(ctx, u, d.shared.Stamp()))
		}
	}
	return errors.Join(heldTogether(errs)...)
}

// heldTogether has the objects of each other run in one error.
func heldTogether(errs []error) (out []error) {
	runs := map[string]*mesh.HeldError{}
	for _, err := range errs {
		var held *mesh.HeldError
		if !errors.As(err, &held) {
			out = append(out, err)
			continue
		}
		if first := runs[held.Run]; first != nil {
			first.Refs = append(first.Refs, held.Refs...)
			continue
		}
		runs[held.Run] = held
		out = append(out, held)
	}
	return out
}

// may asks the API whether a change can be made, and changes nothing.
func (r *runner) may(ctx context.Context, after *unstructured.Unstructured) error {
	if shared, ok := r.Env.(mesh.Shared); ok {
		if err := r.objects.Free(ctx, after, shared.Stamp()); err != nil {
			return err
		}
	}
	return r.objects.Try(ctx, after)
}

// stamped is an object with the run's stamp, where the mesh outlives the run.
func (r *runner) stamped(u, before *unstructured.Unstructured) *unstructured.Unstructured {
	shared, ok := r.Env.(mesh.Shared)
	if !ok {
		return u
	}
	u = u.DeepCopy()
	shared.Stamp().Put(u, before)
	return u
}
