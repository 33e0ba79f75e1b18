package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/record"
)

const (
	// usageEvery is between two questions to a kubelet, which cannot tell when it has measured.
	usageEvery = 500 * time.Millisecond
	// usageWithin is longer than kubelets take from one measurement of a container to the next: cAdvisor waits 10 s, up to 15 s for one
	// that used nothing, and up to as much again by chance (nextHousekeepingInterval in its manager/container.go).
	usageWithin = 45 * time.Second
)

// summary is the part of a kubelet's stats/summary that is read.
type summary struct {
	Pods []struct {
		Ref struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"podRef"`
		Containers []struct {
			Name string `json:"name"`
			CPU  struct {
				Time metav1.Time `json:"time"`
				Used *uint64     `json:"usageCoreNanoSeconds"`
			} `json:"cpu"`
			Memory struct {
				Working *uint64 `json:"workingSetBytes"`
			} `json:"memory"`
		} `json:"containers"`
	} `json:"pods"`
}

// Usage is what the pods' containers have used since they started, as their kubelets measured it after this was called. Memory is the
// working set. A pod has no parts where this user may not get nodes/proxy.
func (m *Mesh) Usage(ctx context.Context, pods []string) (map[string]map[string]record.Usage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, usageWithin, fmt.Errorf("not within %s", usageWithin))
	defer cancel()
	out := map[string]map[string]record.Usage{}
	of := map[string]map[key]bool{} // by node
	for _, name := range pods {
		out[name] = map[string]record.Usage{}
		p, err := m.pod(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("usage: %w", err)
		}
		if of[p.node] == nil {
			of[p.node] = map[key]bool{}
		}
		of[p.node][p.key] = true
	}
	for node, keys := range of {
		last, err := m.summary(ctx, node)
		if err == nil {
			err = m.awaitUsage(ctx, node, keys, sinceOf(last, keys), out)
		}
		if apierrors.IsForbidden(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("usage of the pods of node %s: %w", node, err)
		}
	}
	return out, nil
}

// sinceOf is when the kubelet measured each container last.
func sinceOf(s *summary, of map[key]bool) map[container]time.Time {
	out := map[container]time.Time{}
	s.each(of, func(c container, at time.Time, _ record.Usage) { out[c] = at })
	return out
}

// awaitUsage puts what the containers use into out once all of them were measured after since.
func (m *Mesh) awaitUsage(ctx context.Context, node string, of map[key]bool, since map[container]time.Time, out map[string]map[string]record.Usage) error {
	tick := time.NewTicker(usageEvery)
	defer tick.Stop()
	var s *summary
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w did the kubelet measure %s anew", context.Cause(ctx), cmp.Or(strings.Join(s.stale(of, since), ", "), "any container"))
		}
		var err error
		if s, err = m.summary(ctx, node); err != nil {
			return err
		}
		if fresh(s, of, since, out) {
			return nil
		}
	}
}

// fresh puts what the containers use into out, and says whether all of it was measured after since.
func fresh(s *summary, of map[key]bool, since map[container]time.Time, out map[string]map[string]record.Usage) bool {
	n := 0
	for k := range of {
		clear(out[k.name])
	}
	s.each(of, func(c container, at time.Time, u record.Usage) {
		n++
		part := record.App
		if c.name == proxyContainer {
			part = record.Sidecar
		}
		had := out[c.pod.name][part]
		out[c.pod.name][part] = record.Usage{CPU: had.CPU + u.CPU, Memory: had.Memory + u.Memory}
	})
	return n > 0 && len(s.stale(of, since)) == 0
}

// stale are the containers, as POD/CONTAINER, that were not measured after since.
func (s *summary) stale(of map[key]bool, since map[container]time.Time) []string {
	var out []string
	s.each(of, func(c container, at time.Time, _ record.Usage) {
		if !at.After(since[c]) {
			out = append(out, c.pod.name+"/"+c.name)
		}
	})
	return out
}

// container is one of a pod's.
type container struct {
	pod  key
	name string
}

// each calls f for each container of the pods that was measured.
func (s *summary) each(of map[key]bool, f func(c container, at time.Time, u record.Usage)) {
	if s == nil {
		return
	}
	for _, p := range s.Pods {
		k := key{p.Ref.Namespace, p.Ref.Name}
		for _, c := range p.Containers {
			if of[k] && c.CPU.Used != nil && c.Memory.Working != nil {
				f(container{k, c.Name}, c.CPU.Time.Time, record.Usage{CPU: float64(*c.CPU.Used) / float64(time.Second), Memory: int64(*c.Memory.Working)})
			}
		}
	}
}

func (m *Mesh) summary(ctx context.Context, node string) (*summary, error) {
	if node == "" {
		return nil, errors.New("the pod is on no node")
	}
	body, err := m.objects.Kube.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("stats/summary").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	s := &summary{}
	return s, json.Unmarshal(body, s)
}
