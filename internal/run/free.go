package run

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// freed is a stop that ends by itself after a time.
type freed struct {
	timer *time.Timer
	done  chan struct{} // closed when the pods were let go on, or when they will not be

	mu   sync.Mutex
	pods []string // that were stopped to the end of the time
	err  error
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
