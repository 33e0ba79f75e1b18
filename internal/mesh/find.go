package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Labelled lists the objects with the label, of every kind that the API has, in one namespace or, when that is empty, in all and outside
// of them. Objects that a controller made, and will remove with its own, are left out. Of the kinds in hidden this user may list none.
func (o *Objects) Labelled(ctx context.Context, label, namespace string) (found []*unstructured.Unstructured, hidden []string, err error) {
	kinds, err := o.Kube.Discovery().ServerPreferredResources()
	var partial *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partial) { // an aggregated API that is down says nothing of the others
		return nil, nil, fmt.Errorf("kinds of the API: %w", err)
	}
	for _, group := range kinds {
		gv, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			return nil, nil, fmt.Errorf("kinds of the API: %w", err)
		}
		for _, k := range group.APIResources {
			if !slices.Contains(k.Verbs, "list") || !slices.Contains(k.Verbs, "delete") || namespace != "" && !k.Namespaced {
				continue
			}
			list, err := o.dynamic.Resource(gv.WithResource(k.Name)).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: label})
			switch {
			case apierrors.IsForbidden(err):
				hidden = append(hidden, k.Name)
				continue
			case apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err):
				continue // it went away, or cannot be listed after all
			case err != nil:
				return nil, nil, fmt.Errorf("list %s: %w", k.Name, err)
			}
			for i := range list.Items {
				if metav1.GetControllerOf(&list.Items[i]) == nil {
					found = append(found, &list.Items[i])
				}
			}
		}
	}
	return found, hidden, nil
}
