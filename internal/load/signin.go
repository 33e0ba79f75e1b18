package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxToken bounds the answer that is taken for a token.
const maxToken = 64 << 10

// SignIn is one request before a load. It is made once, not by each connection: the load is one user with many connections.
type SignIn struct {
	URL     string
	Dial    string // as Spec.Dial
	Method  string // empty: GET, or POST with a form
	Headers []Header
	Form    map[string]string
	Bearer  bool          // the answer's body is a token; else its cookies are the session
	Timeout time.Duration // 0: DefaultTimeout
	TLS     *tls.Config   `json:"-"`
}

// Do signs in and returns the headers that the load carries from then on. A session that is not given is an error that says what was
// answered.
func (s SignIn) Do(ctx context.Context) ([]Header, error) {
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("no answer within %s", s.Timeout))
	defer cancel()
	out, err := s.ask(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("sign in at %s: %w", s.address(), err)
	}
	return out, nil
}

// address is the URL without its query, which may hold secrets.
func (s SignIn) address() string {
	address, _, _ := strings.Cut(s.URL, "?")
	return address
}

func (s SignIn) ask(ctx context.Context) ([]Header, error) {
	req, err := s.request(ctx)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: s.TLS.Clone(),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			if s.Dial != "" {
				address = s.Dial
			}
			return d.DialContext(ctx, network, address)
		},
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxToken+1))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("it answered %s: %.200s", resp.Status, strings.TrimSpace(string(text)))
	}
	if s.Bearer {
		return bearer(text, resp.Status)
	}
	return cookies(resp)
}

func (s SignIn) request(ctx context.Context) (*http.Request, error) {
	method, content := s.Method, io.Reader(http.NoBody)
	if len(s.Form) > 0 {
		form := url.Values{}
		for k, v := range s.Form {
			form.Set(k, v)
		}
		content = strings.NewReader(form.Encode())
		if method == "" {
			method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL, content)
	if err != nil {
		return nil, err
	}
	if len(s.Form) > 0 {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, h := range s.Headers {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	return req, nil
}

func bearer(text []byte, status string) ([]Header, error) {
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxToken || strings.ContainsAny(token, " \t\r\n") {
		return nil, fmt.Errorf("it answered %s, with %d bytes that are no token", status, len(text))
	}
	return []Header{{"Authorization", "Bearer " + token}}, nil
}

// cookies are those that the answer sets and does not delete.
func cookies(resp *http.Response) ([]Header, error) {
	var pairs []string
	for _, c := range resp.Cookies() {
		if c.MaxAge >= 0 && c.Value != "" {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("it answered %s without a cookie", resp.Status)
	}
	return []Header{{"Cookie", strings.Join(pairs, "; ")}}, nil
}
