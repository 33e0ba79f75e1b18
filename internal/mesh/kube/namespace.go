package kube

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"squall/internal/mesh"
)

// goneWithin bounds the end of a namespace that a run before this one has deleted: its pods get 30 s to stop.
const goneWithin = 90 * time.Second

// awaitGone waits for the end of those namespaces of the run that an earlier run has deleted. Those that somebody else deletes are refused.
func (m *Mesh) awaitGone(ctx context.Context) error {
	for _, name := range m.opts.Namespaces {
		if err := m.namespaceGone(ctx, name); err != nil {
			return fmt.Errorf("namespace %s, which an earlier run has deleted: %w", name, err)
		}
	}
	return nil
}

func (m *Mesh) namespaceGone(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, goneWithin, fmt.Errorf("it is not gone within %s", goneWithin))
	defer cancel()
	api := m.objects.Kube.CoreV1().Namespaces()
	for {
		ns, err := api.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		case ns.DeletionTimestamp == nil || ns.Labels[mesh.ManagedByLabel] != mesh.FieldManager:
			return nil
		}
		w, err := api.Watch(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(), ResourceVersion: ns.ResourceVersion,
		})
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
