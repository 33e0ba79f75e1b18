package als

import (
	"context"
	"fmt"
	"sync"
)

// arrivals counts the entries of HTTP requests that came of each pod's proxy and were handed to the sink, or ignored for a reason.
type arrivals struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a total changes
	totals  map[string]int64
}

func newArrivals() *arrivals {
	return &arrivals{changed: make(chan struct{}), totals: map[string]int64{}}
}

func (a *arrivals) add(pod string, n int64) {
	if n == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.totals[pod] += n
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *arrivals) of(pod string) (n int64, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.totals[pod], a.changed
}

// Arrived is how many entries of HTTP requests a pod's proxy has sent that the sink has taken. Entries without a method, as of connections
// that never became a request, are none of them.
func (s *Server) Arrived(pod string) int64 {
	n, _ := s.arrived.of(pod)
	return n
}

// AwaitArrived waits until the sink has taken want entries of a pod's proxy. When ctx ends first, the error says how many came.
func (s *Server) AwaitArrived(ctx context.Context, pod string, want int64) error {
	for {
		n, changed := s.arrived.of(pod)
		if n >= want {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d records came of %s, whose proxy finished %d requests, so that %d are missing: %w", n, pod, want, want-n, context.Cause(ctx))
		}
	}
}
