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
	"k8s.io/apimachinery/pkg/labels"
)

// nodeName is the one Node of the local mesh.
const nodeName = "local"

// writePod writes the Pod object with its status, creating it the first time.
func (k *kubelet) writePod(ctx context.Context, p *pod, ready bool, message string) error {
	pods := k.objects.Kube.CoreV1().Pods(p.object.Namespace)
	if p.object.UID == "" {
		made, err := pods.Create(ctx, p.object, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("pod %s: %w", p.object.Name, err)
		}
		p.object.UID, p.object.ResourceVersion = made.UID, made.ResourceVersion
	}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	o := p.object.DeepCopy()
	o.ResourceVersion = ""
	o.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: "127.0.0.1", PodIP: p.ip.String(), PodIPs: []corev1.PodIP{{IP: p.ip.String()}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: status, Message: message},
			{Type: corev1.ContainersReady, Status: status},
		},
	}
	for _, c := range o.Spec.Containers {
		o.Status.ContainerStatuses = append(o.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Ready: ready, Image: c.Image})
	}
	if p.failure != nil {
		o.Status.Phase, o.Status.Reason, o.Status.Message = corev1.PodFailed, "Failed", message
	}
	if _, err := pods.UpdateStatus(ctx, o, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("status of pod %s: %w", p.object.Name, err)
	}
	return nil
}

// writeStatus writes a Deployment's status where it changed.
func (k *kubelet) writeStatus(ctx context.Context, key string, d *appsv1.Deployment) error {
	s := appsv1.DeploymentStatus{ObservedGeneration: d.Generation}
	hash := templateHash(d)
	var failure error
	for _, p := range k.pods[key] {
		s.Replicas++
		if p.hash == hash {
			s.UpdatedReplicas++
		}
		if p.ready {
			s.ReadyReplicas++
			s.AvailableReplicas++
		} else {
			s.UnavailableReplicas++
		}
		failure = errors.Join(failure, p.reported())
	}
	progressing := appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "ReplicaSetUpdated"}
	if failure != nil {
		progressing.Status, progressing.Reason, progressing.Message = corev1.ConditionFalse, "PodFailed", failure.Error()
	}
	s.Conditions = []appsv1.DeploymentCondition{progressing}
	if same(d.Status, s) {
		return nil
	}
	o := d.DeepCopy()
	o.ResourceVersion, o.Status = "", s
	if _, err := k.objects.Kube.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, o, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("status of deployment %s: %w", d.Name, err)
	}
	return nil
}

// reported is the pod's failure once the loop has taken note of it.
func (p *pod) reported() error {
	if p.ready || p.object.UID == "" {
		return nil
	}
	return p.noted
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// writeSlices keeps one EndpointSlice a service, with the pods that its selector matches.
func (k *kubelet) writeSlices(ctx context.Context) error {
	services, err := k.services.List(labels.Everything())
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
	selector := labels.SelectorFromSet(s.Spec.Selector)
	for _, p := range k.sorted() {
		if p.object.Namespace != s.Namespace || !selector.Matches(labels.Set(p.object.Labels)) {
			continue
		}
		node := nodeName
		ready := p.ready
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
	for _, sp := range s.Spec.Ports {
		target := sp.TargetPort.IntVal
		for _, cp := range p.object.Spec.Containers[0].Ports {
			if sp.TargetPort.StrVal != "" && cp.Name == sp.TargetPort.StrVal {
				target = cp.ContainerPort
			}
		}
		if target == 0 {
			target = sp.Port
		}
		name, protocol := sp.Name, corev1.ProtocolTCP
		out = append(out, discoveryv1.EndpointPort{Name: &name, Port: &target, Protocol: &protocol})
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
	} else {
		_, err = c.Create(ctx, s, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
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
	err := k.objects.Kube.DiscoveryV1().EndpointSlices(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
