package local

import (
	"fmt"

	"squall/internal/proc"
	"squall/internal/record"
)

// Hold stops a pod's program or proxy.
func (m *Mesh) Hold(podName, part string) error {
	p, err := m.process(podName, part)
	if err != nil {
		return err
	}
	return p.Pause()
}

// Release lets a pod's program or proxy go on.
func (m *Mesh) Release(podName, part string) error {
	p, err := m.process(podName, part)
	if err != nil {
		return nil //nolint:nilerr // what is gone is not held
	}
	return p.Resume()
}

// Held reports whether a pod's program or proxy is stopped.
func (m *Mesh) Held(podName, part string) (bool, error) {
	p, err := m.process(podName, part)
	if err != nil {
		return false, err
	}
	return p.Paused(), nil
}

// process is a pod's program or proxy.
func (m *Mesh) process(podName, part string) (*proc.Process, error) {
	p, err := m.pod(podName)
	if err != nil {
		return nil, err
	}
	process := p.app.Load()
	if part == record.Sidecar {
		process = p.envoy.Load()
	}
	if process == nil {
		return nil, fmt.Errorf("pod %s has no process of its own for its %s", podName, part)
	}
	return process, nil
}
