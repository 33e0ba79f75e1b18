package mesh

import (
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

// addUnused adds the stats of the mesh's clusters that the proxy has and that it has not used yet: they are 0. Those that it has are known
// by their membership, which Envoy counts from the beginning. Of other clusters a stats matcher may drop the rest.
func addUnused(stats record.Stats) {
	for name := range stats {
		cluster, ok := strings.CutSuffix(name, ".membership_total")
		if !ok || !strings.HasPrefix(cluster, "cluster.outbound|") && !strings.HasPrefix(cluster, "cluster.inbound|") {
			continue
		}
		if _, used := stats[cluster+".upstream_rq_total"]; used {
			continue
		}
		for _, s := range trafficStats() {
			if _, had := stats[cluster+"."+s]; !had {
				stats[cluster+"."+s] = 0
			}
		}
	}
}
