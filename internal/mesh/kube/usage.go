package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/record"
)

const (
	// usageEvery is between two questions to a kubelet, which cannot tell when it has measured.
	usageEvery = 500 * time.Millisecond
	// usageWithin is longer than kubelets take from one measurement of a container to the next.
	usageWithin = 25 * time.Second
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
	ctx, cancel := context.WithTimeoutCause(ctx, usageWithin, fmt.Errorf("kubelets measured nothing within %s", usageWithin))
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
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s, err := m.summary(ctx, node)
		if err != nil {
			return err
		}
		if fresh(s, of, since, out) {
			return nil
		}
	}
}

// fresh puts what the containers use into out, and says whether all of it was measured after since.
func fresh(s *summary, of map[key]bool, since map[container]time.Time, out map[string]map[string]record.Usage) bool {
	n, all := 0, true
	for k := range of {
		clear(out[k.name])
	}
	s.each(of, func(c container, at time.Time, u record.Usage) {
		n++
		all = all && at.After(since[c])
		part := record.App
		if c.name == proxyContainer {
			part = record.Sidecar
		}
		had := out[c.pod.name][part]
		out[c.pod.name][part] = record.Usage{CPU: had.CPU + u.CPU, Memory: had.Memory + u.Memory}
	})
	return all && n > 0
}

// container is one of a pod's.
type container struct {
	pod  key
	name string
}

// each calls f for each container of the pods that was measured.
func (s *summary) each(of map[key]bool, f func(c container, at time.Time, u record.Usage)) {
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
