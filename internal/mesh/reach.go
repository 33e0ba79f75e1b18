package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Reacher is an Env that connects to what the program of a pod listens at, on this machine.
type Reacher interface {
	// Reach connects to the program of a pod at a container port, whatever its proxy does.
	Reach(ctx context.Context, namespace, pod string, port int) (net.Conn, error)
}

// DialPod connects to a pod: a function as Reacher and Dialer have it.
type DialPod func(ctx context.Context, namespace, pod string, port int) (net.Conn, error)

// PodDialer is how programs of pods are reached in the environment, nil when they are not.
func PodDialer(env any) DialPod {
	switch e := env.(type) {
	case Reacher:
		return e.Reach
	case Dialer:
		return e.Dial
	}
	return nil
}

// ServicePods lists the pods of a Service that serve, by name.
func (o *Objects) ServicePods(ctx context.Context, namespace, name string) (*corev1.Service, []corev1.Pod, error) {
	service, err := o.Kube.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("service %s/%s: %w", namespace, name, err)
	}
	if len(service.Spec.Selector) == 0 {
		return service, nil, fmt.Errorf("service %s/%s selects no pods", namespace, name)
	}
	list, err := o.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.FormatLabels(service.Spec.Selector)})
	if err != nil {
		return service, nil, fmt.Errorf("pods of service %s/%s: %w", namespace, name, err)
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil || !IsReady(&p) })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return service, pods, nil
}

// DialService connects to the first pod of a Service that serves, at what its port leads to.
func (o *Objects) DialService(ctx context.Context, dial DialPod, namespace, name string, port int) (net.Conn, error) {
	service, pods, err := o.ServicePods(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	if dial == nil {
		return nil, errors.New("this environment does not let Squall connect to pods")
	}
	if len(pods) == 0 {
		return nil, fmt.Errorf("service %s/%s has no pod that serves", namespace, name)
	}
	for _, p := range service.Spec.Ports {
		if int(p.Port) == port {
			return dial(ctx, namespace, pods[0].Name, targetPort(&p, &pods[0]))
		}
	}
	return nil, fmt.Errorf("service %s/%s has no port %d", namespace, name, port)
}

// targetPort is the container port that a Service's port leads to.
func targetPort(p *corev1.ServicePort, pod *corev1.Pod) int {
	if p.TargetPort.Type == intstr.String {
		for _, c := range pod.Spec.Containers {
			for _, cp := range c.Ports {
				if cp.Name == p.TargetPort.StrVal {
					return int(cp.ContainerPort)
				}
			}
		}
	}
	if n := p.TargetPort.IntValue(); n > 0 {
		return n
	}
	return int(p.Port)
}
