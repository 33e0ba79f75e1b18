package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"squall/internal/record"
	"squall/internal/toolchain"
)

// commandFigures runs the circuit scenario as a person does and reads the times off its record.
func commandFigures(ctx context.Context, _ string, _ toolchain.Tools, o options) ([]Figure, error) {
	var ready, verdict, live, rollback []float64
	for range o.runs {
		dir, err := os.MkdirTemp("", "squall-bench-")
		if err != nil {
			return nil, err
		}
		start := time.Now()
		cmd := exec.CommandContext(ctx, o.binary, "run", "circuit", "--reports", dir)
		out, err := cmd.CombinedOutput()
		took := time.Since(start)
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
		r, man, err := openRun(dir)
		if err != nil {
			return nil, err
		}
		verdict = append(verdict, milliseconds(took))
		rollback = append(rollback, man.Rollback.Seconds*1000)
		for e, err := range r.ReadEvents() {
			switch {
			case err != nil:
				return nil, err
			case e.Kind == "mesh":
				ready = append(ready, milliseconds(man.Start.Sub(start))+(e.At+e.Took)*1000)
			case e.Kind == "live":
				live = append(live, e.Took*1000)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	return []Figure{
		figure("command to mesh ready", "ms", ready, 600, false),
		figure("command to verdict of circuit", "ms", verdict, 1500, false),
		figure("circuit: change to live on all proxies", "ms", live, 10, false),
		figure("verified rollback", "ms", rollback, 200, false),
	}, nil
}

func openRun(dir string) (*record.Run, record.Manifest, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", record.ManifestFile))
	if err != nil || len(found) != 1 {
		return nil, record.Manifest{}, fmt.Errorf("%d runs in %s: %w", len(found), dir, err)
	}
	r, err := record.Open(filepath.Dir(found[0]))
	if err != nil {
		return nil, record.Manifest{}, err
	}
	man, err := r.Manifest()
	return r, man, err
}
