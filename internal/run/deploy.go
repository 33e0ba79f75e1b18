package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// deploy brings the mesh up with the plan's fixtures, waits until all of it is ready, and notes what is there.
func (r *runner) deploy(ctx context.Context) error {
	start := r.since()
	var noter Noter
	if shared, ok := r.Env.(mesh.Shared); ok {
		noter = notes{r, shared}
	}
	if err := r.openRecords(ctx); err != nil {
		return err
	}
	r.Progress.Say("starting the mesh (%s)", r.Env.Name())
	objects, proxies, err := Deploy(ctx, r.Env, r.Plan, With{Note: noter, Instruments: r.collect})
	r.objects = objects
	if err != nil {
		return err
	}
	if err := errors.Join(r.useMeshStore(ctx), r.survey(ctx, proxies)); err != nil {
		return err
	}
	r.man.Versions = maps.Clone(r.man.Versions)
	maps.Copy(r.man.Versions, r.Env.Versions())
	if err := r.Record.WriteJSON(record.ManifestFile, r.man); err != nil {
		return err
	}
	took := r.since() - start
	text := fmt.Sprintf("mesh ready: %d proxies", len(r.proxies))
	r.event(record.Event{At: start, Took: took, Kind: "mesh", Text: text})
	r.Progress.Say("%s after %.0f ms", text, took*1000)
	return nil
}

// survey saves the proxies and their configuration as they are before anything is changed.
func (r *runner) survey(ctx context.Context, proxies []record.Proxy) error {
	if err := r.enlist(ctx, proxies); err != nil {
		return err
	}
	r.before = r.configs
	return r.saveConfigs(ctx, "before")
}

func (r *runner) saveConfigs(ctx context.Context, when string) error {
	var errs []error
	for _, p := range r.proxies {
		dump, err := mesh.ConfigDump(ctx, r.Env, p.Pod)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, r.Record.WriteFile("proxies/"+p.Pod+"/config."+when+".json", dump))
	}
	return errors.Join(errs...)
}

// apply makes the phase's changes and does its actions, each noted in the journal before, and waits until all proxies concerned have
// the changes and the workloads are whole.
func (r *runner) apply(ctx context.Context, p *plan.Phase) error {
	if len(p.Changes)+len(p.Actions) == 0 {
		return r.set(ctx, p)
	}
	start, err := r.applyChanges(ctx, p)
	if err != nil {
		return err
	}
	at := start.Sub(r.base).Seconds()
	live, err := r.awaitChanges(ctx, p, start)
	if err != nil {
		return errors.Join(r.unchanged(ctx), err) // what somebody took back is never live
	}
	text := fmt.Sprintf("live on %d/%d proxies after %.0f ms", len(live), len(live), float64(slowest(live).Microseconds())/1000)
	data := map[string]any{}
	for _, l := range live {
		data[l.Pod] = l.After.Seconds()
	}
	r.event(record.Event{At: at, Took: slowest(live).Seconds(), Phase: p.Name, Kind: "live", Text: text, Data: data})
	r.Progress.Say("%s: %s", p.Name, text)
	return errors.Join(r.saveConfigs(ctx, "during"), r.set(ctx, p))
}

func slowest(live []mesh.Live) time.Duration {
	var out time.Duration
	for _, l := range live {
		out = max(out, l.After)
	}
	return out
}
