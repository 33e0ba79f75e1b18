package run

import (
	"context"
	"slices"
	"time"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// nudgeAfter is how long proxies may take to have their configuration from before, until all of it is made to be sent again. Istiod
// sends it within tens of milliseconds.
const nudgeAfter = 2 * time.Second

// awaitConfigs waits until the proxies have their configuration from before.
//
// Istiod can leave proxies out when two objects are deleted at nearly the same time: the push for the first is made of a configuration
// without the second, and notes of a proxy that it depends on neither, so that the push for the second passes it over. Nothing is sent to
// it then until something else changes.
func (r *runner) awaitConfigs(ctx context.Context, proxies []record.Proxy) error {
	soon, cancel := context.WithTimeout(ctx, nudgeAfter)
	defer cancel()
	err := mesh.AwaitConfigs(soon, r.Env, proxies, r.before)
	if err == nil || soon.Err() == nil || ctx.Err() != nil {
		return err
	}
	r.event(record.Event{Kind: "rollback", Text: "istiod has left proxies out, and is made to send all again: " + err.Error()})
	if err := r.nudge(ctx, proxies); err != nil {
		return err
	}
	return mesh.AwaitConfigs(ctx, r.Env, proxies, r.before)
}

// nudge makes istiod send all of its configuration to the sidecars, by a change that concerns each of them and that is taken back.
func (r *runner) nudge(ctx context.Context, proxies []record.Proxy) error {
	sidecars := slices.DeleteFunc(slices.Clone(proxies), func(p record.Proxy) bool { return p.Gateway })
	filter, mark := mesh.MarkFilter("squall-nudge")
	done := map[string]bool{}
	start := time.Now()
	for _, p := range sidecars {
		if done[p.Namespace] {
			continue
		}
		done[p.Namespace] = true
		u := filter.DeepCopy()
		u.SetNamespace(p.Namespace)
		if _, _, err := r.applyOne(ctx, "rollback", plan.Mark, u); err != nil {
			return err
		}
	}
	if _, err := mesh.AwaitLive(ctx, r.Env, sidecars, []mesh.Mark{mark}, start); err != nil {
		return err
	}
	r.applied = nil
	if err := r.journal.Undo(ctx, r.objects, isChange); err != nil {
		return err
	}
	return r.settle(ctx)
}
