package run

import (
	"context"
	"fmt"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// usage saves what the pods have used so far, where the mesh can tell. On a cluster, where kubelets have to be waited for, it does so
// only in phases whose checks read it.
func (r *runner) usage(ctx context.Context, p *plan.Phase, when record.When) error {
	meter, ok := r.Env.(mesh.Meter)
	_, shared := r.Env.(mesh.Shared)
	if !ok || shared && !p.ReadsUsage {
		return nil
	}
	pods, err := mesh.Pods(ctx, r.objects, r.Plan.Namespaces...)
	if err != nil {
		return err
	}
	out := make([]record.PodUsage, 0, len(pods))
	names := make([]string, 0, len(pods))
	for _, p := range pods {
		out = append(out, record.PodUsage{Pod: p.Name, Labels: p.Labels, Services: p.Services})
		names = append(names, p.Name)
	}
	used, err := meter.Usage(ctx, names)
	if err != nil {
		return err
	}
	for i := range out {
		out[i].Parts = used[out[i].Pod]
	}
	return r.Record.WriteUsage(p.Name, when, out)
}

// usageAfter is the usage after a load, which is worth as much when the run was interrupted.
func (r *runner) usageAfter(ctx context.Context, p *plan.Phase) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), usageWithin, fmt.Errorf("not within %s", usageWithin))
	defer cancel()
	return r.usage(ctx, p, record.After)
}
