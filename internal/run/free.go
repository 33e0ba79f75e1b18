package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// freed is a stop, or a change of settings, that ends by itself after a time.
type freed struct {
	timer *time.Timer
	done  chan struct{} // closed when the pods were let go on, or when they will not be

	mu   sync.Mutex
	pods []string // that were stopped to the end of the time
	err  error

	made *Settings // that are taken back
	back bool      // they were
}

// freeLater lets the pods of a stop go on after its time, unless the rollback does so before.
func (r *runner) freeLater(p *plan.Phase, x *acting, holder mesh.Holder, part string) {
	f := &freed{done: make(chan struct{})}
	x.freed = f
	r.frees = append(r.frees, f)
	f.timer = time.AfterFunc(x.For, func() {
		defer close(f.done)
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := range x.pods {
			name := x.pods[i].Name
			held, err := holder.Held(name, part)
			if held {
				f.pods = append(f.pods, name)
			}
			f.err = errors.Join(f.err, err, holder.Release(name, part))
		}
		r.event(record.Event{Phase: p.Name, Kind: "apply", Text: fmt.Sprintf("%s: let go on after %s", x.Step, x.For)})
	})
}

// takeBackLater makes settings what they were after the change's time, unless the rollback does so before. The journal keeps its entry: the
// rollback finds that they are back.
func (r *runner) takeBackLater(ctx context.Context, phase string, s plan.SettingsChange, made *Settings) {
	f := &freed{done: make(chan struct{}), made: made}
	r.frees = append(r.frees, f)
	ctx = context.WithoutCancel(ctx)
	f.timer = time.AfterFunc(s.For, func() {
		defer close(f.done)
		err := r.takeBack(ctx, made)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.back, f.err = err == nil, err
		text := fmt.Sprintf("%s: taken back after %s", s.Step, s.For)
		if err != nil {
			f.err = fmt.Errorf("%s: not taken back after %s: %w", s.Step, s.For, err)
			text = f.err.Error()
		}
		r.event(record.Event{Phase: phase, Kind: "apply", Text: text})
	})
}

func (r *runner) takeBack(ctx context.Context, made *Settings) error {
	ctx, cancel := context.WithTimeout(ctx, liveWithin)
	defer cancel()
	client, err := NewFlow(r.objects, mesh.PodDialer(r.Env))(ctx, made.At) // one of its own: the run's may be in use
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Holds(ctx, made.Made); err != nil { // the rollback decides about what others have changed
		return ofService(made.At, err)
	}
	if err := client.Apply(ctx, made.Before); err != nil {
		return ofService(made.At, err)
	}
	return ofService(made.At, awaitHolds(ctx, client, made.Before))
}

// isBack reports settings whose time has ended, and the error why they could not be taken back then.
func (r *runner) isBack(made *Settings) (bool, error) {
	for _, f := range r.frees {
		if f.made != made {
			continue
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.back, f.err
	}
	return false, nil
}

// stopped are the pods that were held for the whole time; nil before its end.
func (f *freed) stopped() ([]string, error) {
	if f == nil {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pods, f.err
}

// endFrees waits for those that are under way, and ends the others: the rollback lets go on what is still held.
func (r *runner) endFrees() {
	for _, f := range r.frees {
		if !f.timer.Stop() {
			<-f.done
		}
	}
	r.frees = nil
}
