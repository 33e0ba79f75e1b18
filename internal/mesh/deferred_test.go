package mesh

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
)

// adminEnv is a proxy whose admin interface answers by the beginning of the path.
type adminEnv struct {
	Env
	answers map[string]string
}

func (e adminEnv) Admin(_ context.Context, _, _, path string) ([]byte, error) {
	for prefix, answer := range e.answers {
		if strings.HasPrefix(path, prefix) {
			return []byte(answer), nil
		}
	}
	return []byte("{}"), nil
}

// The proxy has used v1 and not v2; it does not have v3.
func TestUnusedClustersHaveStats(t *testing.T) {
	got, err := Stats(t.Context(), adminEnv{answers: map[string]string{
		"/stats?": `{"stats": [{"name": "cluster.outbound|80|v1|a.t.svc;.upstream_rq_total", "value": 7},
			{"name": "cluster.outbound|80|v1|a.t.svc;.membership_total", "value": 1}, {"name": "cluster.outbound|80|v2|a.t.svc;.membership_total", "value": 1},
			{"name": "cluster.inbound|80||.membership_total", "value": 1},
			{"name": "cluster.xds-grpc.membership_total", "value": 1}]}`,
	}}, "a")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"cluster.outbound|80|v1|a.t.svc;.upstream_rq_total": 7, "cluster.outbound|80|v2|a.t.svc;.upstream_rq_total": 0,
		"cluster.outbound|80|v2|a.t.svc;.upstream_rq_pending_overflow": 0, "cluster.inbound|80||.upstream_rq_total": 0,
		"cluster.outbound|80|v2|a.t.svc;.membership_total": 1,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s is %d (%t), want %d", name, n, ok, want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		switch {
		case strings.Contains(name, "v3"), strings.HasPrefix(name, "cluster.Passthrough"), strings.HasPrefix(name, "cluster.xds-grpc.upstream"),
			strings.HasPrefix(name, "cluster.outbound|80|v1") && got[name] == 0:
			t.Errorf("%s is made up", name)
		}
	}
}
