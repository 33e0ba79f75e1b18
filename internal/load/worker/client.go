package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"squall/internal/load"
)

// Dial connects to a worker, such as by a port-forward into its pod.
type Dial func(ctx context.Context) (net.Conn, error)

// Client is an HTTP client whose every connection is made by d, whatever the URL says.
func (d Dial) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return d(ctx) },
	}}
}

// Client speaks to one worker. It may be used by several goroutines; the worker drives one load at a time.
type Client struct {
	name string
	http *http.Client
}

// NewClient makes a client of the worker of that name, which errors carry. Nothing is dialled yet.
func NewClient(name string, dial Dial) *Client {
	return &Client{name: name, http: dial.Client()}
}

// Name is the worker's name.
func (c *Client) Name() string { return c.name }

// Close closes the connections that no request uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Ready is nil when the worker answers.
func (c *Client) Ready(ctx context.Context) error {
	resp, err := c.send(ctx, http.MethodGet, "/healthz", nil)
	if err != nil {
		return c.lost(err)
	}
	return resp.Body.Close()
}

// SignIn makes the request before a load from the worker, and returns the headers that the load carries from then on.
func (c *Client) SignIn(ctx context.Context, s load.SignIn, of load.Spec) ([]load.Header, error) {
	body, err := json.Marshal(signInRequest{SignIn: s, Trust: s.TLS, Of: specOf(of)})
	if err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	var got signInAnswer
	if err := c.ask(ctx, http.MethodPost, "/signin", bytes.NewReader(body), &got); err != nil {
		return nil, c.lost(err)
	}
	return got.Headers, nil
}

// refusedError is what the worker itself said.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// lost names the worker in an error, and says that it was lost unless it gave the error itself.
func (c *Client) lost(err error) error {
	var refused *refusedError
	var lost *LostError
	switch {
	case err == nil || errors.As(err, &lost):
		return err
	case errors.As(err, &refused):
		return fmt.Errorf("worker %s: %w", c.name, err)
	}
	return &LostError{Worker: c.name, Err: err}
}

// send sends a request and returns the answer when it is 200.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://worker"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	err = errors.Join(err, resp.Body.Close())
	var f failure
	if json.Unmarshal(text, &f) != nil || f.Error == "" {
		return nil, errors.Join(fmt.Errorf("it answered %s: %.200q", resp.Status, text), err)
	}
	return nil, &refusedError{f.Error}
}

// ask sends a request and reads the JSON of its answer.
func (c *Client) ask(ctx context.Context, method, path string, body io.Reader, v any) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRequest))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("its answer cannot be read: %w", err)
	}
	return nil
}
