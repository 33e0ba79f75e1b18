package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/load"
	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/record"
	"squall/internal/run"
	"squall/internal/scenario"
	"squall/internal/toolchain"
)

// bedOf says which scenario's fixtures a bed has, and at which port of the load generator's proxy they are called.
type bedOf struct {
	root, dir, scenario, port string
	tools                     toolchain.Tools
	logFields                 map[string]string // what the proxies log beside what they always do
	// instruments makes objects that are there before the fixtures; nil is none.
	instruments func(ctx context.Context, env *local.Mesh) ([]*unstructured.Unstructured, error)
}

// bed is a live mesh with the fixtures of a scenario.
type bed struct {
	env     *local.Mesh
	objects *mesh.Objects
	proxies []record.Proxy
	plan    *plan.Plan
	rec     *record.Run
	call    string // the load generator's proxy, ip:port
	tools   toolchain.Tools
}

// meshFigures measures on one live mesh: change to live, achieved rate against Fortio's, memory.
func meshFigures(ctx context.Context, root string, tools toolchain.Tools, o options) (figures []Figure, err error) {
	dir, err := os.MkdirTemp("", "squall-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, err := up(ctx, bedOf{root: root, dir: dir, scenario: "circuit", port: "8000", tools: tools})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.env.Down(context.WithoutCancel(ctx))) }()
	memory, err := privateMemory()
	if err != nil {
		return nil, err
	}
	live, err := b.changes(ctx, 4*o.runs)
	if err != nil {
		return nil, err
	}
	ratio, err := b.rates(ctx, o.runs)
	if err != nil {
		return nil, err
	}
	return []Figure{
		figure("changed route to live on all proxies", "ms", live, 10, false),
		figure("achieved rate with full records to fortio load's", "ratio", ratio, 0.95, true),
		figure("private memory of a two-service mesh", "MB", []float64{memory}, 150, false),
	}, nil
}

func up(ctx context.Context, of bedOf) (*bed, error) {
	s, err := scenario.Load(filepath.Join(of.root, "scenarios", of.scenario+".yaml"), scenario.Options{})
	if err != nil {
		return nil, err
	}
	b := &bed{tools: of.tools}
	b.plan, err = plan.Build(s, plan.Options{FixturesDir: filepath.Join(of.root, "fixtures"), Marker: "squall-bench", LoadImage: local.LoadImage})
	if err != nil {
		return nil, err
	}
	if b.rec, err = record.Create(of.dir, "bench"); err != nil {
		return nil, err
	}
	if b.env, err = local.New(local.Options{Tools: of.tools, Dir: filepath.Join(of.dir, "mesh"), Log: b.rec.LogPath, LogFields: of.logFields}); err != nil {
		return nil, err
	}
	if err := b.deploy(ctx, of); err != nil {
		return nil, errors.Join(err, b.env.Down(context.WithoutCancel(ctx)))
	}
	return b, nil
}

func (b *bed) deploy(ctx context.Context, of bedOf) (err error) {
	with := run.With{}
	if of.instruments != nil {
		with.Instruments = func(ctx context.Context) ([]*unstructured.Unstructured, error) { return of.instruments(ctx, b.env) }
	}
	if b.objects, b.proxies, err = run.Deploy(ctx, b.env, b.plan, with); err != nil {
		return err
	}
	for _, p := range b.proxies {
		if p.Client {
			ip, err := b.env.CallAddress(p.Pod)
			if err != nil {
				return err
			}
			b.call = net.JoinHostPort(ip, of.port)
		}
	}
	return nil
}

// changes rewrites a route n times and measures until its mark is live on all proxies.
func (b *bed) changes(ctx context.Context, n int) ([]float64, error) {
	var out []float64
	for i := range n {
		name := fmt.Sprintf("bench-%d", i)
		vs := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
			"metadata": map[string]any{"name": "httpbin", "namespace": b.plan.Spec.Namespace},
			"spec": map[string]any{"hosts": []any{"httpbin"}, "http": []any{map[string]any{
				"name": name, "route": []any{map[string]any{"destination": map[string]any{"host": "httpbin"}}},
			}}},
		}}
		start := time.Now()
		if _, err := b.objects.Apply(ctx, vs); err != nil {
			return nil, err
		}
		if _, err := mesh.AwaitLive(ctx, b.env, b.proxies, []mesh.Mark{{Kind: mesh.MarkRoute, Name: name}}, start); err != nil {
			return nil, err
		}
		out = append(out, milliseconds(time.Since(start)))
	}
	return out, nil
}

// rates drives the same load with Squall, with all its records, and with Fortio's own command, in turns.
func (b *bed) rates(ctx context.Context, n int) ([]float64, error) {
	var out []float64
	for i := range n + 1 {
		own, err := b.squallRate(ctx, fmt.Sprintf("rate-%d", i))
		if err != nil {
			return nil, err
		}
		other, err := b.fortioRate(ctx)
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first warms both up
			out = append(out, own/other)
		}
	}
	return out, nil
}

const rateRequests, rateConnections = 4000, 4

func (b *bed) squallRate(ctx context.Context, phase string) (float64, error) {
	w, err := b.rec.RequestWriter(phase)
	if err != nil {
		return 0, err
	}
	capture, err := b.env.CaptureAccess(func(pod string) (mesh.LineWriter, error) { return b.rec.AccessWriter(phase, pod) })
	if err != nil {
		return 0, err
	}
	got, err := load.Run(ctx, load.Spec{
		URL: "http://httpbin:8000/get", Dial: b.call, Connections: rateConnections, Requests: rateRequests, RequestID: true, Seed: 1,
	}, load.Output{Sink: w})
	return got.QPS, errors.Join(err, capture.Stop(), w.Close())
}

func (b *bed) fortioRate(ctx context.Context) (float64, error) {
	cmd := exec.CommandContext(ctx, b.tools.Fortio, "load", "-quiet", "-json", "-", "-qps", "0", "-c", fmt.Sprint(rateConnections),
		"-n", fmt.Sprint(rateRequests), "-H", "Host: httpbin:8000", "http://"+b.call+"/get")
	body, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", cmd, err)
	}
	var answer struct{ ActualQPS float64 }
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("fortio's answer: %w", err)
	}
	return answer.ActualQPS, nil
}
