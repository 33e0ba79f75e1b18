package run

import (
	"context"
	"fmt"
	"slices"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// Deploy brings a mesh up with the plan's namespaces and fixtures, and waits until every workload serves and every proxy knows
// them. The proxies are those of the plan's namespaces. What was made until an error stays: the caller ends env. The objects are
// nil when nothing was sent to the API yet.
func Deploy(ctx context.Context, env mesh.Env, p *plan.Plan) (*mesh.Objects, []record.Proxy, error) {
	if err := env.Up(ctx); err != nil {
		return nil, nil, fmt.Errorf("mesh: %w", err)
	}
	objects, err := mesh.NewObjects(env.REST())
	if err != nil {
		return nil, nil, err
	}
	for _, ns := range p.Namespaces {
		if err := objects.EnsureNamespace(ctx, ns); err != nil {
			return objects, nil, err
		}
	}
	if bringer, ok := env.(mesh.Ingress); ok && p.NeedsIngress() {
		if err := bringer.BringIngress(ctx); err != nil {
			return objects, nil, err
		}
	}
	for _, o := range p.Fixtures {
		if _, err := objects.Apply(ctx, o); err != nil {
			return objects, nil, fmt.Errorf("fixtures: %w", err)
		}
	}
	proxies, err := awaitReady(ctx, env, objects, namespaces(p))
	return objects, proxies, err
}

// namespaces are those whose proxies the plan has to do with.
func namespaces(p *plan.Plan) []string {
	if p.NeedsIngress() {
		return append(slices.Clone(p.Namespaces), mesh.RootNamespace)
	}
	return p.Namespaces
}

// awaitReady waits until the workloads of the namespaces serve and every proxy knows them, and returns the proxies.
func awaitReady(ctx context.Context, env mesh.Env, objects *mesh.Objects, namespaces []string) ([]record.Proxy, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready within %s", readyWithin))
	defer cancel()
	for _, ns := range namespaces {
		if err := mesh.AwaitReady(ctx, objects, ns); err != nil {
			return nil, err
		}
	}
	proxies, err := mesh.Proxies(ctx, objects, plan.ClientName, namespaces...)
	if err != nil {
		return nil, err
	}
	for _, ns := range namespaces {
		if err := mesh.AwaitEndpoints(ctx, env, objects, proxies, ns); err != nil {
			return nil, err
		}
	}
	return proxies, mesh.AwaitSettled(ctx, env, proxies)
}
