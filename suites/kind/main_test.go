//go:build kind

// Package kind runs every scenario on a Kubernetes cluster in Docker and once more on the local mesh, and compares what they came to.
// make test-kind runs it; -args -feature circuit runs one scenario, -args -labels suite=gateway those with the label.
package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	"squall/internal/engine"
	"squall/internal/image"
	squallkind "squall/internal/kind"
	"squall/internal/mesh"
	"squall/internal/toolchain"
)

// suite is what all features share.
type suite struct {
	env    env.Environment
	root   string // of the project
	tools  toolchain.Tools
	kind   *engine.Cluster
	agreed table
}

var kind suite

func TestMain(m *testing.M) {
	cfg, err := envconf.NewFromFlags()
	if err == nil {
		kind.root, err = toolchain.FindRoot(".")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	kind.env = env.NewWithConfig(cfg)
	kind.env.Setup(kind.up)
	kind.env.Finish(kind.write)
	os.Exit(kind.env.Run(m))
}

// up makes the cluster ready, as 'squall kind up' does, and the programs of the local mesh.
func (s *suite) up(ctx context.Context, cfg *envconf.Config) (context.Context, error) {
	up := exec.CommandContext(ctx, filepath.Join(s.root, "bin", "squall"), "kind", "up", "-o", "json")
	up.Dir, up.Stderr = s.root, os.Stderr
	out, err := up.Output()
	if err != nil {
		return ctx, fmt.Errorf("%s (make build makes it): %w", up, err)
	}
	var c squallkind.Cluster
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&c); err != nil {
		return ctx, fmt.Errorf("%s: %w", up, err)
	}
	cfg.WithKubeconfigFile(c.Kubeconfig).WithKubeContext(c.Context)
	target, access, err := mesh.Look(c.Kubeconfig, c.Context)
	if err != nil {
		return ctx, err
	}
	images, err := image.ParseMapping(os.Getenv("SQUALL_IMAGES"))
	if err != nil {
		return ctx, fmt.Errorf("SQUALL_IMAGES: %w", err)
	}
	maps.Copy(c.Images, images)
	s.kind = &engine.Cluster{Target: target, Access: access, Images: c.Images}
	s.tools, err = toolchain.Ensure(ctx, toolchain.Options{Root: s.root, Progress: toolchain.Lines(os.Stderr)})
	return ctx, err
}
