package fortiorest

import (
	"context"
	"fmt"
	"time"

	"squall/internal/load"
)

// exchanges is how often a server's clock is read.
const exchanges = 5

// nobody is where a server's call is refused at once.
const nobody = "http://127.0.0.1:1/"

// Clock is what is known of the clock of a server, and of the proxy beside it, which is the same.
type Clock struct {
	// least and most are the bounds of what has to be added to a time of the server's.
	least, most time.Duration
}

// Uncertainty is by how much a time from the proxy's access log may be wrong on the client's clock.
func (k Clock) Uncertainty() time.Duration { return (k.most - k.least) / 2 }

// local is a time of the server's on the client's clock.
func (k Clock) local(t time.Time) time.Time { return t.Add(k.least + (k.most-k.least)/2) }

// Sync reads the server's clock: the server has no page that shows it, but says when it made a call, and one that is refused at once will do.
func (c *Client) Sync(ctx context.Context) (Clock, error) {
	var k Clock
	for i := range exchanges {
		o, err := newOrder(load.Spec{URL: nobody, Connections: 1, Requests: 1, Timeout: aliveWithin}, "clock")
		if err != nil {
			return k, fmt.Errorf("clock: %w", err)
		}
		sent := time.Now()
		r, err := c.run(ctx, o)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return k, fmt.Errorf("clock: %w", err)
		}
		back := sent.Add(time.Since(sent))
		// It began after the order was sent, and ended before the result was back.
		least, most := sent.Sub(r.Start), back.Sub(r.Start.Add(r.Took))
		if i == 0 {
			k = Clock{least, most}
			continue
		}
		k.least, k.most = max(k.least, least), min(k.most, most)
		if k.most < k.least { // one of the clocks was set meanwhile
			return k, fmt.Errorf("clock: %w", c.lost(fmt.Errorf("the clock of its node moved by %s while it was read", k.least-k.most)))
		}
	}
	return k, nil
}
