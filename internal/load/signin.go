package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
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
	TLS     *TLS          `json:"-"`
}

// String says what is asked, without what may be secret.
func (s SignIn) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", s.method(), s.address())
	if len(s.Form) > 0 {
		fmt.Fprintf(&b, " with a form of %s", strings.Join(slices.Sorted(maps.Keys(s.Form)), ", "))
	}
	if s.Bearer {
		return b.String() + ", for a token"
	}
	return b.String() + ", for cookies"
}

func (s SignIn) method() string {
	switch {
	case s.Method != "":
		return s.Method
	case len(s.Form) > 0:
		return http.MethodPost
	}
	return http.MethodGet
}

// Validate returns all that is wrong, joined, each as "field: what".
func (s SignIn) Validate() error {
	asLoad := Spec{URL: s.URL, Method: s.Method, Headers: s.Headers}
	return errors.Join(asLoad.validateTarget(), asLoad.validateHeaders())
}

// Do signs in for a load and returns the headers that it carries from then on: the token, or those of the cookies that belong to its
// URL. A redirection is not followed. A session that is not given is an error that says what was answered.
func (s SignIn) Do(ctx context.Context, of Spec) ([]Header, error) {
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("no answer within %s", s.Timeout))
	defer cancel()
	out, err := s.ask(ctx, of)
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

func (s SignIn) ask(ctx context.Context, of Spec) ([]Header, error) {
	req, err := s.request(ctx)
	if err != nil {
		return nil, err
	}
	config, err := s.TLS.config()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: config,
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
	return s.cookies(resp, of)
}

func (s SignIn) request(ctx context.Context) (*http.Request, error) {
	content := io.Reader(http.NoBody)
	if len(s.Form) > 0 {
		form := url.Values{}
		for k, v := range s.Form {
			form.Set(k, v)
		}
		content = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, s.method(), s.URL, content)
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

// cookies are those of the answer that a browser would send with the load's requests: of its host and path, and not expired.
func (s SignIn) cookies(resp *http.Response, of Spec) ([]Header, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	from, err1 := site(s.URL, s.Headers)
	to, err2 := site(of.URL, of.Headers)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	given := resp.Cookies()
	jar.SetCookies(from, given)
	var pairs, names []string
	for _, c := range jar.Cookies(to) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	if len(pairs) > 0 {
		return []Header{{"Cookie", strings.Join(pairs, "; ")}}, nil
	}
	if len(given) == 0 {
		return nil, fmt.Errorf("it answered %s without a cookie", resp.Status)
	}
	for _, c := range given {
		names = append(names, c.Name)
	}
	return nil, fmt.Errorf("it answered %s with cookies that %s does not get (%s): see their domain, path, expiry and Secure",
		resp.Status, to.Redacted(), strings.Join(names, ", "))
}

// site is what cookies belong to: the URL, at the host that is asked for.
func site(raw string, headers []Header) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	u.Host = Spec{Headers: headers}.host(u)
	return u, nil
}
