package elastic

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/page"
	"squall/internal/traffic/sqlite"
	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

// varied are records of all kinds: TCP, without an answer, of an unknown version, caller or service.
func varied() []traffic.Record {
	out := traffictest.Some(3000, 25*time.Minute, 5)
	for i := range out {
		r := &out[i]
		switch {
		case i%11 == 0:
			r.Protocol, r.Method, r.Path, r.Interface, r.Code, r.Scheme, r.Authority, r.UserAgent, r.Flags = "TCP", "", "", "", 0, "", "", "", ""
			r.Destination.Service, r.Destination.Version = "mysqldb", ""
		case i%13 == 0:
			r.Code, r.Flags = 0, "DC"
		case i%17 == 0:
			r.Source.Name, r.Source.Namespace = "", ""
		case i%19 == 0:
			r.Destination.Service, r.Stage = "", "recovery"
		}
	}
	return out
}

func pageOf(t *testing.T, s store.Reader) *httptest.Server {
	t.Helper()
	h, err := page.New(page.Options{Reader: s, Name: "records", Loopback: true})
	must(t, err)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

// fetch is an answer of the API, and its cursor apart, which each store has of its own.
func fetch(t *testing.T, s *httptest.Server, path string) (text, next string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	must(t, err)
	a, err := http.DefaultClient.Do(r)
	must(t, err)
	b, err := io.ReadAll(a.Body)
	must(t, err)
	must(t, a.Body.Close())
	var v map[string]any
	must(t, json.Unmarshal(b, &v))
	if a.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s", path, a.StatusCode, b)
	}
	next, _ = v["next"].(string)
	delete(v, "next")
	b, err = json.MarshalIndent(v, "", " ")
	must(t, err)
	return string(b), next
}

// TestPageIsTheSame has the page of records in Elasticsearch say what that of the same records in SQLite says.
func TestPageIsTheSame(t *testing.T) {
	c := config(t)
	if _, err := OpenReader(t.Context(), c); err != nil {
		t.Errorf("there is nothing yet: %v", err)
	}
	if status := call(t.Context(), t, http.MethodGet, "/_index_template/"+c.Index, ""); status != http.StatusNotFound {
		t.Errorf("who reads has made a template: %d", status)
	}
	elasticsearch := opened(t, c)
	file, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"))
	must(t, err)
	defer func() { must(t, file.Close(t.Context())) }()
	records := varied()
	for _, s := range []store.Store{elasticsearch, file} {
		must(t, s.Put(t.Context(), records))
		must(t, s.Flush(t.Context()))
	}
	reader, err := OpenReader(t.Context(), c)
	must(t, err)
	one, other := pageOf(t, reader), pageOf(t, file)
	for _, path := range []string{
		"/api/services", "/api/services?last=5m", "/api/services?last=all&reporter=source", "/api/services?from=2026-03-01T12:05:03Z&to=2026-03-01T12:09:00Z", "/api/services?version=v2&class=5", "/api/services?class=0",
		"/api/service?namespace=bookinfo&service=reviews", "/api/service?namespace=bookinfo&service=mysqldb&rows=p99", "/api/service?service=reviews&stage=breaker&code=503&code=0", "/api/service?service=reviews&source=productpage-v1",
		"/api/graph", "/api/graph?last=1m", "/api/requests?limit=7", "/api/requests?noInterface=1", "/api/requests?code=0&limit=1000", "/api/requests?class=0&class=4&sort=duration",
		"/api/requests?service=reviews&method=GET&interface=%2Fhealth&failed=true&sort=duration&order=asc", "/api/requests?flag=DC", "/api/requests?path=%2Freviews%2F1&slower=4ms&faster=9ms",
		"/api/requests?trace=" + records[100].TraceID + "&reporter=destination", "/api/requests?request=" + records[101].RequestID,
	} {
		want, _ := fetch(t, other, path)
		if got, _ := fetch(t, one, path); got != want {
			t.Errorf("%s differs: Elasticsearch has\n%.1500s\nSQLite has\n%.1500s", path, got, want)
		}
	}
	for _, sort := range []string{"time", "duration"} {
		path := "/api/requests?interface=%2Fhealth&limit=50&sort=" + sort
		pages, seen := 0, 0
		for next, other1 := "", ""; ; pages++ {
			got, then := fetch(t, one, path+"&after="+url.QueryEscape(next))
			want, then1 := fetch(t, other, path+"&after="+url.QueryEscape(other1))
			if got != want {
				t.Fatalf("page %d by %s differs", pages, sort)
			}
			seen += strings.Count(got, `"@timestamp"`)
			if (then == "") != (then1 == "") {
				t.Fatalf("page %d by %s: one store ends before the other", pages, sort)
			}
			if next, other1 = then, then1; next == "" {
				break
			}
		}
		if pages < 3 || seen < 300 {
			t.Errorf("%d pages with %d requests by %s", pages, seen, sort)
		}
	}
}

// TestPageInjection asks for what no record has, in words that Elasticsearch's languages know.
func TestPageInjection(t *testing.T) {
	s := opened(t, config(t))
	must(t, s.Put(t.Context(), varied()))
	must(t, s.Flush(t.Context()))
	at := pageOf(t, s)
	for _, name := range []string{"run", "stage", "source", "namespace", "service", "version", "method", "interface", "flag", "trace", "request", "path"} {
		for _, v := range []string{"*", "?", ".*", `\*`, `\`, "squall.run:*", "_exists_:trace.id", `"}},{"match_all":{}},{"x":{"y":"`, `{"script":{"source":"1"}}`, `' OR '1'='1`, "/.*/", "re*ews"} {
			text, _ := fetch(t, at, fmt.Sprintf("/api/requests?last=all&%s=%s", name, url.QueryEscape(v)))
			if !strings.Contains(text, `"requests": []`) {
				t.Errorf("%s=%q found requests", name, v)
			}
		}
	}
}
