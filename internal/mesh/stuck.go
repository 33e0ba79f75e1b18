package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// crashes are how often a container may restart while its Deployment becomes ready: it may wait for another one.
	crashes = 2
	// unschedulableFor is how long no node may take a pod: an old one may be about to leave.
	unschedulableFor = 10 * time.Second
	// revisionAnnotation counts the ReplicaSets of a Deployment.
	revisionAnnotation = "deployment.kubernetes.io/revision"
)

// stuckPods finds pods that will not become ready by waiting.
type stuckPods struct {
	since map[types.UID]time.Time // when a pod was first seen without a node
}

// judge is an error when pods of a workload's newest template are stuck. Older ones are about to go.
func (s *stuckPods) judge(ctx context.Context, o *Objects, workloads []workload, pods []corev1.Pod) error {
	var stuck []*corev1.Pod
	var why []error
	for i := range pods {
		p := &pods[i]
		if metav1.GetControllerOf(p) == nil || p.DeletionTimestamp != nil {
			continue
		}
		if err := s.why(p); err != nil {
			stuck, why = append(stuck, p), append(why, err)
		}
	}
	if len(stuck) == 0 {
		return nil
	}
	sets, err := o.Kube.AppsV1().ReplicaSets(stuck[0].Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("replica sets of %s: %w", stuck[0].Namespace, err)
	}
	var errs []error
	for _, w := range workloads {
		for i, p := range stuck {
			if w.newest(p, sets.Items) {
				errs = append(errs, why[i])
			}
		}
	}
	return errors.Join(errs...)
}

// newestSet names the ReplicaSet of a Deployment's template.
func newestSet(d *appsv1.Deployment, sets []appsv1.ReplicaSet) string {
	newest, name := -1, ""
	for i := range sets {
		n, err := strconv.Atoi(sets[i].Annotations[revisionAnnotation])
		if err == nil && n > newest && metav1.IsControlledBy(&sets[i], d) {
			newest, name = n, sets[i].Name
		}
	}
	return name
}

// why says what a pod is stuck at, nil when it is not.
func (s *stuckPods) why(p *corev1.Pod) error {
	for _, c := range p.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse || c.Reason != corev1.PodReasonUnschedulable {
			continue
		}
		if s.since[p.UID].IsZero() {
			s.since[p.UID] = time.Now()
		}
		if time.Since(s.since[p.UID]) >= unschedulableFor {
			return fmt.Errorf("no node takes pod %s: %s", p.Name, c.Message)
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if err := stuckContainer(p, &c); err != nil {
			return err
		}
	}
	return nil
}

func stuckContainer(p *corev1.Pod, c *corev1.ContainerStatus) error {
	w := c.State.Waiting
	if w == nil {
		return nil
	}
	switch w.Reason {
	case "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
		return fmt.Errorf("the image %s of container %s of pod %s cannot be pulled: %s", c.Image, c.Name, p.Name, w.Message)
	case "CreateContainerConfigError", "CreateContainerError":
		return fmt.Errorf("container %s of pod %s cannot be made: %s", c.Name, p.Name, w.Message)
	case "CrashLoopBackOff":
		if c.RestartCount < crashes {
			return nil
		}
		how := ""
		if t := c.LastTerminationState.Terminated; t != nil {
			how = strings.TrimSpace(fmt.Sprintf(" (%s, exit code %d) %s", t.Reason, t.ExitCode, t.Message))
		}
		return fmt.Errorf("container %s of pod %s crashed %d times %s: see its log", c.Name, p.Name, c.RestartCount, how)
	}
	return nil
}
