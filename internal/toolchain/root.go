package toolchain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// FindRoot returns the project's folder: start, or the nearest folder above it, that holds go.mod of the module squall and
// tools/istio.
func FindRoot(start string) (string, error) {
	dir, err := filepath.Abs(start)
	if err != nil {
		return "", fmt.Errorf("find the project's folder: %w", err)
	}
	module := regexp.MustCompile(`(?m)^module squall$`)
	for at := dir; ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the project's folder: %w", err)
		}
		if module.Match(text) {
			if _, err := os.Stat(filepath.Join(at, "tools", "istio", "go.mod")); err == nil {
				return at, nil
			}
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no folder of the project at or above %s: run squall in a checkout of it", dir)
		}
	}
}
