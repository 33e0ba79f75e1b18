package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"squall/internal/record"
)

// syncState is what istiod knows of one resource type at one proxy.
type syncState struct {
	Sent      string `json:"sent"`
	Acked     string `json:"acked"`
	LastError string `json:"lastError"`
}

// proxySync is what istiod's page says of one proxy. Istio's older versions know no resources, only a pair of fields for each type.
type proxySync struct {
	Proxy         string               `json:"proxy"`
	Resources     map[string]syncState `json:"resources"`
	ClusterSent   string               `json:"cluster_sent"`
	ClusterAcked  string               `json:"cluster_acked"`
	ListenerSent  string               `json:"listener_sent"`
	ListenerAcked string               `json:"listener_acked"`
	RouteSent     string               `json:"route_sent"`
	RouteAcked    string               `json:"route_acked"`
	EndpointSent  string               `json:"endpoint_sent"`
	EndpointAcked string               `json:"endpoint_acked"`
}

// states are by resource type; none when the page says nothing of the proxy's.
func (p proxySync) states() map[string]syncState {
	if len(p.Resources) > 0 {
		return p.Resources
	}
	out := map[string]syncState{}
	for kind, s := range map[string]syncState{
		"Cluster":               {Sent: p.ClusterSent, Acked: p.ClusterAcked},
		"Listener":              {Sent: p.ListenerSent, Acked: p.ListenerAcked},
		"RouteConfiguration":    {Sent: p.RouteSent, Acked: p.RouteAcked},
		"ClusterLoadAssignment": {Sent: p.EndpointSent, Acked: p.EndpointAcked},
	} {
		if s.Sent != "" {
			out[kind] = s
		}
	}
	return out
}

func readSync(ctx context.Context, env Env) (map[string]map[string]syncState, error) {
	body, err := env.Debug(ctx, "/debug/syncz")
	if err != nil {
		return nil, fmt.Errorf("istiod's sync state: %w", err)
	}
	var answer []proxySync
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("istiod's sync state: %w", err)
	}
	out := map[string]map[string]syncState{}
	for _, a := range answer {
		out[a.Proxy] = a.states()
	}
	return out, nil
}

// AwaitSettled waits until each of the proxies has acknowledged all that istiod sent to it, has what its new listeners wait for, and
// serves no connection by a listener from before: Envoy lets connections live on by the old one for its drain time. A listener waits
// for a Secret that is not there for 15 s and then serves without it.
func AwaitSettled(ctx context.Context, env Env, proxies []record.Proxy) error {
	if err := awaitAcknowledged(ctx, env, proxies); err != nil {
		return err
	}
	return poll(ctx, pollEvery, func() (bool, error, error) {
		for _, p := range proxies {
			if why, err := turning(ctx, env, p.Pod); why != nil || err != nil {
				return false, why, err
			}
		}
		return true, nil, nil
	})
}

// turning says what of a proxy's listeners is not in use yet or still draining, nil when nothing is.
func turning(ctx context.Context, env Env, pod string) (why, err error) {
	filter := url.Values{"format": {"json"}, "filter": {`^listener_manager\.total_(listeners_warming|(listeners|filter_chains)_draining)$`}}
	stats, err := readStats(ctx, env, pod, filter)
	if err != nil {
		return nil, err
	}
	for name, what := range map[string]string{
		"listener_manager.total_listeners_warming":      "waits for what a new listener needs, such as the Secret of a Gateway",
		"listener_manager.total_listeners_draining":     "still serves connections by a configuration from before",
		"listener_manager.total_filter_chains_draining": "still serves connections by a configuration from before",
	} {
		switch n, ok := stats[name]; {
		case !ok:
			return nil, fmt.Errorf("the proxy of %s does not list %s: its stats matcher drops it", pod, name)
		case n > 0:
			return fmt.Errorf("the proxy of %s %s (%s = %d)", pod, what, name, n), nil
		}
	}
	return nil, nil
}

func awaitAcknowledged(ctx context.Context, env Env, proxies []record.Proxy) error {
	return poll(ctx, pollEvery, func() (bool, error, error) {
		all, err := readSync(ctx, env)
		if err != nil {
			return false, nil, err
		}
		for _, p := range proxies {
			states, ok := all[p.Pod+"."+p.Namespace]
			if !ok {
				return false, fmt.Errorf("istiod does not know the proxy of %s", p.Pod), nil
			}
			if len(states) == 0 {
				return false, fmt.Errorf("istiod does not say what the proxy of %s has acknowledged", p.Pod), nil
			}
			for kind, s := range states {
				if s.LastError != "" {
					return false, nil, &RejectedError{Pod: p.Pod, What: short(kind), Reason: s.LastError}
				}
				if s.Sent != s.Acked {
					return false, fmt.Errorf("the proxy of %s has not acknowledged %s", p.Pod, short(kind)), nil
				}
			}
		}
		return true, nil, nil
	})
}
