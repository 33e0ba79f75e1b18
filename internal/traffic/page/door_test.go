package page

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

const secret = "correct horse battery staple"

func ask(t *testing.T, s *httptest.Server, method, path string, change func(*http.Request)) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	must(t, err)
	if change != nil {
		change(r)
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	a, err := c.Do(r)
	must(t, err)
	t.Cleanup(func() { _ = a.Body.Close() })
	return a
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestNeedsToken(t *testing.T) {
	for name, opts := range map[string]Options{"none": {}, "a short one": {Token: "short", Loopback: true}} {
		if _, err := New(opts); err == nil {
			t.Errorf("%s: the page was made", name)
		}
	}
	s := served(t, Options{Reader: demo(t), Name: "demo", Token: secret})
	for path := range map[string]bool{"/": true, "/service?service=reviews": true, "/requests": true, "/graph": true, "/api/services": true, "/api/requests": true, "/events": true} {
		for name, change := range map[string]func(*http.Request){
			"nothing": nil, "another": header("Authorization", "Bearer "+secret+"x"), "a part": header("Authorization", "Bearer correct"), "empty": header("Authorization", "Bearer "),
			"basic": header("Authorization", "Basic "+secret), "a cookie": header("Cookie", "squall="+secret), "a browser": header("Accept", "text/html"),
		} {
			a := ask(t, s, http.MethodGet, path, change)
			b, err := io.ReadAll(a.Body)
			must(t, err)
			if a.StatusCode != http.StatusUnauthorized || strings.Contains(string(b), "reviews") && path != "/service?service=reviews" {
				t.Errorf("%s with %s: %d %s", path, name, a.StatusCode, b)
			}
		}
		if a := ask(t, s, http.MethodGet, path, header("Authorization", "bearer "+secret)); a.StatusCode != http.StatusOK {
			t.Errorf("%s with the token: %d", path, a.StatusCode)
		}
	}
}

// TestSignIn goes through the form as a browser does.
func TestSignIn(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Name: "demo", Token: secret})
	jar, err := cookiejar.New(nil)
	must(t, err)
	c := &http.Client{Jar: jar}
	post := func(token, back, origin string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/login", strings.NewReader(url.Values{"token": {token}, "back": {back}}.Encode()))
		must(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		a, err := c.Do(r)
		must(t, err)
		b, err := io.ReadAll(a.Body)
		must(t, err)
		must(t, a.Body.Close())
		return a, string(b)
	}
	if a, text := post("wrong", "/graph", ""); a.StatusCode != http.StatusUnauthorized || !strings.Contains(text, "That is not the token") || !strings.Contains(text, `value="/graph"`) {
		t.Error(a.StatusCode, text)
	}
	if a, _ := post(secret, "/", "https://evil.example"); a.StatusCode != http.StatusForbidden || len(a.Cookies()) > 0 {
		t.Error("another site signed in:", a.StatusCode)
	}
	a, text := post(secret, "/graph", s.URL)
	if a.StatusCode != http.StatusOK || a.Request.URL.Path != "/graph" || !strings.Contains(text, "Who calls whom") || !strings.Contains(text, "Sign out") {
		t.Error(a.StatusCode, a.Request.URL, text)
	}
	at, err := url.Parse(s.URL)
	must(t, err)
	if got := jar.Cookies(at); len(got) != 1 || strings.Contains(got[0].Value, secret) {
		t.Error(got)
	}
	for _, back := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "javascript:alert(1)", ""} {
		if a, _ := post(secret, back, ""); a.Request.URL.Host != at.Host || a.Request.URL.Path != "/" {
			t.Errorf("back to %q leads to %s", back, a.Request.URL)
		}
	}
	out, err := c.Post(s.URL+"/logout", "", nil)
	must(t, err)
	must(t, out.Body.Close())
	if len(jar.Cookies(at)) != 0 {
		t.Error("still signed in")
	}
}

func TestCookie(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Token: secret})
	a := ask(t, s, http.MethodPost, "/login", func(r *http.Request) {
		body := "token=" + url.QueryEscape(secret)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	})
	c := a.Cookies()
	if a.StatusCode != http.StatusSeeOther || len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Path != "/" {
		t.Fatal(a.StatusCode, c)
	}
	if a := ask(t, s, http.MethodGet, "/api/services", func(r *http.Request) { r.AddCookie(c[0]) }); a.StatusCode != http.StatusOK {
		t.Error(a.StatusCode)
	}
	other := served(t, Options{Reader: demo(t), Token: secret})
	if a := ask(t, other, http.MethodGet, "/api/services", func(r *http.Request) { r.AddCookie(c[0]) }); a.StatusCode != http.StatusUnauthorized {
		t.Error("a cookie of another process was taken:", a.StatusCode)
	}
}

// TestRebinding asks by names that a site could give to this machine.
func TestRebinding(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Loopback: true})
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:1234": 200, "127.0.0.1:80": 200, "127.9.9.9": 200, "[::1]:80": 200, "::1": 200,
		"evil.example": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403, "10.0.0.1": 403, "0.0.0.0": 403, "evil.example:80": 403,
	} {
		for _, path := range []string{"/", "/api/services", "/events", "/login"} {
			if want == 200 && path != "/" {
				continue
			}
			if a := ask(t, s, http.MethodGet, path, func(r *http.Request) { r.Host = host }); a.StatusCode != want {
				t.Errorf("%s%s: %d, want %d", host, path, a.StatusCode, want)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Loopback: true})
	for _, path := range []string{"/", "/api/services", "/assets/page.js", "/nowhere", "/requests?limit=x"} {
		h := ask(t, s, http.MethodGet, path, nil).Header
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", path, h)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		if a := ask(t, s, method, "/requests", nil); a.StatusCode == http.StatusOK {
			t.Errorf("%s was answered", method)
		}
	}
}

// hostile are texts that must be shown, and do nothing.
func hostile() []string {
	return []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `javascript:alert(1)`, "</title></style><svg onload=alert(1)>", "{{.}}${7*7}",
		"\x1b[31mred\x1b[0m\r\n\x00", "abc\u202egnp.exe\u2066\u200f", strings.Repeat("A<b>", 25_000), `'; DROP TABLE records; --`, `{"match_all":{}}`, "\xff\xfe",
	}
}

func hostileRecords() []traffic.Record {
	var out []traffic.Record
	for i, h := range hostile() {
		r := traffictest.Some(1, time.Second, uint64(i))[0]
		r.ID, r.Reporter, r.Duration = traffic.NewID(r.Time.UnixNano(), int64(i)), traffic.Destination, time.Duration(i+1)*time.Millisecond
		for _, to := range []*string{
			&r.Run, &r.Stage, &r.Source.Namespace, &r.Source.Name, &r.Source.Service, &r.Source.Version, &r.Source.Pod, &r.Source.Address, &r.Destination.Namespace, &r.Destination.Service, &r.Destination.Name,
			&r.Destination.Version, &r.Destination.Pod, &r.Destination.Address, &r.Method, &r.Path, &r.Interface, &r.Authority, &r.Scheme, &r.Flags, &r.Details, &r.RequestID, &r.TraceID, &r.UserAgent,
			&r.Principal, &r.Route, &r.Cluster,
		} {
			*to = strings.ToValidUTF8(h, "\uFFFD")
		}
		if len(h) > 10_000 { // labels are short: only the path is that long
			r.Run, r.Stage, r.Destination.Service, r.Destination.Namespace, r.Interface = "long", "long", "long", "long", "/long"
		}
		r.Headers = map[string]string{"x-hostile": strings.ToValidUTF8(h, "\uFFFD")}
		out = append(out, r)
	}
	return out
}

// unescaped is whether a page has markup or characters of a hostile text.
func unescaped(page string) string {
	for _, bad := range []string{"<script>alert", "<img", "onerror=alert(1)>", "<svg onload", "' onmouseover='", "\x1b", "\u202e", "\u2066", "\u200f", "\x00", `href="javascript`, "<b>", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			return bad
		}
	}
	return ""
}

func TestHostileTexts(t *testing.T) {
	db := opened(t)
	put(t, db, hostileRecords())
	s := served(t, Options{Reader: db, Name: hostile()[0], Loopback: true})
	paths := []string{"/", "/graph", "/requests", "/requests?sort=duration", "/requests?" + url.Values{"path": {hostile()[0]}, "trace": {hostile()[1]}}.Encode(), "/" + url.PathEscape(hostile()[0]), "/?" + url.QueryEscape(hostile()[1]) + "=1"}
	for _, r := range fromJSON[Services](t, s, "/api/services").Services {
		paths = append(paths, "/service?"+url.Values{"namespace": {r.Namespace}, "service": {r.Service}}.Encode())
	}
	for _, path := range paths {
		_, text := get(t, s, path)
		if bad := unescaped(text); bad != "" {
			t.Errorf("%.80s has %q: …%.300s", path, bad, text[max(0, strings.Index(text, bad)-100):])
		}
	}
	if _, text := get(t, s, "/requests"); !strings.Contains(text, "&lt;script&gt;alert(1)&lt;/script&gt;") || len(text) > 2<<20 {
		t.Error("the texts are not shown, or the page is long:", len(text))
	}
	var b strings.Builder
	must(t, Export(t.Context(), db, store.Filter{}, &b))
	if bad := unescaped(b.String()); bad != "" {
		t.Errorf("the export has %q", bad)
	}
}

// injections are parameters that mean something in SQL, in Lucene or in JSON, and nothing here.
func injections() []string {
	return []string{`' OR '1'='1`, `" OR "1"="1`, `x'); DROP TABLE records; --`, `*`, `?`, `%`, `_`, `.*`, `\`, `\*`, `service.target.name:*`, `"}},{"match_all":{}},{"x":{"y":"`, `{"script":{"source":"1"}}`, `${jndi:ldap://x}`, `_exists_:trace.id`, "a\nb"}
}

// noInjection asks for what no record has, in all words.
func noInjection(t *testing.T, s *httptest.Server) {
	t.Helper()
	all := fromJSON[Services](t, s, "/api/services?last=all").Total.Requests
	if all == 0 {
		t.Fatal("there are no records")
	}
	for _, name := range []string{"run", "stage", "source", "sourceIn", "namespace", "service", "workload", "version", "method", "interface", "flag", "trace", "request", "path"} {
		for _, v := range injections() {
			got := fromJSON[Requests](t, s, "/api/requests?"+url.Values{name: {v}, "last": {"all"}}.Encode())
			if len(got.Requests) > 0 {
				t.Errorf("%s=%q found %d requests", name, v, len(got.Requests))
			}
		}
	}
	if now := fromJSON[Services](t, s, "/api/services?last=all").Total.Requests; now != all {
		t.Errorf("there were %d records, and are %d", all, now)
	}
}

func TestInjectionSQLite(t *testing.T) {
	noInjection(t, served(t, Options{Reader: demo(t), Loopback: true}))
}

func TestWrongAddresses(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Loopback: true})
	for query, word := range map[string]string{
		"limit=0": "number of requests", "limit=100000": "ask for 1 to 1000", "limit=x": "number", "sort=name": "not sorted", "order=up": "asc or desc", "last=-1h": "duration", "last=soon": "duration", "code=abc": "0 to 999",
		"class=77": "0 to 9", "from=yesterday": "a time such as", "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z": "before it begins", "reporter=me": "source or destination", "failed=maybe": "true or false",
		"slower=1": "duration", "run=a&run=b": "2 times", "what=1": "unknown", "%zz=1": "cannot be read", "path=" + strings.Repeat("a", 3000): "longer than", "path=%00": "no text", "path=%ff": "no text",
		"after=x": "no listing", "after=%7B%22t%22%3A%22x%22%7D": "no listing", "rows=size": "rows are sorted by", "from=1492-01-01T00:00:00Z": "a time such as", "code=" + strings.Repeat("200&code=", 40) + "200": "41 times",
	} {
		a := ask(t, s, http.MethodGet, "/api/requests?"+query, nil)
		var got struct{ Error string }
		must(t, json.NewDecoder(a.Body).Decode(&got))
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(got.Error, word) {
			t.Errorf("%.60s: %d %s", query, a.StatusCode, got.Error)
		}
		if code, text := get(t, s, "/requests?"+query); code != http.StatusBadRequest || !strings.Contains(text, `role="alert"`) {
			t.Errorf("%.60s: %d", query, code)
		}
	}
	if code, _ := get(t, s, "/service"); code != http.StatusBadRequest {
		t.Error("a service without a name:", code)
	}
	if code, text := get(t, s, "/none"); code != http.StatusNotFound || !strings.Contains(text, "no page") {
		t.Error(code, text)
	}
}

// TestStoreThatFails has a store that is closed while somebody looks.
func TestStoreThatFails(t *testing.T) {
	db := opened(t)
	s := served(t, Options{Reader: db, Loopback: true})
	must(t, db.Close(t.Context()))
	if a := ask(t, s, http.MethodGet, "/api/services", nil); a.StatusCode != http.StatusBadGateway {
		t.Error(a.StatusCode)
	}
}

// TestEvents watches with as many as may, sees a record come, and sees all end with the server.
func TestEvents(t *testing.T) {
	db := opened(t)
	records := bookinfo(100, time.Minute)
	put(t, db, records[:100])
	p, err := New(Options{Reader: db, Loopback: true, Every: 20 * time.Millisecond})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, p) }()
	s := &httptest.Server{URL: "http://" + l.Addr().String()}
	watch := func() (*http.Response, *bufio.Scanner) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/events", nil)
		must(t, err)
		a, err := http.DefaultClient.Do(r)
		must(t, err)
		return a, bufio.NewScanner(a.Body)
	}
	var streams []*bufio.Scanner
	for range maxWatchers {
		a, lines := watch()
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatal(a.StatusCode, a.Header)
		}
		streams = append(streams, lines)
	}
	a, _ := watch()
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Error("one more than may watch:", a.StatusCode)
	}
	data := func(lines *bufio.Scanner) string {
		for lines.Scan() {
			if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return d
			}
		}
		return ""
	}
	newest := func(list []traffic.Record) string {
		var at time.Time
		for _, r := range list {
			if r.Reporter == traffic.Destination && r.Time.After(at) {
				at = r.Time
			}
		}
		return fmt.Sprint(at.UnixNano())
	}
	for _, lines := range streams {
		if got := data(lines); got != newest(records[:100]) {
			t.Fatalf("%s, want %s", got, newest(records[:100]))
		}
	}
	put(t, db, records[100:])
	for _, lines := range streams {
		if got := data(lines); got != newest(records) {
			t.Fatalf("%s, want %s", got, newest(records))
		}
	}
	stop()
	must(t, <-ended)
	for _, lines := range streams {
		if got := data(lines); got != "" {
			t.Error(got)
		}
	}
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	if len(p.live.watchers) > 0 || p.live.stop != nil {
		t.Errorf("%d still watch", len(p.live.watchers))
	}
}
