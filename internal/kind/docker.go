package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const dockerWithin = 10 * time.Second

// label is what kind marks the containers of a cluster with.
const label = "io.x-k8s.kind.cluster"

// container is a node.
type container struct {
	Name    string `json:"name"`
	Running bool   `json:"running"`
}

// dockerVersion asks the daemon. The error says what is missing and what to do.
func dockerVersion(ctx context.Context) (string, error) {
	text, err := docker(ctx, "version", "--format", "{{.Server.Version}}")
	return strings.TrimSpace(text), err
}

// checkDocker fails when there is no daemon to talk to.
func checkDocker(ctx context.Context) error {
	_, err := dockerVersion(ctx)
	return err
}

// docker asks the daemon something that it answers at once.
func docker(ctx context.Context, args ...string) (string, error) {
	const what = "ask Docker"
	path, err := exec.LookPath("docker")
	if err != nil {
		return "", &Error{what, fixDocker, errors.New("docker is not in PATH")}
	}
	asked, cancel := context.WithTimeout(ctx, dockerWithin)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(asked, path, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errs, time.Second
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", what, context.Cause(ctx))
	case asked.Err() != nil:
		return "", &Error{what, "see whether the daemon hangs: docker version.", fmt.Errorf("no answer for %v", dockerWithin)}
	case err != nil:
		return "", explain(what, fmt.Errorf("docker %s: %w", args[0], err), errs.String())
	}
	return out.String(), nil
}

// containers are a cluster's nodes, by name.
func containers(ctx context.Context, cluster string) ([]container, error) {
	text, err := docker(ctx, "ps", "--all", "--no-trunc", "--filter", "label="+label+"="+cluster,
		"--format", `{"name":"{{.Names}}","running":{{if eq .State "running"}}true{{else}}false{{end}}}`)
	if err != nil {
		return nil, err
	}
	out := []container{}
	for line := range strings.Lines(text) {
		var n container
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			return nil, fmt.Errorf("nodes of the cluster %s: docker printed %q: %w", cluster, line, err)
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b container) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// startTimes says when nodes were started last. It is the nodes' own clock, with which their pods' times can be compared.
func startTimes(ctx context.Context, nodes []string) (map[string]time.Time, error) {
	args := append([]string{"inspect", "--type", "container", "--format", `{"name":{{json .Name}},"started":{{json .State.StartedAt}}}`}, nodes...)
	text, err := docker(ctx, args...)
	if err != nil {
		return nil, err
	}
	out := map[string]time.Time{}
	for line := range strings.Lines(text) {
		var n struct {
			Name    string
			Started time.Time
		}
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			return nil, fmt.Errorf("start of the nodes %s: docker printed %q: %w", strings.Join(nodes, ", "), line, err)
		}
		out[strings.TrimPrefix(n.Name, "/")] = n.Started
	}
	return out, nil
}
