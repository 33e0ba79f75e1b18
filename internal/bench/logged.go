package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
	"squall/internal/traffic"
	"squall/internal/traffic/collect"
)

// loggedRatios are those of a mesh whose access logs have all that records are made of, to the same mesh when they have only what Squall
// reads of them anyway. Either is captured, as that of a run's phase is.
func loggedRatios(ctx context.Context, of bedOf, c *collect.Collector, runs int) (out []float64, err error) {
	of.logFields = collect.LogFormat()
	b, err := up(ctx, of)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.env.Down(context.WithoutCancel(ctx))) }()
	s := &switched{bed: b, off: ordinaryLog(b.plan.Spec.Namespace)}
	return s.ratios(ctx, runs, func(ctx context.Context, phase string, on bool, qps float64) (float64, error) {
		p99, err := b.captured(ctx, phase, qps)
		if err != nil {
			return 0, err
		}
		format := mesh.AccessLogFormat()
		if on {
			format = mesh.WithFields(format, collect.LogFormat())
			err = b.read(ctx, c, phase)
		}
		return p99, errors.Join(err, b.formatted(phase, len(format)))
	})
}

// ordinaryLog has the proxies of a namespace write, in the place of the mesh's access log, that of a mesh without records. To istiod, a
// Telemetry that disables logs and names no provider leaves the mesh's own log where it is.
func ordinaryLog(namespace string) []*unstructured.Unstructured {
	line := map[string]any{"access_log": []any{map[string]any{"name": "envoy.access_loggers.file", "typed_config": map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/stdout",
		"log_format": map[string]any{"json_format": mesh.AccessLogFormat()},
	}}}}
	return []*unstructured.Unstructured{
		mesh.Instrument("ordinary-log", namespace, nil, map[string]map[string]any{"SIDECAR_INBOUND": line, "SIDECAR_OUTBOUND": line}),
		mesh.Literal(map[string]any{
			"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": map[string]any{"name": "ordinary-log", "namespace": namespace},
			"spec": map[string]any{"accessLogging": []any{map[string]any{"providers": []any{map[string]any{"name": "envoy"}}, "disabled": true}}},
		}),
	}
}

// captured is the P99 of a load of which the access logs are kept.
func (b *bed) captured(ctx context.Context, phase string, qps float64) (p99 float64, err error) {
	c, err := b.env.CaptureAccess(func(pod string) (mesh.LineWriter, error) { return b.rec.AccessWriter(phase, pod) })
	if err != nil {
		return 0, err
	}
	_, p99, err = b.load(ctx, qps)
	return p99, errors.Join(err, c.Stop())
}

// read makes records of what the proxies logged. That there are some of each is a condition.
func (b *bed) read(ctx context.Context, c *collect.Collector, phase string) error {
	for _, p := range b.proxies {
		before := c.Account().Received
		log, err := b.rec.OpenAccess(phase, p.Pod)
		if err != nil {
			return err
		}
		self := traffic.Workload{Namespace: p.Namespace, Name: p.Workload, Pod: p.Pod}
		if err := errors.Join(c.ReadLog(ctx, self, p.IP, p.Gateway, log), log.Close()); err != nil {
			return err
		}
		if c.Account().Received == before {
			return fmt.Errorf("no records came of the log of %s", p.Pod)
		}
	}
	_, err := c.Flushed(ctx)
	return err
}

// formatted fails unless each proxy's entries have so many fields. Those of the warm-up may come by connections from before a change.
func (b *bed) formatted(phase string, fields int) error {
	for _, p := range b.proxies {
		log, err := b.rec.OpenAccess(phase, p.Pod)
		if err != nil {
			return err
		}
		d, n := json.NewDecoder(log), 0
		for ; err == nil; n++ {
			var line map[string]json.RawMessage
			if err = d.Decode(&line); err == nil && n >= warmUp && len(line) != fields {
				err = fmt.Errorf("entry %d has %d fields and not %d", n, len(line), fields)
			}
		}
		if errors.Is(err, io.EOF) && n > warmUp {
			err = nil
		}
		if err := errors.Join(err, log.Close()); err != nil {
			return fmt.Errorf("the log of %s: %w", p.Pod, err)
		}
	}
	return nil
}
