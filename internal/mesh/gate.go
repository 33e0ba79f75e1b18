package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/gatewayapi"
	"squall/internal/record"
)

// pollEvery is between two looks at a proxy or at istiod, which cannot tell when they have changed.
const pollEvery = time.Millisecond

// The kinds of marks.
const (
	MarkRoute   = "route"   // the name of a route
	MarkCluster = "cluster" // a part of the name of a cluster
)

// Mark is a name that a change puts into the configuration of every proxy that it concerns, so that the proxy's own config
// dump shows when the change is live.
type Mark struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Or are names of routes that stand for it in the proxies of some callers.
	Or []string `json:"or,omitempty"`
}

// Live says when a proxy had a change.
type Live struct {
	Pod   string        `json:"pod"`
	After time.Duration `json:"after"`
}

// RejectedError is a change that a proxy refused.
type RejectedError struct {
	Pod    string
	What   string // cluster outbound|8000||httpbin…
	Reason string // Envoy's own words
}

// Error names the proxy, the resource and Envoy's reason.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("the proxy of %s rejected %s: %s", e.Pod, e.What, e.Reason)
}

// AwaitLive waits until each of the proxies has all marks in its live configuration and has acknowledged to istiod all that
// was sent, counted from since. A proxy that rejects the change is a *RejectedError.
func AwaitLive(ctx context.Context, env Env, proxies []record.Proxy, marks []Mark, since time.Time) ([]Live, error) {
	out := make([]Live, len(proxies))
	g, gctx := errgroup.WithContext(ctx)
	for i, p := range proxies {
		g.Go(func() error {
			for _, m := range marks {
				if err := awaitMark(gctx, env, p, m); err != nil {
					return err
				}
			}
			out[i] = Live{Pod: p.Pod, After: time.Since(since)}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, AwaitSettled(ctx, env, proxies)
}

func awaitMark(ctx context.Context, env Env, p record.Proxy, m Mark) error {
	looks := 0
	err := poll(ctx, pollEvery, func() (bool, error, error) {
		has, err := hasMark(ctx, env, p.Pod, m)
		if err != nil {
			return false, nil, err
		}
		if looks++; !has && looks%50 == 0 {
			err = rejected(ctx, env, p)
		}
		return has, fmt.Errorf("the proxy of %s has no %s %s yet", p.Pod, m.Kind, m.Name), err
	})
	if err != nil {
		return fmt.Errorf("change is not live: %w", err)
	}
	return nil
}

func hasMark(ctx context.Context, env Env, pod string, m Mark) (bool, error) {
	path, want := "/config_dump?resource=dynamic_route_configs", []byte(`"`+m.Name+`"`)
	if m.Kind == MarkCluster {
		q := url.Values{"resource": {"dynamic_active_clusters"}, "mask": {"cluster.name"}, "name_regex": {".*" + regexp.QuoteMeta(m.Name) + ".*"}}
		path, want = "/config_dump?"+q.Encode(), []byte(m.Name)
	}
	body, err := env.Admin(ctx, pod, "GET", path)
	if err != nil {
		return false, fmt.Errorf("config dump of the proxy of %s: %w", pod, err)
	}
	return bytes.Contains(body, want) || slices.ContainsFunc(m.Or, func(name string) bool { return bytes.Contains(body, []byte(`"`+name+`"`)) }), nil
}

// rejected is a *RejectedError when the proxy holds an update that it refused, or istiod notes one.
func rejected(ctx context.Context, env Env, p record.Proxy) error {
	c, err := ReadConfig(ctx, env, p.Pod)
	if err != nil {
		return err
	}
	for what, why := range c.Rejected {
		return &RejectedError{Pod: p.Pod, What: what, Reason: why}
	}
	all, err := readSync(ctx, env)
	if err != nil {
		return err
	}
	for kind, s := range all[p.Pod+"."+p.Namespace] {
		if s.LastError != "" {
			return &RejectedError{Pod: p.Pod, What: short(kind), Reason: s.LastError}
		}
	}
	return nil
}

func short(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }

// AwaitSeen waits until istiod's own configuration holds the objects in the versions given. It is for kinds that leave no mark
// in a proxy: what istiod pushes after this includes them.
func AwaitSeen(ctx context.Context, env Env, objects []*unstructured.Unstructured) error {
	return poll(ctx, pollEvery, func() (bool, error, error) {
		body, err := env.Debug(ctx, "/debug/configz")
		if err != nil {
			return false, nil, fmt.Errorf("istiod's configuration: %w", err)
		}
		var answer []struct {
			Kind     string            `json:"kind"`
			Metadata metav1.ObjectMeta `json:"metadata"`
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return false, nil, fmt.Errorf("istiod's configuration: %w", err)
		}
		seen := map[string]string{}
		for _, a := range answer {
			seen[a.Kind+" "+a.Metadata.Namespace+"/"+a.Metadata.Name] = a.Metadata.ResourceVersion
		}
		for _, o := range objects {
			if key := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName(); !isSince(seen[key], o.GetResourceVersion()) {
				return false, fmt.Errorf("istiod has not seen %s in version %s yet", key, o.GetResourceVersion()), nil
			}
		}
		return true, nil, nil
	})
}

// SeenByIstiod reports whether istiod keeps objects of the kind in its configuration.
func SeenByIstiod(u *unstructured.Unstructured) bool {
	group := u.GroupVersionKind().Group
	return strings.HasSuffix(group, ".istio.io") || group == gatewayapi.Group
}

// isSince says whether a version is the one that is wanted or a later one: istiod writes the status of some objects, which gives them a
// new version.
func isSince(version, want string) bool {
	have, err := strconv.ParseUint(version, 10, 64)
	least, wrong := strconv.ParseUint(want, 10, 64)
	if err != nil || wrong != nil {
		return version == want
	}
	return have >= least
}

// MarkFilter is an object that puts a mark of its own into every proxy and changes nothing else: an unused cluster.
func MarkFilter(name string) (*unstructured.Unstructured, Mark) {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
		"metadata": map[string]any{"name": "squall-mark", "namespace": RootNamespace},
		"spec": map[string]any{"configPatches": []any{map[string]any{
			"applyTo": "CLUSTER",
			"match":   map[string]any{"context": "ANY"},
			"patch": map[string]any{"operation": "ADD", "value": map[string]any{
				"name": name, "type": "STATIC", "connect_timeout": "1s",
			}},
		}}},
	}}
	return u, Mark{Kind: MarkCluster, Name: name}
}

// Configs reads the live configuration of each proxy.
func Configs(ctx context.Context, env Env, proxies []record.Proxy) (map[string]*Config, error) {
	out := map[string]*Config{}
	for _, p := range proxies {
		c, err := ReadConfig(ctx, env, p.Pod)
		if err != nil {
			return nil, err
		}
		out[p.Pod] = c
	}
	return out, nil
}

// AwaitConfigs waits until each proxy's live configuration is the given one again.
func AwaitConfigs(ctx context.Context, env Env, proxies []record.Proxy, want map[string]*Config) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range proxies {
		g.Go(func() error {
			digest := want[p.Pod].Digest()
			return poll(gctx, 2*pollEvery, func() (bool, error, error) {
				c, err := ReadConfig(gctx, env, p.Pod)
				if err != nil {
					return false, nil, err
				}
				if c.Digest() == digest {
					return true, nil, nil
				}
				return false, fmt.Errorf("the proxy of %s differs from before in %s", p.Pod, strings.Join(want[p.Pod].Differs(c), ", ")), nil
			})
		})
	}
	return g.Wait()
}

// Knows lists the proxies whose configuration has a cluster of one of the hosts: those that a rule for it concerns.
func Knows(configs map[string]*Config, proxies []record.Proxy, host string) []record.Proxy {
	var out []record.Proxy
	for _, p := range proxies {
		for name := range configs[p.Pod].Clusters {
			if strings.HasPrefix(name, "outbound|") && strings.Contains(name, "|"+host) {
				out = append(out, p)
				break
			}
		}
	}
	return out
}
