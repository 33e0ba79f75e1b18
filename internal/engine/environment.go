package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"squall/internal/image"
	"squall/internal/mesh"
	"squall/internal/mesh/kube"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/record"
)

// The environments.
const (
	Local     = "local"
	Kind      = "kind"
	OnCluster = "cluster"
)

// expiryMargin is for a run's rollback and recovery, which come on top of its timeout.
const expiryMargin = 10 * time.Minute

// isLocal takes no environment for the local one.
func isLocal(env string) bool { return env == "" || env == Local }

// Cluster is the one of an environment on Kubernetes.
type Cluster struct {
	Target mesh.Target
	Access mesh.Access
	// Images are what stands for images of the fixtures, by image.Name.
	Images map[string]string
	// TTL is how long after its start a run counts as dead; 0 is its timeout and a margin.
	TTL time.Duration
}

// environment makes the mesh of a run, and the folder of its processes, "" when they are not on this machine.
func (c Config) environment(k *Compiled, rec *record.Run) (mesh.Env, string, error) {
	if !isLocal(c.Env) {
		if c.Cluster == nil {
			return nil, "", fmt.Errorf("no cluster is given for the environment %s", c.Env)
		}
		env, err := k.cluster(c.Cluster, c.logFields(k))
		if err != nil {
			return nil, "", err
		}
		return env, "", nil
	}
	dir, err := os.MkdirTemp("", "squall-")
	if err != nil {
		return nil, "", fmt.Errorf("folder of the mesh: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // so that processes in it can be found by it
		return nil, "", fmt.Errorf("folder of the mesh: %w", err)
	}
	env, err := local.New(local.Options{Tools: c.Tools, Dir: dir, Log: rec.LogPath, Images: k.images, GatewayAPI: k.Plan.UsesGatewayAPI(), LogFields: c.logFields(k)})
	if err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(dir))
	}
	return env, dir, nil
}

// cluster is the environment of a run on a cluster, whose proxies log some fields more. Nothing is sent yet.
func (k *Compiled) cluster(c *Cluster, logFields map[string]string) (*kube.Mesh, error) {
	ttl := c.TTL
	if ttl == 0 {
		ttl = time.Duration(k.Scenario.Spec.Timeout) + expiryMargin
	}
	return kube.New(kube.Options{
		Name: k.env, Config: c.Access, Namespaces: k.Plan.ProxyNamespaces(), RunID: k.RunID, Expires: time.Now().Add(ttl),
		FineTimes: k.Plan.Generator == plan.Fortio, LogFields: logFields,
		Actions: k.Plan.ActionKinds(), Objects: k.Plan.Objects(), Image: func(ref string) string { return image.Resolve(c.Images, ref) },
	})
}
