package main

import (
	"context"
	"errors"

	"squall/internal/engine"
	"squall/internal/image"
	"squall/internal/mesh"
)

// bring makes ready what the runs' environment needs: programs, or a cluster.
func (a *app) bring(ctx context.Context, f *runFlags, config *engine.Config) (err error) {
	if f.env == envLocal {
		config.Tools, err = a.tools(ctx, f.toolFlags)
		return err
	}
	if f.jobs > 1 {
		return errors.New("runs on one cluster are one after another: leave --jobs out")
	}
	cluster, err := a.ensureKind(ctx, &kindFlags{name: clusterName})
	if err != nil {
		return err
	}
	access, err := mesh.Connect(cluster.Kubeconfig, cluster.Context)
	if err != nil {
		return err
	}
	for name, to := range f.images {
		cluster.Images[image.Name(name)] = to
	}
	config.Cluster = &engine.Cluster{Access: access, Image: func(ref string) string { return image.Resolve(cluster.Images, ref) }}
	return nil
}
