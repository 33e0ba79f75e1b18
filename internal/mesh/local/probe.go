package local

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// awaitServing waits until the container's readiness probe succeeds; without a probe, until each container port accepts
// connections. The error of a program that died or never got there has the end of its log.
func (m *Mesh) awaitServing(ctx context.Context, p *pod) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	c := p.object.Spec.Containers[0]
	for {
		last := m.probe(ctx, p, c)
		if last == nil {
			return nil
		}
		select {
		case <-p.app.Done():
			if err := p.app.Err(); err != nil {
				return err
			}
			return fmt.Errorf("%s ended before it was ready", p.app.Name())
		case <-ctx.Done():
			return m.notReady(p, last)
		case <-tick.C:
		}
	}
}

func (m *Mesh) notReady(p *pod, last error) error {
	logs, err := p.app.LogTail(10)
	if err != nil {
		logs = err.Error()
	}
	if logs == "" {
		logs = "(empty)"
	}
	return fmt.Errorf("%s is not ready: %w; the end of its log:\n%s", p.app.Name(), last, logs)
}

func (m *Mesh) probe(ctx context.Context, p *pod, c corev1.Container) error {
	if c.ReadinessProbe != nil && c.ReadinessProbe.HTTPGet != nil {
		get := c.ReadinessProbe.HTTPGet
		port := get.Port.IntVal
		for _, cp := range c.Ports {
			if get.Port.StrVal != "" && cp.Name == get.Port.StrVal {
				port = cp.ContainerPort
			}
		}
		return m.get200(ctx, fmt.Sprintf("http://%s:%d%s", p.ip, p.port(port), get.Path))
	}
	for _, cp := range c.Ports {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(p.ip.String(), strconv.Itoa(p.port(cp.ContainerPort))))
		if err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}
