package run

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"squall/internal/mesh"
	"squall/internal/record"
)

// usage saves what the pods have used so far, where the mesh can tell.
func (r *runner) usage(ctx context.Context, phase string, when record.When) error {
	meter, ok := r.Env.(mesh.Meter)
	if !ok {
		return nil
	}
	out := []record.PodUsage{}
	var names []string
	err := mesh.EachPod(ctx, r.objects, func(p *corev1.Pod, services []string) {
		out = append(out, record.PodUsage{Pod: p.Name, Labels: p.Labels, Services: services})
		names = append(names, p.Name)
	}, r.Plan.Namespaces...)
	if err != nil {
		return err
	}
	used, err := meter.Usage(names)
	if err != nil {
		return err
	}
	for i := range out {
		out[i].Parts = used[out[i].Pod]
	}
	return r.Record.WriteUsage(phase, when, out)
}
