package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeName is the one Node of the local mesh.
const nodeName = "local"

// hostIP is the node's address.
const hostIP = "127.0.0.1"

// writePod writes the Pod's status. A pod that is gone already is left alone.
func (k *kubelet) writePod(ctx context.Context, p *pod, message string) error {
	status := corev1.ConditionFalse
	if p.ready {
		status = corev1.ConditionTrue
	}
	o := p.object.DeepCopy()
	o.ResourceVersion = ""
	o.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: hostIP, PodIP: p.ip.String(), PodIPs: []corev1.PodIP{{IP: p.ip.String()}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: status, Message: message},
			{Type: corev1.ContainersReady, Status: status},
		},
	}
	started := true
	for _, c := range o.Spec.Containers {
		o.Status.ContainerStatuses = append(o.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Ready: p.ready, Started: &started, Image: c.Image, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		})
	}
	if p.failure != nil {
		o.Status.Phase, o.Status.Reason, o.Status.Message = corev1.PodFailed, "Failed", message
		o.Status.ContainerStatuses[0].State = corev1.ContainerState{}
	}
	if _, err := k.objects.Kube.CoreV1().Pods(o.Namespace).UpdateStatus(ctx, o, metav1.UpdateOptions{}); gone(err) != nil {
		return fmt.Errorf("status of pod %s: %w", o.Name, err)
	}
	return nil
}

// writeStatus writes a Deployment's status where it changed.
func (k *kubelet) writeStatus(ctx context.Context, key string, d *appsv1.Deployment) error {
	s := k.status(key, d)
	if same(d.Status, s) {
		return nil
	}
	o := d.DeepCopy()
	o.ResourceVersion, o.Status = "", s
	if _, err := k.objects.Kube.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, o, metav1.UpdateOptions{}); gone(err) != nil {
		return fmt.Errorf("status of deployment %s: %w", d.Name, err)
	}
	return nil
}

// status is a Deployment's status. Pods that are being ended count as replicas until they are gone.
func (k *kubelet) status(key string, d *appsv1.Deployment) appsv1.DeploymentStatus {
	s := appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: int32(k.leaving[key])}
	hash := templateHash(d)
	var failure error
	for _, p := range k.pods[key] {
		s.Replicas++
		if p.hash == hash {
			s.UpdatedReplicas++
			failure = errors.Join(failure, p.failure)
		}
		if p.ready {
			s.ReadyReplicas++
			s.AvailableReplicas++
		} else {
			s.UnavailableReplicas++
		}
	}
	progressing := appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "ReplicaSetUpdated"}
	if r := k.refused[key]; r != nil && r.hash == hash {
		progressing.Message = r.err.Error()
		if r.final() {
			failure = errors.Join(failure, r.err)
		}
	}
	available := appsv1.DeploymentCondition{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionFalse, Reason: "MinimumReplicasUnavailable"}
	if int(s.AvailableReplicas) >= wanted(d) {
		available.Status, available.Reason = corev1.ConditionTrue, "MinimumReplicasAvailable"
		if int(s.UpdatedReplicas) == wanted(d) && s.Replicas == s.UpdatedReplicas {
			progressing.Reason = "NewReplicaSetAvailable"
		}
	}
	if failure != nil {
		progressing.Status, progressing.Reason, progressing.Message = corev1.ConditionFalse, "PodFailed", failure.Error()
	}
	s.Conditions = []appsv1.DeploymentCondition{available, progressing}
	return s
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// writeSlices keeps one EndpointSlice a service, with the pods that its selector matches.
func (k *kubelet) writeSlices(ctx context.Context) error {
	services, err := k.sortedServices()
	if err != nil {
		return err
	}
	var errs []error
	seen := map[string]bool{}
	for _, s := range services {
		if len(s.Spec.Selector) == 0 {
			continue
		}
		key := s.Namespace + "/" + s.Name
		seen[key] = true
		errs = append(errs, k.writeSlice(ctx, key, k.slice(s)))
	}
	for key, was := range k.slices {
		if !seen[key] {
			errs = append(errs, k.deleteSlice(ctx, key, was))
		}
	}
	return errors.Join(errs...)
}

func (k *kubelet) slice(s *corev1.Service) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name + "-local", Namespace: s.Namespace, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: s.Name, UID: s.UID}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, p := range k.sorted() {
		if !selects(s, p) {
			continue
		}
		node := nodeName
		ready := p.ready || s.Spec.PublishNotReadyAddresses
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, NodeName: &node,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: p.object.Name, Namespace: p.object.Namespace, UID: p.object.UID},
		})
		if len(out.Ports) == 0 {
			out.Ports = slicePorts(s, p)
		}
	}
	return out
}

func slicePorts(s *corev1.Service, p *pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for i := range s.Spec.Ports {
		sp := &s.Spec.Ports[i]
		target, found := containerPort(p.container(), targetOf(sp))
		if !found && target == 0 {
			continue // a name that the pod does not have: the service has no endpoint there, as on a cluster
		}
		name, protocol := sp.Name, corev1.ProtocolTCP
		out = append(out, discoveryv1.EndpointPort{Name: &name, Port: &target, Protocol: &protocol, AppProtocol: sp.AppProtocol})
	}
	return out
}

func (k *kubelet) writeSlice(ctx context.Context, key string, s *discoveryv1.EndpointSlice) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("endpoints of %s: %w", key, err)
	}
	was, had := k.slices[key]
	if was == string(b) {
		return nil
	}
	c := k.objects.Kube.DiscoveryV1().EndpointSlices(s.Namespace)
	if had {
		_, err = c.Update(ctx, s, metav1.UpdateOptions{})
	}
	if !had || apierrors.IsNotFound(err) {
		_, err = c.Create(ctx, s, metav1.CreateOptions{})
	}
	if gone(err) != nil {
		return fmt.Errorf("endpoints of %s: %w", key, err)
	}
	k.slices[key] = string(b)
	return nil
}

func (k *kubelet) deleteSlice(ctx context.Context, key, was string) error {
	var s discoveryv1.EndpointSlice
	if err := json.Unmarshal([]byte(was), &s); err != nil {
		return err
	}
	delete(k.slices, key)
	return gone(k.objects.Kube.DiscoveryV1().EndpointSlices(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{}))
}
