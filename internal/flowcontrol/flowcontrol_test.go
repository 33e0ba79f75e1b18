package flowcontrol

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"squall/fixtures/es-flowcontrol/app/standin"
	"squall/internal/elasticsearch"
	"squall/internal/elasticsearch/elasticsearchtest"
	"squall/internal/flowcontrol/flowcontroltest"
)

// fixture serves the project's own flow control before a node, and returns both addresses.
func fixture(t *testing.T, node string) (controlled, admin string) {
	t.Helper()
	s := flowcontroltest.Serve(t, node)
	return s.Controlled, s.Admin
}

func client(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestInForce: a transient setting wins, so that a persistent one below it is kept and not in force.
func TestInForce(t *testing.T) {
	_, admin := fixture(t, standin.New(t).URL)
	c := client(t, Options{URL: admin})
	const key = "flowcontrol.http.concurrent"
	set := func(persistent, transient any) Change {
		return Change{map[string]any{key: persistent}, map[string]any{key: transient}}
	}
	for _, tt := range []struct {
		now, made Change
		want      string
	}{
		{set(3, nil), Change{Persistent: map[string]any{key: 3}}, ""},
		{set(3, 3), Change{Persistent: map[string]any{key: "3"}}, ""},
		{set(3, 1000), Change{Persistent: map[string]any{key: 3}}, "the transient setting flowcontrol.http.concurrent is 1000, which wins over the persistent one: it should be 3"},
		{set(nil, 1000), Change{Persistent: map[string]any{key: nil}}, "is 1000, which wins over the persistent one: it should be not set"},
		{set(3, 1000), set(3, 1000), ""},
		{set(3, 1000), Change{Transient: map[string]any{key: 1000}}, ""},
		{set(4, nil), Change{Persistent: map[string]any{key: 3}}, "the persistent setting flowcontrol.http.concurrent is 4, and should be 3"},
	} {
		if err := c.Apply(t.Context(), tt.now); err != nil {
			t.Fatal(err)
		}
		err := c.InForce(t.Context(), tt.made)
		var differs *DifferenceError
		if (err == nil) != (tt.want == "") || err != nil && (!errors.As(err, &differs) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// TestChangeAndUndo: a change is seen in what the fixture does and counts, and its undo, kept as JSON, leaves what was there.
func TestChangeAndUndo(t *testing.T) {
	controlled, admin := fixture(t, standin.New(t).URL)
	c := client(t, Options{URL: admin})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Apply(ctx, Change{Persistent: map[string]any{"flowcontrol.http.allow": []string{"10.0.0.1", "::1"}, "flowcontrol.http.concurrent": 5}}))
	was, err := c.settings(ctx)
	must(err)
	change := Change{
		Persistent: map[string]any{"flowcontrol.http.enabled": true, "flowcontrol.http.deny": "127.0.0.0/8", "flowcontrol.http.allow": nil},
		Transient:  map[string]any{"flowcontrol.http.concurrent": 7, "flowcontrol.http.newconnect": "9"},
	}
	undo, err := c.Undo(ctx, change)
	must(err)
	if err := c.Holds(ctx, change); err == nil || strings.Count(err.Error(), "should be") != 5 {
		t.Error("before it is made:", err)
	}
	must(c.Apply(ctx, change))
	must(c.Holds(ctx, change))
	if err := c.Holds(ctx, undo); err == nil || !strings.Contains(err.Error(), "the persistent setting flowcontrol.http.allow is not set, and should be [10.0.0.1 ::1]") {
		t.Error(err)
	}
	denied := client(t, Options{URL: controlled})
	for range 3 {
		if _, err := denied.Stats(ctx, ""); err == nil {
			t.Error("denied, and it answers")
		}
	}
	b, err := json.Marshal(undo)
	must(err)
	var kept Change
	must(json.Unmarshal(b, &kept))
	must(c.Apply(ctx, kept))
	must(c.Holds(ctx, kept))
	now, err := c.settings(ctx)
	must(err)
	if fmt.Sprint(now) != fmt.Sprint(was) {
		t.Errorf("%v, want %v", now, was)
	}
	nodes, err := denied.Stats(ctx, "id-1")
	must(err)
	if len(nodes) != 1 || nodes[0].Name != "node-1" || nodes[0].HTTP != (Connections{ConcurrentReq: 1, RejectedDeny: 3}) || nodes[0].At.IsZero() {
		t.Errorf("%+v", nodes)
	}
	if v, ok := nodes[0].Counter("http.rejected_deny"); v != 3 || !ok {
		t.Error(v, ok)
	}
	if _, ok := nodes[0].Counter("http.rejected"); ok || len(CounterNames()) != 11 || !slices.IsSorted(CounterNames()) {
		t.Error(ok, CounterNames())
	}
	if _, err := denied.Stats(ctx, "other"); err == nil || !strings.Contains(err.Error(), `no node of`) {
		t.Error(err)
	}
	open, err := denied.Open(ctx, "id-1")
	must(err)
	if open.Current < 1 || open.Total < open.Current {
		t.Errorf("%+v", open)
	}
}

// node is the real Elasticsearch of all tests; nil under -short.
var node *elasticsearch.Server

func TestMain(m *testing.M) {
	os.Exit(elasticsearchtest.Main(m, func(s *elasticsearch.Server) { node = s }))
}

// TestElasticsearch: the same before a real one, with a setting of its own among the others.
func TestElasticsearch(t *testing.T) {
	if node == nil {
		t.Skip("-short: a real Elasticsearch takes half a minute to start")
	}
	controlled, _ := fixture(t, node.URL)
	c := client(t, Options{URL: controlled})
	ctx := t.Context()
	change := Change{Persistent: map[string]any{
		"cluster.routing.allocation.awareness.attributes": []string{"a", "b"}, "cluster.max_shards_per_node": 1200, "flowcontrol.http.deny": []string{"10.0.0.1"},
	}}
	undo, err := c.Undo(ctx, change)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Apply(ctx, change), c.Holds(ctx, change)); err != nil {
		t.Error(err)
	}
	if err := errors.Join(c.Apply(ctx, undo), c.Holds(ctx, undo)); err != nil {
		t.Error(err)
	}
	if c.Holds(ctx, change) == nil {
		t.Error("it holds after it was taken back")
	}
	nodes, err := c.Stats(ctx, "_local")
	if err != nil || nodes[0].HTTP != (Connections{ConcurrentReq: 1}) {
		t.Fatalf("%+v %v", nodes, err)
	}
	open, err := c.Open(ctx, nodes[0].ID)
	if err != nil || open.Current < 1 || open.Total < open.Current {
		t.Errorf("%+v %v", open, err)
	}
}

func TestRefused(t *testing.T) {
	_, admin := fixture(t, standin.New(t).URL)
	for _, c := range []struct {
		user   string
		change Change
		status int
		want   string
	}{
		{"", Change{}, 0, "no setting is given"},
		{"", Change{Persistent: map[string]any{"flowcontrol.*": nil}}, 0, "write each key, without *"},
		{"", Change{Transient: map[string]any{"flowcontrol.http": map[string]any{"enabled": true}}}, 0, "write full keys"},
		{"", Change{Persistent: map[string]any{"flowcontrol.http.concurent": 1}}, 400, "400: illegal_argument_exception: persistent setting [flowcontrol.http.concurent], not recognized"},
		{"", Change{Persistent: map[string]any{"flowcontrol.http.concurrent": "many"}}, 400, "must be a whole number"},
		{"wrong", Change{Persistent: map[string]any{"flowcontrol.break.enabled": true}}, 401, "401: who"},
		{"reader", Change{Persistent: map[string]any{"flowcontrol.break.enabled": true}}, 403, "403: may not"},
	} {
		err := client(t, Options{URL: admin, Username: c.user, Password: "secret"}).Apply(t.Context(), c.change)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", c.change, err)
		}
		var refused *Error
		if errors.As(err, &refused) != (c.status != 0) || refused != nil && refused.Status != c.status {
			t.Errorf("%+v: %v", c.change, err)
		}
	}
}

// TestAnswers: what a service may answer that is not what it should.
func TestAnswers(t *testing.T) {
	const whole = `{"transport":{"concurrent_req":1,"rejected_concurrent":2,"rejected_new":3,"rejected_deny":4},` +
		`"http":{"concurrent_req":5,"rejected_concurrent":6,"rejected_new":7,"rejected_deny":8},"memory":{"memory_allow":9,"memory_rejected":10},"cpu":{"rejected_cpu":11}`
	node := func(s string) string {
		return `{"nodes":{"x":{"name":"n","timestamp":1613979513747,"flow_control":` + s + `}}}`
	}
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{200, node(whole + `}`), ""},
		{200, node(whole + `,"ip_address":[{"ip":"/10.0.0.198","count":453}],"url_sample":[{"url":"/","method":"GET","remote_address":"/10.0.0.198:16763","count":1}]}`), ""},
		{200, node(strings.Replace(whole, `"rejected_new":7,`, "", 1) + `}`), "node n: its flow control has no http.rejected_new"},
		{200, node(strings.Replace(whole, `"rejected_new":7`, `"rejected_new":null`, 1) + `}`), "has no http.rejected_new"},
		{200, node(strings.Replace(whole, `"rejected_new":7`, `"rejected_new":"7"`, 1) + `}`), "http.rejected_new: json"},
		{200, node(strings.Replace(whole, `"cpu":{"rejected_cpu":11}`, `"cpu":null`, 1) + `}`), "has no cpu.rejected_cpu"},
		{200, node(`null`), "tells nothing of its flow control"},
		{200, `{"nodes":{}}`, "no node of"},
		{200, `{"_nodes":{"failed":1,"failures":[{"reason":"timed out"}]},"nodes":{}}`, "1 nodes did not answer: timed out"},
		{200, `<html>`, "not what Elasticsearch answers"},
		{400, `{"error":{"type":"illegal_argument_exception","reason":"request contains unrecognized metric: [filter]"},"status":400}`, "does not seem to have flow control"},
		{301, ``, "301: it says nothing about it"},
		{503, strings.Repeat("x", 1000), "503: " + strings.Repeat("x", 200)},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		nodes, err := client(t, Options{URL: s.URL}).Stats(t.Context(), "")
		s.Close()
		if c.want == "" {
			if err != nil || nodes[0].CPU.Rejected != 11 || nodes[0].HTTP != (Connections{5, 6, 7, 8}) {
				t.Errorf("%s: %+v %v", c.body, nodes, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%s: %v", c.body, err)
		}
	}
}

func TestNew(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{URL: "es:9200"}, "write https://HOST:PORT"}, {Options{URL: "http://a:secret@["}, "no URL"}, {Options{URL: "http://es/?secret"}, "no address of a service"},
		{Options{URL: "http://a:secret@es", Username: "b"}, "given twice"}, {Options{URL: "http://es", Username: "b", APIKey: "secret"}, "not both"},
		{Options{URL: "https://es", CA: []byte("text")}, "no certificate"},
	} {
		_, err := New(c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v", c.o, err)
		}
	}
	o := Options{URL: "https://a:secret@es:9200", Password: "secret", APIKey: "secret"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(format, o); strings.Contains(s, "secret") || !strings.Contains(s, "es:9200") {
			t.Errorf("%s: %s", format, s)
		}
	}
}

// TestSignIn: what is sent, in each way to sign in, to a service with TLS of its own authority.
func TestSignIn(t *testing.T) {
	var got string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		fmt.Fprint(w, `{"acknowledged":true}`)
	}))
	defer s.Close()
	ca := pemOf(s)
	change := Change{Transient: map[string]any{"a": 1}}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{URL: s.URL, CA: ca}, ""},
		{Options{URL: s.URL, CA: ca, APIKey: "k"}, "ApiKey k"},
		{Options{URL: s.URL, CA: ca, Username: "u", Password: "p"}, "Basic dTpw"},
		{Options{URL: strings.Replace(s.URL, "//", "//u:p@", 1), CA: ca}, "Basic dTpw"},
	} {
		if err := client(t, c.o).Apply(t.Context(), change); err != nil || got != c.want {
			t.Errorf("%v: %q, %v", c.o, got, err)
		}
	}
	if err := client(t, Options{URL: s.URL}).Apply(t.Context(), change); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}

func pemOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}
