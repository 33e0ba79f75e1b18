package kube

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
)

// Break ends the connections to proxies and istiod, as a load balancer in front of the API does.
func (m *Mesh) Break() error { return m.admins.Close() }

// RemoveNamespace deletes a namespace and waits until it is gone. That it is not there is no error.
func RemoveNamespace(ctx context.Context, o *mesh.Objects, name string) error {
	api := o.Kube.CoreV1().Namespaces()
	ns, err := api.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		err = api.Delete(ctx, name, metav1.DeleteOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return namespaceGone(ctx, api, ns)
}
