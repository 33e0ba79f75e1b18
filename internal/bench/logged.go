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

// loggedRatios are of the P99 of a mesh whose access logs are made records of to that of one whose logs are not. Each is of two new meshes,
// as one may by chance be faster than its like for as long as it lives.
func loggedRatios(ctx context.Context, of bedOf, runs int) (out []float64, err error) {
	err = collecting(ctx, collect.Options{Run: benchRun, File: filepath.Join(of.dir, "logged.db")}, func(c *collect.Collector) error {
		for i := range runs {
			its := of
			its.dir = filepath.Join(of.dir, fmt.Sprint("pair", i))
			ratio, err := loggedRatio(ctx, its, c, i%2)
			if err != nil {
				return err
			}
			out = append(out, ratio)
		}
		return nil
	})
	return out, err
}

// loggedRatio is one; first is 1 for the mesh whose logs are read.
func loggedRatio(ctx context.Context, of bedOf, c *collect.Collector, first int) (ratio float64, err error) {
	var beds [2]*bed
	for i := range beds {
		on, its := (first+i)%2, of
		its.dir = filepath.Join(of.dir, []string{"plain", "logged"}[on])
		if on == 1 {
			its.logFields = collect.LogFormat()
		}
		if beds[on], err = up(ctx, its); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, beds[on].env.Down(context.WithoutCancel(ctx))) }()
	}
	most, _, err := beds[first].load(ctx, 0)
	if err != nil {
		return 0, err
	}
	var p99 [2]float64
	for i := range beds {
		on := (first + i + 1) % 2
		if p99[on], err = beds[on].captured(ctx, benchRun, most/2); err != nil {
			return 0, err
		}
	}
	return p99[1] / p99[0], beds[1].read(ctx, c, benchRun)
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
