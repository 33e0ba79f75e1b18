package run

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
	"squall/internal/plan"
)

// namespace is one that the plan needs.
type namespace struct {
	object *unstructured.Unstructured
	given  bool // by a fixture, which says how it is to be
}

// namespaces are the plan's, as the fixtures have them: what a fixture says of injection holds.
func namespaces(p *plan.Plan) []namespace {
	var out []namespace
	given := map[string]bool{}
	for _, o := range p.Fixtures {
		if mesh.RefOf(o).IsNamespace() {
			given[o.GetName()] = true
			out = append(out, namespace{o.DeepCopy(), true})
		}
	}
	for _, name := range p.Namespaces {
		if !given[name] {
			out = append(out, namespace{object: mesh.Namespace(name)})
		}
	}
	return out
}

// makeNamespace makes a namespace, or makes it be what a fixture says. One that is there is left as it is else.
func (d *deployment) makeNamespace(ctx context.Context, ns namespace) error {
	u := ns.object
	before, err := d.objects.Get(ctx, mesh.RefOf(u))
	if err != nil || before != nil && !ns.given {
		return err
	}
	if err := d.announce(ctx, u, before); err != nil {
		return err
	}
	if before == nil && d.shared != nil && !d.shared.Keeps(mesh.RefOf(u)) {
		_, err = d.objects.Create(ctx, u) // of two runs at once one makes it
	} else {
		_, err = d.objects.Apply(ctx, u)
	}
	return err
}

// ownNamespace is a *mesh.HeldError when another run has made the namespace, and will delete it.
func (d *deployment) ownNamespace(ctx context.Context, ns namespace) error {
	ref := mesh.RefOf(ns.object)
	if d.shared.Keeps(ref) {
		return nil
	}
	live, err := d.objects.Get(ctx, ref)
	switch {
	case err != nil || live == nil || live.GetDeletionTimestamp() != nil:
		return err
	case mesh.MadeBySquall(live):
		return d.shared.Stamp().Others(live)
	case ns.given:
		return d.objects.Free(ctx, ns.object, d.shared.Stamp())
	}
	return nil
}
