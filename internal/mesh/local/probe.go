package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"squall/internal/proc"
)

const (
	startPoll = 2 * time.Millisecond   // between probes of a program that starts
	slowPoll  = 50 * time.Millisecond  // between probes of one that takes long
	noteEvery = 250 * time.Millisecond // between notes in the Pod's status about a program that does not get ready
)

// awaitServing waits until the container's readiness probe succeeds; without a probe, until each container port accepts
// connections. While it does not, the Pod's status says why, with the end of the program's log. A program that ends is an error.
func (k *kubelet) awaitServing(ctx context.Context, p *pod, app *proc.Process) error {
	tick, note := time.NewTicker(startPoll), time.NewTicker(noteEvery)
	defer tick.Stop()
	defer note.Stop()
	noted := ""
	for {
		last := k.mesh.probe(ctx, p)
		if last == nil {
			return nil
		}
		select {
		case <-app.Done():
			return ended(app)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-note.C:
			tick.Reset(slowPoll)
			if message := notReady(app, last).Error(); message != noted {
				noted = message
				k.tell(ctx, func(ctx context.Context) { k.note(ctx, p, message) })
			}
		case <-tick.C:
		}
	}
}

// watchReadiness takes a pod off the endpoints when its readiness probe fails, and puts it back, until ctx ends.
func (k *kubelet) watchReadiness(ctx context.Context, p *pod) {
	probe := p.container().ReadinessProbe
	if probe == nil || p.program.Builtin {
		return
	}
	tick := time.NewTicker(seconds(probe.PeriodSeconds, 10))
	defer tick.Stop()
	ready, run := true, int32(0) // run is how many probes in a row said otherwise
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		last := k.mesh.probe(ctx, p)
		if (last == nil) == ready {
			run = 0
			continue
		}
		run++
		if ready && run < atLeast(probe.FailureThreshold, 3) || !ready && run < atLeast(probe.SuccessThreshold, 1) {
			continue
		}
		ready, run = !ready, 0
		k.tell(ctx, func(ctx context.Context) { k.turn(ctx, p, last) })
	}
}

// turn takes note of a readiness probe that says otherwise than before; last is why the pod is not ready.
func (k *kubelet) turn(ctx context.Context, p *pod, last error) {
	message := ""
	if last != nil {
		message = notReady(p.app.Load(), last).Error()
	}
	p.ready = last == nil && !p.leaving
	k.note(ctx, p, message)
}

func seconds(n, otherwise int32) time.Duration {
	return time.Duration(atLeast(n, otherwise)) * time.Second
}

// atLeast is n, or what Kubernetes takes when it is not given.
func atLeast(n, otherwise int32) int32 {
	if n > 0 {
		return n
	}
	return otherwise
}

func ended(p *proc.Process) error {
	if err := p.Err(); err != nil {
		return err
	}
	return fmt.Errorf("%s ended before it was ready", p.Name())
}

func notReady(app *proc.Process, last error) error {
	logs, err := app.LogTail(10)
	if err != nil {
		logs = err.Error()
	}
	if logs == "" {
		logs = "(empty)"
	}
	return fmt.Errorf("%s is not ready: %w; the end of its log:\n%s", app.Name(), last, logs)
}

// probePorts are the ports that a probe names, by the path of the field.
func probePorts(p *corev1.Probe) map[string]intstr.IntOrString {
	out := map[string]intstr.IntOrString{}
	if p.HTTPGet != nil {
		out["httpGet.port"] = p.HTTPGet.Port
	}
	if p.TCPSocket != nil {
		out["tcpSocket.port"] = p.TCPSocket.Port
	}
	return out
}

// probe asks the program once whether it is ready.
func (m *Mesh) probe(ctx context.Context, p *pod) error {
	c := p.container()
	r := c.ReadinessProbe
	if r == nil {
		for _, cp := range c.Ports {
			if err := connect(ctx, p.address(cp.ContainerPort)); err != nil {
				return err
			}
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, seconds(r.TimeoutSeconds, 1))
	defer cancel()
	switch {
	case r.HTTPGet != nil:
		port, _ := containerPort(c, r.HTTPGet.Port)
		return m.probeHTTP(ctx, "http://"+p.address(port), r.HTTPGet)
	case r.TCPSocket != nil:
		port, _ := containerPort(c, r.TCPSocket.Port)
		return connect(ctx, p.address(port))
	}
	return fmt.Errorf("the local mesh knows httpGet and tcpSocket probes only")
}

// probeHTTP succeeds for an answer from 200 to 399, as on Kubernetes.
func (m *Mesh) probeHTTP(ctx context.Context, base string, get *corev1.HTTPGetAction) error {
	url := base + "/" + strings.TrimPrefix(get.Path, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for _, h := range get.HTTPHeaders {
		if strings.EqualFold(h.Name, "host") {
			req.Host = h.Value
		}
		req.Header.Add(h.Name, h.Value)
	}
	resp, err := m.probes.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("readiness probe: %s answers %s", url, resp.Status)
	}
	return nil
}

func connect(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
