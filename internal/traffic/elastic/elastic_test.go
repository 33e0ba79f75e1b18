package elastic

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"squall/internal/elasticsearch"
	"squall/internal/elasticsearch/elasticsearchtest"
	"squall/internal/traffic"
	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

// node is the real Elasticsearch of all tests.
var node struct{ server *elasticsearch.Server }

func TestMain(m *testing.M) {
	os.Exit(elasticsearchtest.Main(m, func(s *elasticsearch.Server) { node.server = s }))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var indices atomic.Int64

// config is of indices of this test's own, which are deleted at its end.
func config(t testing.TB) Config {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: a real Elasticsearch takes half a minute to start")
	}
	c := Config{URLs: []string{node.server.URL}, Index: fmt.Sprintf("test-%d-%d", os.Getpid(), indices.Add(1))}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, path := range []string{"/" + c.Index + "-*", "/_index_template/" + c.Index} {
			if status := call(ctx, t, http.MethodDelete, path, ""); status != http.StatusOK && status != http.StatusNotFound {
				t.Errorf("%s stays: %d", path, status)
			}
		}
	})
	return c
}

// call asks the node itself.
func call(ctx context.Context, t testing.TB, method, path, body string) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, node.server.URL+path, strings.NewReader(body))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, res.Body.Close())
	return res.StatusCode
}

func opened(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil && !strings.Contains(err.Error(), "in the spool") {
			t.Error(err)
		}
	})
	return s
}

func TestConform(t *testing.T) {
	traffictest.Conform(t, opened(t, config(t)))
}

// One absurd entry harms itself alone.
func TestAbsurd(t *testing.T) {
	traffictest.Absurd(t, opened(t, config(t)))
}

// fails answers for Elasticsearch while it is told to, and passes all else on to the real one.
type fails struct {
	status atomic.Int64
	body   atomic.Pointer[string]
	times  atomic.Int64 // how many more bulk requests fail; -1 is all
	lose   atomic.Bool  // the request is carried out, and its answer lost
	asked  atomic.Int64
}

func (f *fails) serve(t testing.TB) string {
	t.Helper()
	target, err := url.Parse(node.server.URL)
	must(t, err)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bulk := strings.HasPrefix(r.URL.Path, "/_bulk")
		if bulk {
			f.asked.Add(1)
		}
		failing := bulk && f.times.Load() != 0
		if failing && f.times.Load() > 0 {
			f.times.Add(-1)
		}
		if failing && !f.lose.Load() {
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(int(f.status.Load()))
			if text := f.body.Load(); text != nil {
				fmt.Fprint(w, *text)
			}
			return
		}
		r.URL.Scheme, r.URL.Host, r.RequestURI, r.Host = target.Scheme, target.Host, "", target.Host
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer res.Body.Close()
		if failing {
			panic(http.ErrAbortHandler)
		}
		for name, values := range res.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(res.StatusCode)
		buffer := make([]byte, 1<<16)
		for {
			n, err := res.Body.Read(buffer)
			_, _ = w.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// until waits for what the store says of itself.
func until(t testing.TB, s *Store, is func(store.Account) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !is(s.Account()) {
		if ctx.Err() != nil {
			t.Fatalf("a minute later: %v, %+v", s.Account(), s.Account())
		}
		pause(ctx, 1)
	}
}

func stored(t testing.TB, s *Store) uint64 {
	t.Helper()
	groups, err := s.Groups(t.Context(), store.Filter{})
	must(t, err)
	if len(groups) == 0 {
		return 0
	}
	return groups[0].Summary.Records
}

// Whatever fails for some time, each record is stored once and accounted for.
func TestRetries(t *testing.T) {
	text := `{"error":{"type":"es_rejected_execution_exception","reason":"too much"},"status":429}`
	partial := `{"errors":true,"items":[{"create":{"status":201}}]}`
	for name, c := range map[string]struct {
		status int64
		body   *string
		lose   bool
		spool  bool
	}{
		"429": {status: 429, body: &text}, "503": {status: 503}, "an answer that is lost": {lose: true}, "an answer of some": {status: 200, body: &partial},
		"429, with a spool": {status: 429, body: &text, spool: true}, "lost, with a spool": {lose: true, spool: true}, "no JSON": {status: 200, spool: true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			var f fails
			f.status.Store(c.status)
			f.body.Store(c.body)
			f.lose.Store(c.lose)
			cfg.URLs = []string{f.serve(t)}
			if c.spool {
				cfg.Spool = filepath.Join(t.TempDir(), "spool")
			}
			s := opened(t, cfg)
			f.times.Store(5)
			must(t, errors.Join(s.Put(t.Context(), traffictest.Some(500, time.Minute, 1)), s.Flush(t.Context())))
			a := s.Account()
			if !a.Balanced() || a.Lost() != 0 || a.Pending != 0 || a.Spooled != 0 || a.Stored+a.Duplicates != 500 || a.Retried < 5 || a.LastError == "" {
				t.Errorf("%v, %+v", a, a)
			}
			if n := stored(t, s); n != 500 || c.lose != (a.Duplicates == 500) {
				t.Errorf("%d are there; %v", n, a)
			}
		})
	}
}

// Elasticsearch ends for a time and comes back: nothing is lost, and memory does not grow with what waits.
func TestOutage(t *testing.T) {
	cfg := config(t)
	cfg.Spool = filepath.Join(t.TempDir(), "spool")
	var f fails
	cfg.URLs = []string{f.serve(t)}
	s := opened(t, cfg)
	f.status.Store(503)
	f.times.Store(-1)
	records := traffictest.Some(20_000, time.Minute, 1)
	must(t, s.Put(t.Context(), records[:10_000]))
	until(t, s, func(a store.Account) bool { return a.Spooled >= 10_000 })
	if again, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("%v, %v", again, err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Close(short); err == nil || !strings.Contains(err.Error(), "in the spool") {
		t.Error(err)
	}
	f.times.Store(0)
	s = opened(t, cfg) // another process finds what was left
	must(t, errors.Join(s.Put(t.Context(), records[10_000:]), s.Flush(t.Context())))
	if a := s.Account(); a.Received != 20_000 || a.Stored+a.Duplicates != 20_000 || !a.Balanced() || stored(t, s) != 20_000 {
		t.Errorf("%v", a)
	}
}

func TestSpoolFull(t *testing.T) {
	cfg := config(t)
	cfg.Spool, cfg.SpoolBytes = filepath.Join(t.TempDir(), "spool"), 10<<20
	var f fails
	cfg.URLs = []string{f.serve(t)}
	s := opened(t, cfg)
	f.status.Store(503)
	f.times.Store(-1)
	must(t, s.Put(t.Context(), traffictest.Some(20_000, time.Minute, 1)))
	until(t, s, func(a store.Account) bool { return a.Spooled+a.Lost() >= 20_000 })
	f.times.Store(0)
	must(t, s.Flush(t.Context()))
	if a := s.Account(); a.Dropped["spool full"] == 0 || a.Stored == 0 || !a.Balanced() || a.Received != 20_000 || stored(t, s) != a.Stored {
		t.Errorf("%v", a)
	}
}

// An index that takes no writes, as when its disk is full, holds records up until it does. The block is not the one of a full disk itself,
// as the node takes that off within half a minute where there is room.
func TestBlockedIndex(t *testing.T) {
	cfg := config(t)
	cfg.Spool = filepath.Join(t.TempDir(), "spool")
	s := opened(t, cfg)
	records := traffictest.Some(2000, time.Minute, 1)
	must(t, errors.Join(s.Put(t.Context(), records[:1000]), s.Flush(t.Context())))
	index := "/" + s.indexOf(&records[0])
	if status := call(t.Context(), t, http.MethodPut, index+"/_settings", `{"index.blocks.write": true}`); status != http.StatusOK {
		t.Fatal(status)
	}
	must(t, s.Put(t.Context(), records[1000:]))
	until(t, s, func(a store.Account) bool { return a.Spooled > 0 })
	if a := s.Account(); !strings.Contains(a.LastError, "blocked") || a.Lost() > 0 || !a.Balanced() {
		t.Errorf("%v, %s", a, a.LastError)
	}
	if status := call(t.Context(), t, http.MethodPut, index+"/_settings", `{"index.blocks.write": null}`); status != http.StatusOK {
		t.Fatal(status)
	}
	must(t, s.Flush(t.Context()))
	if n := stored(t, s); n != 2000 {
		t.Errorf("%d are there; %v", n, s.Account())
	}
}

// Items that Elasticsearch refuses within an answer of 200 are dropped by their reason, and the others stored.
func TestItemErrors(t *testing.T) {
	s := opened(t, config(t))
	records := traffictest.Some(10, time.Minute, 1)
	records[3].Source.Address = "[fe80::1%eth0]:80" // no ip field takes a zone
	records[4].Code = 1 << 20
	records[5].Reporter = ""
	must(t, errors.Join(s.Put(t.Context(), records), s.Flush(t.Context())))
	if a := s.Account(); a.Stored != 8 || a.Dropped["rejected: document_parsing_exception"] != 1 || a.Dropped["invalid"] != 1 || !a.Balanced() {
		t.Errorf("%v, %s", a, a.LastError)
	}
}

func TestRefused(t *testing.T) {
	c := config(t)
	call(t.Context(), t, http.MethodPut, "/"+c.Index+"-2026.03.01", `{"mappings":{"properties":{"event":{"properties":{"duration":{"type":"text"}}}}}}`)
	if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "has other fields") || !strings.Contains(err.Error(), c.Index+"-2026.03.01") {
		t.Error(err)
	}
	c = config(t)
	call(t.Context(), t, http.MethodPut, "/_index_template/"+c.Index, fmt.Sprintf(`{"index_patterns":["%s-x*"]}`, c.Index))
	if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "not Squall's") {
		t.Error(err)
	}
	const secret = "hunter2-hunter2"
	for status, want := range map[int]string{401: "check username and password", 403: "forbids", 200: "not Elasticsearch", 500: "answered 500"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, "{}") }))
		_, err := Open(t.Context(), Config{URLs: []string{strings.Replace(s.URL, "http://", "http://elastic:"+secret+"@", 1)}})
		s.Close()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%d: %v", status, err)
		}
	}
	if _, err := Open(t.Context(), Config{URLs: []string{"http://elastic:" + secret + "@127.0.0.1:1"}}); err == nil || strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	const secret = "s3cret-s3cret"
	c, err := ParseConfig([]byte("ds_driver: Elastic\nurl: http://elasticsearch.service-mesh:9200/, https://b\nusername: elasticsearch\npassworld: " + secret + "\n"))
	if err != nil || c.Password != secret || c.Username != "elasticsearch" || len(c.URLs) != 2 || c.URLs[0] != "http://elasticsearch.service-mesh:9200" {
		t.Fatalf("%+v, %v", c, err)
	}
	for name, wrapped := range map[string]string{
		"ConfigMap": "apiVersion: v1\nkind: ConfigMap\ndata:\n  application.yaml: |\n    url: http://a\n    username: u\n    password: " + secret,
		"Secret":    "apiVersion: v1\nkind: Secret\nstringData:\n  application.yaml: |\n    url: http://a\n    username: u\n    password: " + secret,
		"encoded":   "apiVersion: v1\nkind: Secret\ndata:\n  application.yaml: " + base64.StdEncoding.EncodeToString([]byte("url: http://a\nusername: u\npassword: "+secret)),
	} {
		if c, err := ParseConfig([]byte(wrapped)); err != nil || c.Password != secret {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	text, err := json.Marshal(c)
	must(t, err)
	if shown := fmt.Sprintf("%v %+v %#v %s", c, c, c, text); strings.Contains(shown, secret) {
		t.Errorf("a secret is shown: %s", shown)
	}
	for name, bad := range map[string]string{
		"other driver": "ds_driver: Mongo\nurl: http://a", "no url": "ds_driver: Elastic", "no host": "url: elasticsearch:9200", "both": "url: http://a\nusername: u\npassword: a" + secret + "\npassworld: b" + secret,
		"unknown": "url: http://a\npasword: " + secret, "no user": "url: http://a\npassword: " + secret, "list": "url: http://a\npassword: [" + secret + "]", "index": "url: http://a\nindex: A*",
		"twice": "url: http://a\nurl: http://b", "key and user": "url: http://a\nusername: u\napi_key: " + secret, "ca": "url: http://a\nca_file: /nowhere", "other kind": "apiVersion: v1\nkind: Service\n", "other entry": "kind: ConfigMap\ndata: {a: " + secret + "}", "not encoded": "kind: Secret\ndata: {application.yaml: '" + secret + "!'}",
		"number": "password: {" + secret + ": 1}\nurl: http://a",
	} {
		if c, err := ParseConfig([]byte(bad)); err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "configuration") {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("ds_driver: Elastic\nurl: http://a:b@c\npassworld: x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := ParseConfig(text); err == nil && (len(c.URLs) == 0 || strings.Contains(c.URLs[0], "@")) {
			t.Errorf("%q: %+v", text, c)
		}
	})
}

func TestDocument(t *testing.T) {
	for _, r := range traffictest.Some(100, time.Minute, 3) {
		text, err := json.Marshal(traffic.NewDocument(&r, store.Bucket(r.Duration)))
		must(t, err)
		var tree map[string]any
		must(t, json.Unmarshal(text, &tree))
		known := fields()
		for _, name := range leaves(tree, "") {
			if known[name] == "" && !strings.HasPrefix(name, "envoy.request_headers.") {
				t.Errorf("%s has no mapping", name)
			}
		}
		got, err := traffic.ParseDocument(text)
		must(t, err)
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", r) {
			t.Fatalf("%+v\nbecame\n%+v", r, got)
		}
	}
	if diff := differences(nested(fields())); len(diff) > 0 {
		t.Errorf("%v", diff)
	}
}

func leaves(tree map[string]any, prefix string) (out []string) {
	for name, v := range tree {
		if below, ok := v.(map[string]any); ok {
			out = append(out, leaves(below, prefix+name+".")...)
			continue
		}
		out = append(out, prefix+name)
	}
	return out
}

// BenchmarkPut is how many records a second Elasticsearch has for good.
func BenchmarkPut(b *testing.B) {
	s := opened(b, config(b))
	begin, n := time.Now(), 0
	for b.Loop() {
		b.StopTimer()
		part := traffictest.Some(1000, time.Minute, uint64(n)+7)
		b.StartTimer()
		must(b, s.Put(b.Context(), part))
		n += len(part)
	}
	must(b, s.Batcher.Flush(b.Context()))
	took := time.Since(begin)
	must(b, s.Flush(b.Context()))
	if a := s.Account(); a.Stored != uint64(n) || stored(b, s) != uint64(n) {
		b.Fatalf("%v, %d are there", a, stored(b, s))
	}
	b.ReportMetric(float64(n)/took.Seconds(), "records/s")
}
