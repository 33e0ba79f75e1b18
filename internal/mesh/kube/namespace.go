package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"squall/internal/mesh"
)

// goneWithin bounds the end of a namespace that a run before this one has deleted: its pods get 30 s to stop.
const goneWithin = 90 * time.Second

// awaitGone waits for the end of those namespaces of the run that an earlier run has deleted. Those that somebody else deletes are refused.
func (m *Mesh) awaitGone(ctx context.Context) error {
	api := m.objects.Kube.CoreV1().Namespaces()
	for _, name := range m.opts.Namespaces {
		ns, err := api.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && (ns.DeletionTimestamp == nil || ns.Labels[mesh.ManagedByLabel] != mesh.FieldManager) {
			continue
		}
		if err == nil {
			err = namespaceGone(ctx, api, ns)
		}
		if err != nil {
			return fmt.Errorf("namespace %s, which an earlier run has deleted: %w", name, err)
		}
	}
	return nil
}

// namespaceGone waits until there is no such namespace, or another of its name.
func namespaceGone(ctx context.Context, api typedcorev1.NamespaceInterface, ns *corev1.Namespace) error {
	ctx, cancel := context.WithTimeoutCause(ctx, goneWithin, fmt.Errorf("it is not gone within %s", goneWithin))
	defer cancel()
	only := fields.OneTermEqualSelector("metadata.name", ns.Name).String()
	for {
		now, err := api.Get(ctx, ns.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		case now.UID != ns.UID:
			return nil
		}
		w, err := api.Watch(ctx, metav1.ListOptions{FieldSelector: only, ResourceVersion: now.ResourceVersion})
		if err != nil {
			return err
		}
		gone := awaitDeleted(ctx, w)
		w.Stop()
		if gone {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// awaitDeleted returns true when the watched object is deleted, false when the watch ends before.
func awaitDeleted(ctx context.Context, w watch.Interface) bool {
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok || e.Type == watch.Error {
				return false
			}
			if e.Type == watch.Deleted {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}
