package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"squall/internal/record"
)

// trafficStats are the counters and gauges of a cluster that Envoy makes together, those of its requests and connections that proofs and
// checks are about. With enable_deferred_creation_stats, which Istio's bootstrap sets, it makes them when the cluster is first used
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats).
func trafficStats() []string {
	return []string{
		"upstream_cx_active", "upstream_cx_connect_fail", "upstream_cx_connect_timeout", "upstream_cx_destroy", "upstream_cx_http1_total",
		"upstream_cx_http2_total", "upstream_cx_max_requests", "upstream_cx_none_healthy", "upstream_cx_overflow", "upstream_cx_pool_overflow",
		"upstream_cx_total", "upstream_rq_active", "upstream_rq_cancelled", "upstream_rq_maintenance_mode", "upstream_rq_pending_active",
		"upstream_rq_pending_failure_eject", "upstream_rq_pending_overflow", "upstream_rq_pending_total", "upstream_rq_per_try_timeout",
		"upstream_rq_retry", "upstream_rq_retry_limit_exceeded", "upstream_rq_retry_overflow", "upstream_rq_retry_success",
		"upstream_rq_rx_reset", "upstream_rq_timeout", "upstream_rq_total", "upstream_rq_tx_reset",
	}
}

// addUnused adds the stats of the mesh's clusters that the proxy has and that it has not used yet: they are 0.
func addUnused(ctx context.Context, env Env, pod string, stats record.Stats) error {
	query := url.Values{"resource": {"dynamic_active_clusters"}, "mask": {"cluster.name,cluster.alt_stat_name"}}
	body, err := env.Admin(ctx, pod, "GET", "/config_dump?"+query.Encode())
	if err != nil {
		return fmt.Errorf("clusters of the proxy of %s: %w", pod, err)
	}
	var dump struct {
		Configs []struct {
			Cluster struct {
				Name     string `json:"name"`
				StatName string `json:"alt_stat_name"`
			} `json:"cluster"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(body, &dump); err != nil {
		return fmt.Errorf("clusters of the proxy of %s: %w", pod, err)
	}
	for _, c := range dump.Configs {
		name := c.Cluster.Name
		if !strings.HasPrefix(name, "outbound|") && !strings.HasPrefix(name, "inbound|") {
			continue // a stats matcher may drop those of others
		}
		if c.Cluster.StatName != "" {
			name = c.Cluster.StatName
		}
		if _, used := stats["cluster."+name+".upstream_rq_total"]; used {
			continue
		}
		for _, s := range trafficStats() {
			if _, had := stats["cluster."+name+"."+s]; !had {
				stats["cluster."+name+"."+s] = 0
			}
		}
	}
	return nil
}
