package toolchain

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// IstioSource is the folder of the source of the pinned Istio, with its samples, in Go's module cache, where the build of istiod
// puts it.
func IstioSource(ctx context.Context, root string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio")
	cmd.Dir = filepath.Join(root, "tools", "istio")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("source of Istio: %s: %w", cmd, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		return "", errors.New("source of Istio: it is not in Go's module cache: squall builds istiod from it when a mesh is first needed")
	}
	return dir, nil
}
