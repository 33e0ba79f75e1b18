package fortiorest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"squall/internal/load"
	"squall/internal/load/worker"
)

// Limits of the exchange.
const (
	maxAnswer   = 8 << 20                // bytes; a histogram of Fortio's has some hundred KiB at most
	stopEvery   = 100 * time.Millisecond // a run that has not begun yet cannot be stopped: it is tried again
	stopWithin  = 2 * time.Second        // after the timeout of the calls that are under way
	aliveEvery  = time.Second
	aliveWithin = 10 * time.Second // without an answer the server is lost
	api         = "/fortio/rest/"
)

// Dial connects to a Fortio server, such as by a port-forward into its pod.
type Dial = worker.Dial

// Client speaks to one Fortio server, which is for it alone: the end of a load stops all runs there.
type Client struct {
	name string
	http *http.Client
}

// NewClient makes a client of the server in the pod of that name, which errors carry. Nothing is dialled yet.
func NewClient(name string, dial Dial) *Client {
	return &Client{name: name, http: dial.Client()}
}

// Name is the pod's.
func (c *Client) Name() string { return c.name }

// Close closes the connections that no request uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Ready is nil when the server's REST API answers. For a moment before it is there the server echoes whatever it is sent.
func (c *Client) Ready(ctx context.Context) error {
	text, err := c.ask(ctx, http.MethodGet, "status", nil)
	if err != nil {
		return c.lost(err)
	}
	var status struct{ Statuses json.RawMessage }
	if err := json.Unmarshal(text, &status); err != nil || status.Statuses == nil {
		return c.lost(fmt.Errorf("its REST API is not there: %.100q is no status", text))
	}
	return nil
}

// Run makes the load's calls, each with the mark, and returns what Fortio counted when the last of them is over. When ctx ends, the
// server is told to stop and what it counted until then is returned; calls under way come to their end before. A server that does not
// say how the load ended is a *worker.LostError.
func (c *Client) Run(ctx context.Context, s load.Spec, mark string) (Result, error) {
	o, err := newOrder(s, mark)
	if err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	return c.run(ctx, o)
}

func (c *Client) run(ctx context.Context, o *order) (Result, error) {
	body, err := o.body()
	if err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	link, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	stop := context.AfterFunc(ctx, func() { c.stop(ctx, link, cut, o.timeout) })
	defer stop()
	go c.watch(link, cut)
	text, err := c.ask(link, http.MethodPost, "run", body)
	if err != nil {
		return Result{}, c.lost(err)
	}
	r, err := parse(text, o, ctx.Err() != nil)
	return r, c.lost(err)
}

// stop tells the server to stop until link ends, which it is made to when no result comes.
func (c *Client) stop(ctx, link context.Context, cut context.CancelCauseFunc, timeout time.Duration) {
	limit := time.NewTimer(timeout + stopWithin)
	defer limit.Stop()
	tick := time.NewTicker(stopEvery)
	defer tick.Stop()
	for {
		_, _ = c.ask(link, http.MethodPost, "stop", nil) // tried again, and the limit is what bounds it
		select {
		case <-tick.C:
		case <-link.Done():
			return
		case <-limit.C:
			cut(fmt.Errorf("it did not stop within %s after %w", timeout+stopWithin, context.Cause(ctx)))
			return
		}
	}
}

// watch ends link when the server does not answer any more: of a node that died, a connection would wait for ever.
func (c *Client) watch(link context.Context, cut context.CancelCauseFunc) {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-link.Done():
			return
		}
		ctx, cancel := context.WithTimeoutCause(link, aliveWithin, fmt.Errorf("it gave no sign of life for %s", aliveWithin))
		_, err := c.ask(ctx, http.MethodGet, "status", nil)
		cancel()
		if err != nil && link.Err() == nil {
			cut(err)
			return
		}
	}
}

// refusedError is what the server itself said.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// lost names the server in an error, and says that it was lost unless it gave the error itself.
func (c *Client) lost(err error) error {
	var refused *refusedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return fmt.Errorf("Fortio in %s: %w", c.name, err) //nolint:staticcheck // a name
	}
	return &worker.LostError{Worker: c.name, Err: fmt.Errorf("Fortio: %w", err)} //nolint:staticcheck // a name
}

// ask makes a request and returns the answer, which is JSON: an answer with an error is a *refusedError.
func (c *Client) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://fortio"+api+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, because(ctx, err)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, because(ctx, err)
	}
	if len(text) > maxAnswer {
		return nil, fmt.Errorf("it answered with more than %d bytes", maxAnswer)
	}
	if resp.StatusCode == http.StatusOK {
		return text, nil
	}
	var a answer
	if json.Unmarshal(text, &a) == nil && a.Error && a.reason() != "" {
		return nil, &refusedError{a.reason()}
	}
	return nil, fmt.Errorf("it answered %s: %.200q", resp.Status, text)
}

// because is why ctx ended, or the error.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
