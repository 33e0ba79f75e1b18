//go:build unix && !linux

package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// startOf is the second in which a process started.
func startOf(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output() //nolint:noctx // answers at once
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", os.ErrProcessDone
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// Within cannot tell on this system.
func Within(dir string) ([]int, error) {
	return nil, fmt.Errorf("which processes work in %s cannot be told on this system", dir)
}
