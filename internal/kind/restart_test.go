package kind

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOutlived(t *testing.T) {
	started := time.Date(2026, 11, 27, 4, 9, 44, 781941130, time.UTC)
	running := func(at time.Time) corev1.ContainerState {
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}}
	}
	since := map[string]time.Time{"n": started}
	for name, tt := range map[string]struct {
		node   string
		states []corev1.ContainerState
		want   bool
	}{
		"from before":              {"n", []corev1.ContainerState{running(started.Add(-time.Minute))}, true},
		"one of two":               {"n", []corev1.ContainerState{running(started.Add(time.Second)), running(started.Add(-2 * time.Second))}, true},
		"anew":                     {"n", []corev1.ContainerState{running(started.Add(7 * time.Second))}, false},
		"in the same second":       {"n", []corev1.ContainerState{running(started.Truncate(time.Second))}, false},
		"ended":                    {"n", []corev1.ContainerState{{Terminated: &corev1.ContainerStateTerminated{}}}, false},
		"waiting":                  {"n", []corev1.ContainerState{{Waiting: &corev1.ContainerStateWaiting{}}}, false},
		"on a node that is no one": {"m", []corev1.ContainerState{running(started.Add(-time.Minute))}, false},
		"not placed":               {"", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: tt.node}}
			for _, s := range tt.states {
				p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{State: s})
			}
			if got := outlived(p, since); got != tt.want {
				t.Errorf("outlived is %v", got)
			}
		})
	}
}

func TestMoved(t *testing.T) {
	own := map[string][]corev1.PodIP{"a": {{IP: "10.244.0.7"}, {IP: "fd00::7"}}, "new": nil}
	endpoint := func(pod, address string) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{address}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod}}
	}
	for name, tt := range map[string]struct {
		endpoints []discoveryv1.Endpoint
		want      string
	}{
		"none":            {nil, ""},
		"as it is":        {[]discoveryv1.Endpoint{endpoint("a", "10.244.0.7")}, ""},
		"second family":   {[]discoveryv1.Endpoint{endpoint("a", "fd00::7")}, ""},
		"from before":     {[]discoveryv1.Endpoint{endpoint("a", "10.244.0.7"), endpoint("a", "10.244.0.4")}, "a"},
		"no address yet":  {[]discoveryv1.Endpoint{endpoint("new", "10.244.0.4")}, "new"},
		"gone":            {[]discoveryv1.Endpoint{endpoint("gone", "10.244.0.4")}, "gone"},
		"of no pod":       {[]discoveryv1.Endpoint{{Addresses: []string{"172.18.0.2"}}}, ""},
		"of another kind": {[]discoveryv1.Endpoint{{Addresses: []string{"1.2.3.4"}, TargetRef: &corev1.ObjectReference{Kind: "Node", Name: "n"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := moved(&discoveryv1.EndpointSlice{Endpoints: tt.endpoints}, own); got != tt.want {
				t.Errorf("moved is %q", got)
			}
		})
	}
}
