package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"squall/internal/mesh"
	"squall/internal/record"
)

// started is a time in which a proxy started: Envoy tells its age in whole seconds, and may take its time to say it.
type started struct{ earliest, latest time.Time }

// again says whether s is surely of another start than before.
func (s started) again(before started) bool { return s.earliest.After(before.latest) }

// enlist takes the proxies for those of the mesh from now on, and saves them beside those of before: a check that is about a
// service has to know every pod that was ever behind it.
func (r *runner) enlist(ctx context.Context, proxies []record.Proxy) error {
	r.proxies = proxies
	for _, p := range proxies {
		i := slices.IndexFunc(r.ever, func(e record.Proxy) bool { return e.Pod == p.Pod })
		if i < 0 {
			r.ever = append(r.ever, p)
		} else {
			r.ever[i] = p
		}
	}
	slices.SortFunc(r.ever, func(a, b record.Proxy) int { return strings.Compare(a.Pod, b.Pod) })
	if err := r.Record.WriteProxies(r.ever); err != nil {
		return err
	}
	r.starts = map[string]started{}
	for _, p := range proxies {
		at, err := r.startOf(ctx, p.Pod)
		if err != nil {
			return err
		}
		r.starts[p.Pod] = at
	}
	configs, err := mesh.Configs(ctx, r.Env, proxies)
	r.configs = configs
	return errors.Join(err, r.acquaint(ctx))
}

// startOf is when the pod's proxy started.
func (r *runner) startOf(ctx context.Context, pod string) (started, error) {
	asked := time.Now()
	body, err := r.Env.Admin(ctx, pod, "GET", "/server_info")
	if err != nil {
		return started{}, fmt.Errorf("state of the proxy of %s: %w", pod, err)
	}
	answered := time.Now()
	var info struct {
		State  string `json:"state"`
		Uptime string `json:"uptime_current_epoch"`
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return started{}, fmt.Errorf("state of the proxy of %s: %w", pod, err)
	}
	if info.State != "LIVE" {
		return started{}, fmt.Errorf("the proxy of %s is %q, not LIVE", pod, info.State)
	}
	up, err := time.ParseDuration(info.Uptime)
	if err != nil {
		return started{}, fmt.Errorf("age of the proxy of %s: %w", pod, err)
	}
	return started{asked.Add(-up - time.Second), answered.Add(-up)}, nil
}

// sameProxies is an error when a proxy is not live or was started anew since it was enlisted: its counters began at 0 again.
func (r *runner) sameProxies(ctx context.Context) error {
	var errs []error
	for _, p := range r.proxies {
		at, err := r.startOf(ctx, p.Pod)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if before := r.starts[p.Pod]; at.again(before) {
			errs = append(errs, fmt.Errorf("the proxy of %s was started again: it began %s after the one that was there before",
				p.Pod, at.latest.Sub(before.latest).Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

// dismiss takes the pods of lost workers from the proxies that have to be the same after the load.
func (r *runner) dismiss(l record.Load) {
	r.proxies = slices.DeleteFunc(slices.Clone(r.proxies), func(p record.Proxy) bool {
		return slices.ContainsFunc(l.Workers, func(w record.WorkerLoad) bool { return w.Lost != "" && w.Pod == p.Pod })
	})
}

// replace waits until the load generator is whole again, after a load that could do without a worker.
func (r *runner) replace(ctx context.Context) error {
	if err := r.refresh(ctx); err != nil {
		return fmt.Errorf("after a worker was lost: %w", err)
	}
	return nil
}
