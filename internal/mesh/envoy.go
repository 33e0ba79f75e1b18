package mesh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"squall/internal/record"
)

// StatsInclusion are the regular expressions of the Envoy stats that Squall's proofs and checks read. Istio's default
// stats matcher drops most of them, so every environment must keep them: the local mesh in the proxies' bootstrap, a
// cluster with the pod annotation sidecar.istio.io/statsInclusionRegexps.
func StatsInclusion() []string {
	return []string{
		`cluster\.(outbound|inbound)\|.*`,
		`http\.(inbound|outbound)_.*`,
		`http\..*\.(fault|rbac|jwt_authn)\..*`,
		`listener\..*\.(ssl|downstream_cx|no_filter_chain_match).*`,
		`(cluster_manager|listener_manager|server)\..*`,
		`vhost\..*`,
	}
}

// Stats reads a proxy's counters and gauges. A stat that Envoy does not list is absent from the map, never 0, but for those that it
// makes at the first use of a cluster that it has.
func Stats(ctx context.Context, env Env, pod string) (record.Stats, error) {
	out, err := readStats(ctx, env, pod, url.Values{"format": {"json"}, "histogram_buckets": {"none"}})
	if err != nil {
		return nil, err
	}
	addUnused(out)
	return out, nil
}

func readStats(ctx context.Context, env Env, pod string, query url.Values) (record.Stats, error) {
	body, err := env.Admin(ctx, pod, "GET", "/stats?"+query.Encode())
	if err != nil {
		return nil, fmt.Errorf("stats of the proxy of %s: %w", pod, err)
	}
	var answer struct {
		Stats []struct {
			Name  string           `json:"name"`
			Value *json.RawMessage `json:"value"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("stats of the proxy of %s: %w", pod, err)
	}
	out := make(record.Stats, len(answer.Stats))
	for _, s := range answer.Stats {
		var n int64
		if s.Name == "" || s.Value == nil || json.Unmarshal(*s.Value, &n) != nil {
			continue // histograms and text readouts
		}
		out[s.Name] = n
	}
	return out, nil
}

// ConfigDump reads a proxy's own view of its configuration, without secrets and endpoints.
func ConfigDump(ctx context.Context, env Env, pod string) ([]byte, error) {
	body, err := env.Admin(ctx, pod, "GET", "/config_dump")
	if err != nil {
		return nil, fmt.Errorf("config dump of the proxy of %s: %w", pod, err)
	}
	return body, nil
}

// Config is the part of a config dump that rules change: the live clusters, listeners and routes of a proxy.
type Config struct {
	Clusters  map[string]json.RawMessage
	Listeners map[string]json.RawMessage
	Routes    map[string]json.RawMessage
	// RouteNames are the names of all routes, which hold Squall's marks.
	RouteNames map[string]bool
	// Rejected are updates that the proxy refused, with Envoy's reason, by resource name.
	Rejected map[string]string
}

// ReadConfig asks a proxy for its live configuration.
func ReadConfig(ctx context.Context, env Env, pod string) (*Config, error) {
	body, err := ConfigDump(ctx, env, pod)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(body)
	if err != nil {
		return nil, fmt.Errorf("config dump of the proxy of %s: %w", pod, err)
	}
	return c, nil
}

type dumpedState struct {
	Resource json.RawMessage `json:"listener"`
	Error    *dumpedError    `json:"error_state"`
}

type dumpedError struct {
	Details string `json:"details"`
}

type dump struct {
	Configs []struct {
		Type   string `json:"@type"`
		Active []struct {
			Cluster json.RawMessage `json:"cluster"`
			Error   *dumpedError    `json:"error_state"`
		} `json:"dynamic_active_clusters"`
		Warming []struct {
			Error *dumpedError `json:"error_state"`
		} `json:"dynamic_warming_clusters"`
		Listeners []struct {
			Name   string       `json:"name"`
			Active *dumpedState `json:"active_state"`
			Error  *dumpedError `json:"error_state"`
		} `json:"dynamic_listeners"`
		Routes []struct {
			Config json.RawMessage `json:"route_config"`
			Error  *dumpedError    `json:"error_state"`
		} `json:"dynamic_route_configs"`
	} `json:"configs"`
}

// ParseConfig reads what Envoy's /config_dump printed.
func ParseConfig(body []byte) (*Config, error) {
	var d dump
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, fmt.Errorf("not a config dump: %w", err)
	}
	c := &Config{
		Clusters: map[string]json.RawMessage{}, Listeners: map[string]json.RawMessage{}, Routes: map[string]json.RawMessage{},
		RouteNames: map[string]bool{}, Rejected: map[string]string{},
	}
	for _, part := range d.Configs {
		for _, x := range part.Active {
			c.Clusters[nameOf(x.Cluster)] = x.Cluster
			c.reject("cluster "+nameOf(x.Cluster), x.Error)
		}
		for _, x := range part.Listeners {
			if x.Active != nil {
				c.Listeners[x.Name] = x.Active.Resource
			}
			c.reject("listener "+x.Name, x.Error)
		}
		for _, x := range part.Routes {
			name := nameOf(x.Config)
			c.Routes[name] = x.Config
			c.reject("route "+name, x.Error)
			if err := c.addRouteNames(x.Config); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (c *Config) reject(what string, e *dumpedError) {
	if e != nil && e.Details != "" {
		c.Rejected[what] = e.Details
	}
}

func (c *Config) addRouteNames(raw json.RawMessage) error {
	var r struct {
		Hosts []struct {
			Routes []struct {
				Name string `json:"name"`
			} `json:"routes"`
		} `json:"virtual_hosts"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("route configuration: %w", err)
	}
	for _, h := range r.Hosts {
		for _, rt := range h.Routes {
			if rt.Name != "" {
				c.RouteNames[rt.Name] = true
			}
		}
	}
	return nil
}

func nameOf(raw json.RawMessage) string {
	var n struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(raw, &n) != nil {
		return ""
	}
	return n.Name
}

// Digest is a hash of the whole live configuration: two equal digests are the same configuration.
func (c *Config) Digest() string {
	h := sha256.New()
	for _, part := range []map[string]json.RawMessage{c.Clusters, c.Listeners, c.Routes} {
		names := make([]string, 0, len(part))
		for n := range part {
			names = append(names, n)
		}
		sort.Strings(names)
		for _, n := range names {
			fmt.Fprintf(h, "%s\x00%s\x00", n, canonical(part[n]))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// canonical is a resource with its keys in order: Envoy prints the entries of maps in any order.
func canonical(raw json.RawMessage) []byte {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return raw
	}
	b, err := json.Marshal(v)
	if err != nil {
		return raw
	}
	return b
}

// Differs names the resources in which two configurations differ.
func (c *Config) Differs(o *Config) []string {
	var out []string
	for what, pair := range map[string][2]map[string]json.RawMessage{
		"cluster": {c.Clusters, o.Clusters}, "listener": {c.Listeners, o.Listeners}, "route": {c.Routes, o.Routes},
	} {
		for n, a := range pair[0] {
			if b, ok := pair[1][n]; !ok || !bytes.Equal(canonical(a), canonical(b)) {
				out = append(out, what+" "+n)
			}
		}
		for n := range pair[1] {
			if _, ok := pair[0][n]; !ok {
				out = append(out, what+" "+n)
			}
		}
	}
	sort.Strings(out)
	return out
}

// Endpoints lists, by cluster, the addresses (ip:port, [ip]:port) that a proxy would send requests to. A cluster whose endpoints istiod tells is
// there also when it has none.
func Endpoints(ctx context.Context, env Env, pod string) (map[string][]string, error) {
	body, err := env.Admin(ctx, pod, "GET", "/clusters?format=json&"+url.Values{"filter": {"outbound"}}.Encode())
	if err != nil {
		return nil, fmt.Errorf("clusters of the proxy of %s: %w", pod, err)
	}
	var answer struct {
		Statuses []struct {
			Name  string `json:"name"`
			EDS   string `json:"eds_service_name"`
			Hosts []struct {
				Address struct {
					Socket struct {
						Address string `json:"address"`
						Port    int    `json:"port_value"`
					} `json:"socket_address"`
				} `json:"address"`
				Health struct {
					EDS string `json:"eds_health_status"`
				} `json:"health_status"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("clusters of the proxy of %s: %w", pod, err)
	}
	out := map[string][]string{}
	for _, s := range answer.Statuses {
		if s.EDS != "" {
			out[s.Name] = nil
		}
		for _, h := range s.Hosts {
			if eds := h.Health.EDS; eds == "UNHEALTHY" || eds == "DRAINING" || eds == "TIMEOUT" {
				continue // of a pod that is not ready: istiod may tell of those too
			}
			out[s.Name] = append(out[s.Name], net.JoinHostPort(h.Address.Socket.Address, strconv.Itoa(h.Address.Socket.Port)))
		}
		sort.Strings(out[s.Name])
	}
	return out, nil
}

// Inbound is how many requests a proxy has taken for its own program, and how many of them are under way.
func Inbound(ctx context.Context, env Env, pod string) (taken, active int64, err error) {
	stats, err := readStats(ctx, env, pod, url.Values{"format": {"json"}, "filter": {`^http\.inbound_.*\.downstream_rq_(total|active)$`}})
	for name, v := range stats {
		if strings.HasSuffix(name, ".downstream_rq_active") {
			active += v
		} else {
			taken += v
		}
	}
	return taken, active, err
}

// LoggedRequests is how many requests a proxy's own counters say it has finished on its inbound and outbound listeners since
// it started: the number of its access log entries for HTTP.
func LoggedRequests(s record.Stats) int64 {
	var n int64
	for name, v := range s {
		if !strings.HasPrefix(name, "http.inbound_") && !strings.HasPrefix(name, "http.outbound_") {
			continue
		}
		switch {
		case strings.HasSuffix(name, ".downstream_rq_total"):
			n += v
		case strings.HasSuffix(name, ".downstream_rq_active"):
			n -= v
		}
	}
	return n
}
