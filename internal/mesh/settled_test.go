package mesh

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"squall/internal/record"
)

// debugEnv is an istiod whose debug pages say what they are told to.
type debugEnv struct {
	Env
	page string
}

func (e debugEnv) Debug(context.Context, string) ([]byte, error) { return []byte(e.page), nil }

func TestAwaitAcknowledged(t *testing.T) {
	const cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	for name, tt := range map[string]struct{ page, want string }{
		"acknowledged":    {`[{"proxy":"a.t","resources":{"` + cluster + `":{"sent":"1","acked":"1"}}}]`, ""},
		"on its way":      {`[{"proxy":"a.t","resources":{"` + cluster + `":{"sent":"2","acked":"1"}}}]`, "has not acknowledged Cluster"},
		"rejected":        {`[{"proxy":"a.t","resources":{"` + cluster + `":{"sent":"2","acked":"1","lastError":"no"}}}]`, "rejected Cluster: no"},
		"unknown":         {`[{"proxy":"b.t","resources":{"` + cluster + `":{"sent":"1","acked":"1"}}}]`, "does not know the proxy of a"},
		"nothing is said": {`[{"proxy":"a.t","resources":{}}]`, "does not say what the proxy of a has acknowledged"},
		"older, all":      {`[{"proxy":"a.t","cluster_sent":"1","cluster_acked":"1","route_sent":"2","route_acked":"2"}]`, ""},
		"older, on its way": {`[{"proxy":"a.t","cluster_sent":"1","cluster_acked":"1","route_sent":"2","route_acked":"1"}]`,
			"has not acknowledged RouteConfiguration"},
		"older, nothing sent": {`[{"proxy":"a.t","cluster_id":"Kubernetes"}]`, "does not say what the proxy of a has acknowledged"},
	} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("too late"))
		err := awaitAcknowledged(ctx, debugEnv{page: tt.page}, []record.Proxy{{Pod: "a", Namespace: "t"}})
		cancel()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
