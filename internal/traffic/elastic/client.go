package elastic

import (
	"bytes"
	"cmp"
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

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v9/esapi"
)

const (
	answerTimeout = time.Minute
	maxAnswer     = 64 << 20
)

// statusError is an answer that is none.
type statusError struct {
	status int
	kind   string // of the error, as Elasticsearch names it
	reason string
}

func (e *statusError) Error() string {
	switch e.status {
	case http.StatusUnauthorized:
		return "Elasticsearch does not know the user or the password (401): check username and password, or api_key"
	case http.StatusForbidden:
		return fmt.Sprintf("Elasticsearch forbids it (403, %s): %.300s", e.kind, e.reason)
	}
	if strings.Contains(e.reason, "HTTP request to an HTTPS") {
		return fmt.Sprintf("the server speaks TLS (%d): write https:// in url", e.status)
	}
	return fmt.Sprintf("Elasticsearch answered %d, %s: %.300s", e.status, cmp.Or(e.kind, "without a type of error"), e.reason)
}

// hint is what to do about a connection that did not come to be, as the end of a sentence; empty where the error says it itself.
func hint(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		noTLS    tls.RecordHeaderError
		refusing tls.AlertError
	)
	switch {
	case errors.As(err, &unknown):
		return ": give the PEM of the authority that signed the server's certificate as ca or ca_file"
	case errors.As(err, &name):
		return ": write url with a name or an address that the server's certificate is for, or give the server one for this name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ": renew the server's certificate, or correct this machine's clock"
	case errors.As(err, &noTLS):
		return ": the server speaks no TLS: write http:// in url, or turn its TLS on"
	case errors.As(err, &refusing):
		return ": the server refuses this TLS: it has to take TLS 1.2 or 1.3, and clients without a certificate"
	case errors.Is(err, io.EOF):
		return ": the server ended the connection; one that speaks TLS needs https:// in url"
	}
	return ""
}

// client asks by the official client's requests and its transport; the typed half of it is left out.
type client struct{ transport *elastictransport.Client }

func newClient(c Config) (*client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = answerTimeout
	if c.Dial != nil {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx) }
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.Insecure}
	if len(c.CA) > 0 {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, errors.New("the store's configuration: ca has no certificate in PEM")
		}
	}
	opts := []elastictransport.Option{
		elastictransport.WithUserAgent("squall"), elastictransport.WithTransport(t),
		elastictransport.WithDisableRetry(), // the store retries, and counts what it does
	}
	if c.Username != "" {
		opts = append(opts, elastictransport.WithBasicAuth(c.Username, string(c.Password)))
	}
	if c.APIKey != "" {
		// The transport's own option writes the scheme in other letters than Elasticsearch's documentation, which a proxy before it may compare.
		opts = append(opts, elastictransport.WithHeader(http.Header{"Authorization": {"ApiKey " + string(c.APIKey)}}))
	}
	var urls []*url.URL
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		if err != nil {
			return nil, errors.New("the store's configuration: url is none")
		}
		urls = append(urls, u)
	}
	transport, err := elastictransport.NewClient(append(opts, elastictransport.WithURLs(urls...))...)
	if err != nil {
		return nil, fmt.Errorf("the client of Elasticsearch: %w", err)
	}
	return &client{transport}, nil
}

// ask sends a request and decodes the answer into out, unless that is nil. Answers from 400 on are a *statusError.
func (c *client) ask(ctx context.Context, request esapi.Request, out any) (err error) {
	res, err := request.Do(ctx, c.transport)
	if err != nil {
		return fmt.Errorf("ask Elasticsearch: %w%s", err, hint(err))
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read Elasticsearch's answer: %w", err)
	}
	if res.IsError() {
		return newStatusError(res.StatusCode, text)
	}
	if res.Header.Get("X-Elastic-Product") != "Elasticsearch" {
		return errOther
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read Elasticsearch's answer: %w", err)
	}
	return nil
}

// errOther is a server that is none.
var errOther = errors.New("the server is not Elasticsearch: OpenSearch and others answer in other ways, so they are refused; use Elasticsearch 8 or 9")

func newStatusError(status int, text []byte) error {
	e := &statusError{status: status, reason: string(bytes.TrimSpace(text))}
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	var detail struct{ Type, Reason string }
	if json.Unmarshal(text, &answer) == nil && json.Unmarshal(answer.Error, &detail) == nil && detail.Type != "" {
		e.kind, e.reason = detail.Type, detail.Reason
	}
	return e
}
