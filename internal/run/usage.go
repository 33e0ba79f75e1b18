package run

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

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
	for _, ns := range r.Plan.Namespaces {
		pods, err := r.objects.Kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("pods of %s: %w", ns, err)
		}
		services, err := r.objects.Kube.CoreV1().Services(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("services of %s: %w", ns, err)
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			if p.DeletionTimestamp != nil {
				continue
			}
			u := record.PodUsage{Pod: p.Name, Labels: p.Labels}
			for j := range services.Items {
				s := &services.Items[j]
				if len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.Labels)) {
					u.Services = append(u.Services, s.Name)
				}
			}
			out = append(out, u)
			names = append(names, p.Name)
		}
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
