// Package flowcontrol asks an Elasticsearch service with flow control what it refused, and changes its settings so that the change can be
// taken back exactly. It is for any service that has the API which docs/flowcontrol.md describes, the project's own fixture among them.
package flowcontrol

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	defaultTimeout = 10 * time.Second
	maxAnswer      = 16 << 20 // bytes
)

// Options say which service, and who asks. They print without their secrets.
type Options struct {
	URL                string // http or https, with a user and password in it or not
	Username, Password string
	APIKey             string        // in place of a user
	CA                 []byte        // PEM; without it the machine's own authorities are trusted
	Timeout            time.Duration // of one call; 10 s where it is 0
	// Dial connects to the service in place of the URL's host and port.
	Dial func(ctx context.Context) (net.Conn, error)
}

// String is the service's address.
func (o Options) String() string {
	at, err := url.Parse(o.URL)
	if err != nil {
		return "an address that is no URL"
	}
	at.User, at.RawQuery, at.Fragment = nil, "", ""
	return at.String()
}

// GoString is String: secrets are not printed.
func (o Options) GoString() string { return o.String() }

// Client asks one service. It may be used by several goroutines.
type Client struct {
	at     url.URL
	auth   string
	client http.Client
}

// New checks options; it does not call the service.
func New(o Options) (*Client, error) {
	at, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("flow control: the address is no URL: write https://HOST:PORT") // url's own error repeats a password
	}
	if at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || at.RawQuery != "" || at.Fragment != "" {
		return nil, fmt.Errorf("flow control: %s is no address of a service: write https://HOST:PORT", o)
	}
	c := &Client{at: *at, client: http.Client{Timeout: o.Timeout, CheckRedirect: stay}}
	if c.client.Timeout == 0 {
		c.client.Timeout = defaultTimeout
	}
	if c.auth, err = o.authorization(at.User); err != nil {
		return nil, err
	}
	c.at.User = nil
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if o.Dial != nil {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) }
	}
	if o.CA != nil {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(o.CA) {
			return nil, fmt.Errorf("flow control: %s: the CA holds no certificate in PEM form", o)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	c.client.Transport = transport
	return c, nil
}

// stay does not follow a redirection, which would take the credentials elsewhere.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (o Options) authorization(inURL *url.Userinfo) (string, error) {
	user, password := o.Username, o.Password
	if inURL != nil {
		if user != "" {
			return "", fmt.Errorf("flow control: %s: a user is given twice, in the address and beside it", o)
		}
		user = inURL.Username()
		password, _ = inURL.Password()
	}
	switch {
	case o.APIKey != "" && user != "":
		return "", fmt.Errorf("flow control: %s: give a user or an API key, not both", o)
	case o.APIKey != "":
		return "ApiKey " + o.APIKey, nil
	case user == "":
		return "", nil
	}
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization"), nil
}

// Close ends idle connections. The client can be used on.
func (c *Client) Close() { c.client.CloseIdleConnections() }

// Error is an answer other than success.
type Error struct {
	What   string // the call
	Status int    // of HTTP
	Reason string // as the service gives it
}

// Error says what was asked, and what the service says about it.
func (e *Error) Error() string { return fmt.Sprintf("%s: %d: %s", e.What, e.Status, e.Reason) }

// request is one call of the service's API.
type request struct {
	method, path string
	query        url.Values
	body         any // nil sends none
}

// call sends a request and decodes the answer.
func (c *Client) call(ctx context.Context, send request, into any) (err error) {
	at := c.at
	at.Path = strings.TrimSuffix(at.Path, "/") + send.path
	at.RawQuery = send.query.Encode()
	what := send.method + " " + at.String()
	defer func() {
		if err != nil {
			err = fmt.Errorf("flow control: %w", err)
		}
	}()
	r, err := c.newRequest(ctx, send, at.String())
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	answer, err := c.client.Do(r)
	if err != nil {
		return err // it names the call
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case len(b) > maxAnswer:
		return fmt.Errorf("%s: the answer is longer than %d MB", what, maxAnswer>>20)
	case answer.StatusCode != http.StatusOK:
		return &Error{what, answer.StatusCode, reason(b)}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: the answer is not what Elasticsearch answers: %w", what, err)
	}
	return nil
}

func (c *Client) newRequest(ctx context.Context, send request, at string) (*http.Request, error) {
	var body io.Reader
	if send.body != nil {
		b, err := json.Marshal(send.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, send.method, at, body)
	if err != nil {
		return nil, err
	}
	if send.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.auth != "" {
		r.Header.Set("Authorization", c.auth)
	}
	return r, nil
}

// reason is that of an error as Elasticsearch writes them, or the beginning of whatever came.
func reason(body []byte) string {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	var long struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
	}
	var short string
	if json.Unmarshal(body, &answer) == nil {
		if json.Unmarshal(answer.Error, &long) == nil && long.Reason != "" {
			return long.Type + ": " + long.Reason
		}
		if json.Unmarshal(answer.Error, &short) == nil {
			return short
		}
	}
	const most = 200
	text := strings.ToValidUTF8(string(body[:min(len(body), most)]), "?")
	if text == "" {
		return "it says nothing about it"
	}
	return text
}
