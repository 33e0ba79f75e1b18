package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"squall/internal/mesh"
	"squall/internal/traffic"
	"squall/internal/traffic/collect"
)

// loggedRatios are of the P99 of a mesh whose access logs are made records of to that of one whose logs are not.
func loggedRatios(ctx context.Context, of bedOf, runs int) (out []float64, err error) {
	var beds [2]*bed
	for on := range beds {
		its := of
		its.dir = filepath.Join(of.dir, []string{"plain", "logged"}[on])
		if on == 1 {
			its.logFields = collect.LogFormat()
		}
		if beds[on], err = up(ctx, its); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, beds[on].env.Down(context.WithoutCancel(ctx))) }()
	}
	most, _, err := beds[0].load(ctx, 0)
	if err != nil {
		return nil, err
	}
	err = collecting(ctx, collect.Options{Run: benchRun, File: filepath.Join(of.dir, "logged.db")}, func(c *collect.Collector) error {
		for i := range runs {
			var p99 [2]float64
			for turn := range beds {
				on := (turn + i) % 2 // each is first as often as the other
				phase := fmt.Sprintf("load-%d", i)
				if p99[on], err = beds[on].captured(ctx, phase, most/2); err != nil {
					return err
				}
				if on == 1 {
					if err := beds[on].read(ctx, c, phase); err != nil {
						return err
					}
				}
			}
			out = append(out, p99[1]/p99[0])
		}
		return nil
	})
	return out, err
}

// captured is the P99 of a load of which the access logs are kept, as those of a run's phases are.
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
			return fmt.Errorf("%s: no records came of the log of %s", phase, p.Pod)
		}
	}
	_, err := c.Flushed(ctx)
	return err
}
