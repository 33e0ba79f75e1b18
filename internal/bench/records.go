package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/elasticsearch"
	"squall/internal/load"
	"squall/internal/mesh/local"
	"squall/internal/toolchain"
	"squall/internal/traffic/als/replay"
	"squall/internal/traffic/collect"
	"squall/internal/traffic/elastic"
	"squall/internal/traffic/page"
	"squall/internal/traffic/sqlite"
)

const (
	taped     = 2000    // access log entries that are recorded of a real mesh
	toElastic = 500_000 // records; more only tell the same
	benchRun  = "bench"
)

// recordFigures measures the collector of interface traffic with what the proxies of Bookinfo say of real requests, played again and again:
// how many records a second the stores have for good, none of them lost; whether memory grows with their number; and how long a page takes.
func recordFigures(ctx context.Context, root string, tools toolchain.Tools, o options) (figures []Figure, err error) {
	dir, err := os.MkdirTemp("", "squall-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tape, err := taping(ctx, bedOf{root: root, dir: filepath.Join(dir, "mesh"), scenario: "bookinfo/round-robin", port: "9080", tools: tools})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "records.db")
	fmt.Fprintf(os.Stderr, "%d records into SQLite: about %.0f s, and %.1f GB in %s\n", o.records, float64(o.records)/50_000, float64(o.records)*2e-7, dir)
	figures, err = intoSQLite(ctx, tape, file, o.records)
	if err != nil {
		return nil, err
	}
	pages, err := pageFigures(ctx, file, o.runs)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%d records into Elasticsearch: about %d s\n", toElastic, toElastic/10_000)
	rate, err := intoElastic(ctx, tape, min(toElastic, o.records))
	if err != nil {
		return nil, err
	}
	return append(append(figures, pages...), rate), nil
}

// taping records what the proxies of Bookinfo say of requests for its page.
func taping(ctx context.Context, of bedOf) (t *replay.Tape, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("recording access logs of Bookinfo took longer than two minutes"))
	defer cancel()
	t = replay.New()
	ended := make(chan error, 1)
	of.instruments = func(ctx context.Context, env *local.Mesh) ([]*unstructured.Unstructured, error) {
		l, objects, err := env.Records(ctx, nil)
		if err == nil {
			go func() { ended <- t.Record(ctx, l) }()
		}
		return objects, err
	}
	b, err := up(ctx, of)
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, b.env.Down(context.WithoutCancel(ctx)))
		cancel()
		err = errors.Join(err, <-ended)
	}()
	if _, err = load.Run(ctx, load.Spec{URL: "http://productpage:9080/productpage", Dial: b.call, Connections: 2, Requests: taped / 6, RequestID: true, Seed: 1}, load.Output{}); err != nil {
		return nil, err
	}
	return t, t.Await(ctx, taped)
}

// collecting opens a collector for as long as use does.
func collecting(ctx context.Context, o collect.Options, use func(*collect.Collector) error) error {
	c, err := collect.New(o)
	if err != nil {
		return err
	}
	if err := c.Use(ctx, nil); err != nil {
		return err
	}
	c.Stage(benchRun)
	return errors.Join(use(c), c.Close(context.WithoutCancel(ctx)))
}

// served is a collector that takes entries at an address.
func served(ctx context.Context, o collect.Options, use func(c *collect.Collector, addr string) error) error {
	return collecting(ctx, o, func(c *collect.Collector) error {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		serving, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- c.Serve(serving, l) }()
		err = use(c, l.Addr().String())
		stop()
		return errors.Join(err, <-ended)
	})
}

// play has a collector take records, and returns how many a second it has for good. That it has all of them is a condition.
func play(ctx context.Context, c *collect.Collector, tape *replay.Tape, addr string, records int) (float64, error) {
	before := c.Account()
	begin := time.Now()
	if err := tape.Play(ctx, addr, records); err != nil {
		return 0, err
	}
	if _, err := c.Flushed(ctx); err != nil {
		return 0, err
	}
	took := time.Since(begin).Seconds()
	if a := c.Account(); a.Stored-before.Stored != uint64(records) || len(a.Dropped) > 0 { //nolint:gosec // above 0
		return 0, fmt.Errorf("of %d records not all are stored: %+v", records, a)
	}
	return float64(records) / took, nil
}

// intoSQLite stores records, a tenth at first, and compares the memory after it with that after all.
func intoSQLite(ctx context.Context, tape *replay.Tape, file string, records int) (figures []Figure, err error) {
	err = served(ctx, collect.Options{Run: benchRun, File: file}, func(c *collect.Collector, addr string) error {
		var rates, memory []float64
		for range 10 {
			rate, err := play(ctx, c, tape, addr, records/10)
			if err != nil {
				return err
			}
			debug.FreeOSMemory() // what Go keeps for itself is not the collector's
			mb, err := private("/proc/self/smaps_rollup")
			if err != nil {
				return err
			}
			rates, memory = append(rates, rate), append(memory, mb)
		}
		figures = []Figure{
			figure("access log entries into SQLite", "records/s", rates, 50_000, true),
			figure(fmt.Sprintf("memory after %d records to after %d", records, records/10), "ratio", []float64{memory[9] / memory[0]}, 1.25, false),
		}
		return nil
	})
	return figures, err
}

func intoElastic(ctx context.Context, tape *replay.Tape, records int) (out Figure, err error) {
	err = elasticsearch.With(ctx, elasticsearch.Options{Settings: map[string]string{"cluster.routing.allocation.disk.threshold_enabled": "false"}}, toolchain.Lines(os.Stderr), func(s *elasticsearch.Server) error {
		config := &elastic.Config{URLs: []string{s.URL}}
		return served(ctx, collect.Options{Run: benchRun, Elastic: config}, func(c *collect.Collector, addr string) error {
			if _, err := play(ctx, c, tape, addr, records/10); err != nil { // Java warms up
				return err
			}
			var rates []float64
			for range 3 {
				rate, err := play(ctx, c, tape, addr, records/3)
				if err != nil {
					return err
				}
				rates = append(rates, rate)
			}
			out = figure("access log entries into Elasticsearch", "records/s", rates, 15_000, true)
			return nil
		})
	})
	return out, err
}

// pageFigures measures how long the pages of a store take a browser, from the request to the last byte.
func pageFigures(ctx context.Context, file string, runs int) (figures []Figure, err error) {
	s, err := sqlite.OpenReader(ctx, file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	h, err := page.New(page.Options{Reader: s, Name: benchRun, Loopback: true})
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- page.Serve(serving, l, h) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	for _, p := range pages() {
		var took []float64
		for range runs {
			ms, err := fetch(ctx, "http://"+l.Addr().String()+p.path)
			if err != nil {
				return nil, err
			}
			took = append(took, ms)
		}
		figures = append(figures, figure("page: "+p.name, "ms", took, 200, false))
	}
	return figures, nil
}

type pageOf struct{ name, path string }

func pages() []pageOf {
	of := url.Values{"namespace": {"squall"}, "service": {"reviews"}, "last": {"all"}}
	service := of.Encode()
	of.Set("method", "GET")
	of.Set("interface", "/a/reviews/{id}")
	hot := of.Encode()
	return []pageOf{
		{"services", "/?last=all"}, {"interfaces of a service", "/service?" + service}, {"graph", "/graph?last=all"},
		{"requests of an interface", "/requests?" + hot}, {"its slowest", "/requests?sort=duration&" + hot},
		{"its failed", "/requests?failed=true&" + hot}, {"its requests with a path", "/requests?path=nowhere&" + hot},
	}
}

// fetch returns the milliseconds of one page.
func fetch(ctx context.Context, address string) (float64, error) {
	begin := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, answer.Body)
	took := milliseconds(time.Since(begin))
	if err = errors.Join(err, answer.Body.Close()); err == nil && (answer.StatusCode != http.StatusOK || n == 0) {
		err = errors.New(address + " answers " + strconv.Itoa(answer.StatusCode))
	}
	return took, err
}
