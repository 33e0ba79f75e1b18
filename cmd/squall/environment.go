package main

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"squall/internal/engine"
	"squall/internal/image"
	"squall/internal/mesh"
)

// bring makes ready what the runs' environment needs: programs, or a cluster. Whether the runs may touch a cluster is judged before
// anything is sent to it.
func (a *app) bring(ctx context.Context, f *runFlags, plans []*engine.Compiled, config *engine.Config) (err error) {
	if flag := f.clusterFlags.given(); flag != "" && f.env != envCluster {
		return invalid(fmt.Errorf("%s is for --env %s alone, and these runs are on %s", flag, envCluster, f.env))
	}
	if f.env == envLocal {
		if config.Tools, err = a.tools(ctx, f.toolFlags); err != nil {
			return environment(err)
		}
		return nil
	}
	if f.jobs > 1 {
		return invalid(errors.New("runs on one cluster are one after another: leave --jobs out"))
	}
	if f.env == envCluster {
		config.Cluster, err = f.clusterFlags.cluster(f.images, plans)
		return err
	}
	if config.Cluster, err = a.kindCluster(ctx, f.images); err != nil {
		return environment(err)
	}
	return nil
}

// byName are what stands for images, by the images' names.
func byName(images pairs) map[string]string {
	out := map[string]string{}
	for ref, to := range images {
		out[image.Name(ref)] = to
	}
	return out
}

// kindCluster is the one in Docker, made ready.
func (a *app) kindCluster(ctx context.Context, images pairs) (*engine.Cluster, error) {
	cluster, err := a.ensureKind(ctx, &kindFlags{name: clusterName})
	if err != nil {
		return nil, err
	}
	target, access, err := mesh.Look(cluster.Kubeconfig, cluster.Context)
	if err != nil {
		return nil, err
	}
	maps.Copy(cluster.Images, byName(images))
	return &engine.Cluster{Target: target, Access: access, Images: cluster.Images}, nil
}
