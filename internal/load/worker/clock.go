package worker

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// exchanges is how often a worker's clock is read: the exchange with the shortest way there and back is the one that counts.
const exchanges = 12

// Clock is what is known of a worker's clock.
type Clock struct {
	process string
	zero    time.Time // on the client's monotonic clock, when the worker's showed 0
	// Uncertainty is by how much a time of the worker's may be wrong on the client's clock: half of the shortest round trip.
	Uncertainty time.Duration
}

// Sync reads the worker's clock.
func (c *Client) Sync(ctx context.Context) (Clock, error) {
	var best Clock
	for i := range exchanges {
		var got clockAnswer
		sent := time.Now()
		if err := c.ask(ctx, http.MethodGet, "/clock", nil, &got); err != nil {
			return Clock{}, fmt.Errorf("clock of %w", c.lost(err))
		}
		trip := time.Since(sent)
		if got.Process == "" || got.Now < 0 {
			return Clock{}, fmt.Errorf("clock of %w", c.lost(fmt.Errorf("it says %+v", got)))
		}
		if i > 0 && got.Process != best.process {
			return Clock{}, fmt.Errorf("clock of %w", c.lost(errRestarted))
		}
		if i == 0 || trip/2 < best.Uncertainty {
			best = Clock{process: got.Process, zero: sent.Add(trip / 2).Add(-got.Now), Uncertainty: trip / 2}
		}
	}
	return best, nil
}

// at is what the worker's clock shows at a time of the client's.
func (k Clock) at(t time.Time) time.Duration { return t.Sub(k.zero) }
