package mesh

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/record"
)

const dumped = `{"configs": [
 {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
  "dynamic_active_clusters": [
   {"version_info": "1", "cluster": {"name": "outbound|8000||httpbin.t.svc.cluster.local", "metadata": {"a": 1, "b": 2}}},
   {"cluster": {"name": "outbound|8000|squall-1|httpbin.t.svc.cluster.local"},
    "error_state": {"details": "max_connections: value must be positive"}}]},
 {"dynamic_listeners": [{"name": "in", "active_state": {"listener": {"name": "in", "port": 1}}}, {"name": "warming"}]},
 {"dynamic_route_configs": [{"route_config": {"name": "8000", "virtual_hosts": [{"routes": [{"name": "default.squall-1"}, {}]}]}}]}
]}`

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseConfig(t *testing.T) {
	c := parse(t, dumped)
	if len(c.Clusters) != 2 || len(c.Listeners) != 1 || len(c.Routes) != 1 || !c.RouteNames["default.squall-1"] {
		t.Errorf("%+v", c)
	}
	if why := c.Rejected["cluster outbound|8000|squall-1|httpbin.t.svc.cluster.local"]; why != "max_connections: value must be positive" {
		t.Errorf("rejected: %v", c.Rejected)
	}
	if _, err := ParseConfig([]byte("<html>")); err == nil {
		t.Error("a page is taken for a config dump")
	}
}

func TestDigest(t *testing.T) {
	same := parse(t, strings.Replace(strings.Replace(dumped, `"a": 1, "b": 2`, `"b": 2, "a": 1`, 1), `"version_info": "1"`, `"version_info": "2"`, 1))
	if a := parse(t, dumped); a.Digest() != same.Digest() || len(a.Differs(same)) > 0 {
		t.Errorf("order and version make a difference: %v", a.Differs(same))
	}
	for text, want := range map[string][]string{
		strings.Replace(dumped, `"a": 1`, `"a": 3`, 1):                       {"cluster outbound|8000||httpbin.t.svc.cluster.local"},
		strings.Replace(dumped, `"port": 1`, `"port": 2`, 1):                 {"listener in"},
		strings.Replace(dumped, "default.squall-1", "default.squall-2", 1):   {"route 8000"},
		strings.Replace(dumped, `"active_state"`, `"warming_state"`, 1):      {"listener in"},
		strings.Replace(dumped, `{"name": "8000"`, `{"name": "8001"`, 1):     {"route 8000", "route 8001"},
		strings.Replace(dumped, `|8000|squall-1|`, `|8000|squall-2|`, 1):     {"cluster outbound|8000|squall-1|httpbin.t.svc.cluster.local", "cluster outbound|8000|squall-2|httpbin.t.svc.cluster.local"},
		strings.Replace(dumped, `"port": 1`, `"port": 1, "more": [true]`, 1): {"listener in"},
	} {
		a, b := parse(t, dumped), parse(t, text)
		if a.Digest() == b.Digest() || !slices.Equal(a.Differs(b), want) {
			t.Errorf("differs in %v, want %v", a.Differs(b), want)
		}
	}
}

func TestKnows(t *testing.T) {
	proxies := []record.Proxy{{Pod: "a"}, {Pod: "b"}}
	configs := map[string]*Config{"a": parse(t, dumped), "b": parse(t, `{"configs": []}`)}
	for host, want := range map[string]int{"httpbin.t.svc.cluster.local": 1, "other.t.svc.cluster.local": 0, "bin.t.svc.cluster.local": 0} {
		if got := Knows(configs, proxies, host); len(got) != want {
			t.Errorf("%s is known to %v", host, got)
		}
	}
}

func TestLoggedRequests(t *testing.T) {
	got := LoggedRequests(record.Stats{
		"http.inbound_127.1.0.1_8080;.downstream_rq_total": 7, "http.outbound_127.1.0.2_8000;.downstream_rq_total": 5,
		"http.outbound_127.1.0.2_8000;.downstream_rq_active": 2, "http.admin.downstream_rq_total": 40,
	})
	if got != 10 {
		t.Errorf("%d requests, want 10: those of the admin interface and those under way are not logged", got)
	}
}

func TestMissingEndpoints(t *testing.T) {
	const cluster = "outbound|8000||httpbin.t.svc.cluster.local"
	v4 := addresses{discoveryv1.AddressTypeIPv4: {"127.1.0.2", "127.1.0.1"}}
	v6 := addresses{discoveryv1.AddressTypeIPv6: {"fd00::5"}}
	dual := addresses{discoveryv1.AddressTypeIPv4: {"127.1.0.1"}, discoveryv1.AddressTypeIPv6: {"fd00::5"}}
	for name, tt := range map[string]struct {
		want addresses
		have map[string][]string
		ok   bool
	}{
		"all":                {v4, map[string][]string{cluster: {"127.1.0.1:80", "127.1.0.2:80"}}, true},
		"one is missing":     {v4, map[string][]string{cluster: {"127.1.0.1:80"}}, false},
		"all are missing":    {v4, map[string][]string{cluster: nil}, false},
		"one is left":        {v4, map[string][]string{cluster: {"127.1.0.1:80", "127.1.0.2:80", "127.1.0.3:80"}}, false},
		"one for another":    {v4, map[string][]string{cluster: {"127.1.0.1:80", "127.1.0.3:80"}}, false},
		"not known at all":   {v4, map[string][]string{"outbound|8000||other.t.svc.cluster.local": nil}, true},
		"none":               {addresses{}, map[string][]string{cluster: nil}, true},
		"of IPv6":            {v6, map[string][]string{cluster: {"[fd00::5]:80"}}, true},
		"another of IPv6":    {v6, map[string][]string{cluster: {"[fd00::6]:80"}}, false},
		"one of two kinds":   {dual, map[string][]string{cluster: {"127.1.0.1:80"}}, true},
		"both of two kinds":  {dual, map[string][]string{cluster: {"127.1.0.1:80", "[fd00::5]:80"}}, true},
		"of the lesser kind": {addresses{discoveryv1.AddressTypeIPv4: {}, discoveryv1.AddressTypeIPv6: {"fd00::5"}}, map[string][]string{cluster: nil}, false},
		"none of two kinds":  {dual, map[string][]string{cluster: nil}, false},
	} {
		if err := missingEndpoints(tt.have, map[string]addresses{"httpbin": tt.want}, "t"); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the controller of Deployments counts is no change of anybody's.
func TestRevisionsOfDeploymentsDoNotDiffer(t *testing.T) {
	deployment := func(annotations map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "a", "annotations": annotations},
		}}
	}
	one, two := deployment(map[string]any{revisionAnnotation: "1"}), deployment(map[string]any{revisionAnnotation: "2"})
	if d := Difference(RefOf(one), one, two); d != "" {
		t.Error(d)
	}
	if d := Difference(RefOf(one), one, deployment(map[string]any{revisionAnnotation: "1", "theirs": "x"})); d == "" {
		t.Error("somebody's annotation is no difference")
	}
}

func TestUnreadyEndpointsAreNone(t *testing.T) {
	host := func(ip, health string) string {
		return `{"address": {"socket_address": {"address": "` + ip + `", "port_value": 80}}, "health_status": {"eds_health_status": "` + health + `"}}`
	}
	got, err := Endpoints(t.Context(), adminEnv{answers: map[string]string{"/clusters?": `{"cluster_statuses": [{"name": "outbound|80||b", "eds_service_name": "b"}, {"name": "outbound|80||a", "host_statuses": [` +
		host("10.0.0.1", "HEALTHY") + "," + host("10.0.0.2", "UNHEALTHY") + "," + host("10.0.0.3", "DRAINING") + `]}]}`}}, "a")
	if hosts, known := got["outbound|80||b"]; err != nil || !slices.Equal(got["outbound|80||a"], []string{"10.0.0.1:80"}) || !known || len(hosts) > 0 {
		t.Error(got, err)
	}
}

func TestFirstDifference(t *testing.T) {
	type m = map[string]any
	for name, tt := range map[string]struct {
		a, b any
		want string
	}{
		"same":            {m{"x": m{"y": []any{int64(1)}}}, m{"x": m{"y": []any{float64(1)}}}, ""},
		"large numbers":   {m{"x": int64(1000000)}, m{"x": float64(1000000)}, ""},
		"number for text": {m{"x": "1"}, m{"x": int64(1)}, "o.x was 1, is 1"},
		"value":           {m{"x": "a"}, m{"x": "b"}, "o.x was a, is b"},
		"gone":            {m{"x": m{"y": true}}, m{"x": m{}}, "o.x.y is gone"},
		"new":             {m{}, m{"y": nil}, "o.y is new"},
		"element":         {[]any{"a", m{"b": false}}, []any{"a", m{"b": true}}, "o[1].b was false, is true"},
		"length":          {[]any{"a"}, []any{"a", "b"}, "o was [a], is [a b]"},
	} {
		if got := firstDifference("o", tt.a, tt.b); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestPollKeepsTheLastReason(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("too late"))
	defer cancel()
	looks := 0
	err := poll(ctx, time.Millisecond, func() (bool, error, error) {
		looks++
		if ctx.Err() != nil {
			return false, nil, ctx.Err() // the look was cut off
		}
		return false, errors.New("not there yet"), nil
	})
	if err == nil || err.Error() != "too late: not there yet" || looks < 2 {
		t.Errorf("after %d looks: %v", looks, err)
	}
}

// What others read of the access log changes nothing of what is in it, but for the start's precision.
func TestWithFields(t *testing.T) {
	got := WithFields(AccessLogFormat(), map[string]string{"code": "other", "scheme": "%REQ(:SCHEME)%", "start": "%START_TIME(%s)%"})
	want := AccessLogFormat()
	want["scheme"], want["start"] = "%REQ(:SCHEME)%", "%START_TIME(%s)%"
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
