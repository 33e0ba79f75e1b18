package toolchain

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Source is the folder of the source of a module that the pinned istiod is built of, with all its files, in Go's module cache, where that
// build puts it: istio.io/istio itself, or one that it uses.
func Source(ctx context.Context, root, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = filepath.Join(root, "tools", "istio")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("source of %s: %s: %w", module, cmd, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		return "", fmt.Errorf("source of %s: it is not in Go's module cache: squall builds istiod from it when a mesh is first needed", module)
	}
	return dir, nil
}
