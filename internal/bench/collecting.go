package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/load"
	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/record"
	"squall/internal/toolchain"
	"squall/internal/traffic/collect"
)

// collectingSeconds is how long each load is; what is at most one in a hundred of its requests is to be of many.
const collectingSeconds = 4

// warmUp is how many calls come first: a proxy whose listeners were just replaced is slower for a while.
const warmUp = 3000

// collectingFigures measures what it adds to the time of requests that their records are kept in SQLite: the same load, at half of what the
// mesh can do, with records and without, in turns. The proxies tell a collector while they serve, or their logs are read when the load is
// over.
func collectingFigures(ctx context.Context, root string, tools toolchain.Tools, o options) (figures []Figure, err error) {
	dir, err := os.MkdirTemp("", "squall-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	of := bedOf{root: root, scenario: "circuit", port: "8000", tools: tools}
	options := collect.Options{Run: benchRun, File: filepath.Join(dir, "records.db")}
	var sent, logged []float64
	err = collecting(ctx, options, func(c *collect.Collector) error {
		of.dir = filepath.Join(dir, "sent")
		sent, err = sentRatios(ctx, of, c, o.runs)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = collecting(ctx, options, func(c *collect.Collector) error {
		of.dir = filepath.Join(dir, "logged")
		logged, err = loggedRatios(ctx, of, c, o.runs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return []Figure{
		figure("P99 with records collected meanwhile to without, at half load", "ratio", sent, 1.05, false),
		figure("P99 with records made of access logs to without, at half load", "ratio", logged, 1.05, false),
	}, nil
}

// sentRatios are those of a mesh that sends to the collector.
func sentRatios(ctx context.Context, of bedOf, c *collect.Collector, runs int) (out []float64, err error) {
	s := &switched{}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	of.instruments = func(ctx context.Context, env *local.Mesh) ([]*unstructured.Unstructured, error) {
		l, objects, err := env.Records(ctx, nil)
		if err == nil {
			s.on = objects
			go func() { ended <- c.Serve(serving, l) }()
		}
		return objects, err
	}
	if s.bed, err = up(ctx, of); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, s.bed.env.Down(context.WithoutCancel(ctx)))
		stop()
		err = errors.Join(err, <-ended)
	}()
	return s.ratios(ctx, runs, func(ctx context.Context, _ string, on bool, qps float64) (float64, error) {
		before := c.Account().Received
		_, p99, err := s.bed.load(ctx, qps)
		if err != nil {
			return 0, err
		}
		if _, err := c.Flushed(ctx); err != nil {
			return 0, err
		}
		if came := c.Account().Received > before; came != on {
			return 0, fmt.Errorf("records came: %t, and it should be the opposite", came)
		}
		return p99, nil
	})
}

// switched is a mesh whose proxies tell of interface traffic or do not, each by objects that the other state does not have.
type switched struct {
	bed     *bed
	on, off []*unstructured.Unstructured
	times   int
}

// ratios are of the P99 in the state on to that in the other, of n pairs of loads at half of what the mesh can do. One call of p99 is one
// load, which has a name of its own.
func (s *switched) ratios(ctx context.Context, n int, p99 func(ctx context.Context, phase string, on bool, qps float64) (float64, error)) ([]float64, error) {
	most, _, err := s.bed.load(ctx, 0)
	if err != nil {
		return nil, err
	}
	var out []float64
	for i := range n {
		var pair [2]float64
		for turn := range 2 {
			on := (turn + i) % 2 // each is first as often as the other
			if err := s.turn(ctx, on == 1); err != nil {
				return nil, err
			}
			phase := fmt.Sprintf("pair-%d-%d", i, turn)
			if pair[on], err = p99(ctx, phase, on == 1, most/2); err != nil {
				return nil, fmt.Errorf("%s: %w", phase, err)
			}
		}
		out = append(out, pair[1]/pair[0])
	}
	return out, nil
}

// turn brings the proxies to a state, and waits until all of them are in it.
func (s *switched) turn(ctx context.Context, on bool) error {
	come, leave := s.off, s.on
	if on {
		come, leave = s.on, s.off
	}
	for _, u := range leave {
		if err := s.bed.objects.Delete(ctx, mesh.RefOf(u)); err != nil {
			return err
		}
	}
	for _, u := range come {
		if _, err := s.bed.objects.Apply(ctx, u.DeepCopy()); err != nil {
			return err
		}
	}
	s.times++
	filter, mark := mesh.MarkFilter(fmt.Sprintf("bench-records-%d", s.times))
	since := time.Now()
	if _, err := s.bed.objects.Apply(ctx, filter); err != nil {
		return err
	}
	_, err := mesh.AwaitLive(ctx, s.bed.env, s.bed.proxies, []mesh.Mark{mark}, since)
	return err
}

// latencies keeps those of a load's requests.
type latencies struct {
	mu   sync.Mutex
	list []float64
}

// Request takes one.
func (l *latencies) Request(r record.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, r.Latency)
}

// load calls the mesh for some seconds, as fast as it can for a rate of 0, and returns the rate that was reached and the P99 in seconds.
func (b *bed) load(ctx context.Context, qps float64) (reached, p99 float64, err error) {
	seen := &latencies{}
	got, err := load.Run(ctx, load.Spec{
		URL: "http://httpbin:8000/get", Dial: b.call, Connections: rateConnections, QPS: qps, Duration: collectingSeconds * time.Second, WarmUp: warmUp, RequestID: true, Seed: 1,
	}, load.Output{Sink: seen})
	if err != nil {
		return 0, 0, err
	}
	if len(seen.list) == 0 {
		return 0, 0, errors.New("the load made no requests")
	}
	slices.Sort(seen.list)
	return got.QPS, seen.list[len(seen.list)*99/100], nil
}
