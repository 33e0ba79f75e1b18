package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"squall/internal/record"
)

// podReasons joins what the pods that are not ready say. It works after ctx has ended, for one second.
func podReasons(ctx context.Context, o *Objects, namespace string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	list, err := o.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("pods of %s: %w", namespace, err)
	}
	var out error
	for i := range list.Items {
		for _, c := range list.Items[i].Status.Conditions {
			if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue && c.Message != "" {
				out = errors.Join(out, fmt.Errorf("pod %s: %s", list.Items[i].Name, c.Message))
			}
		}
	}
	return out
}

// Proxies lists the pods that have a sidecar or are gateways in the namespaces, by name. client names the workload (label app) of the load generator.
func Proxies(ctx context.Context, o *Objects, client string, namespaces ...string) ([]record.Proxy, error) {
	pods, err := Pods(ctx, o, namespaces...)
	if err != nil {
		return nil, err
	}
	var out []record.Proxy
	for _, p := range pods {
		gateway := isGateway(p.Pod)
		if !gateway && p.Labels[TLSModeLabel] != "istio" {
			continue
		}
		out = append(out, record.Proxy{
			Pod: p.Name, Namespace: p.Namespace, IP: p.Status.PodIP, Labels: p.Labels, Services: p.Services,
			Workload: WorkloadOf(p.Pod), Client: p.Labels["app"] == client, Gateway: gateway,
		})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Pod < out[j].Pod })
	return out, nil
}

// WorkloadOf names the workload that a pod is of: its Deployment, whose name a ReplicaSet bears with the template's hash.
func WorkloadOf(p *corev1.Pod) string {
	c := metav1.GetControllerOf(p)
	if c == nil {
		return p.Name
	}
	if hash := p.Labels["pod-template-hash"]; c.Kind == "ReplicaSet" && hash != "" {
		return strings.TrimSuffix(c.Name, "-"+hash)
	}
	return c.Name
}

// Pod is a pod with the names of the services that select it.
type Pod struct {
	*corev1.Pod
	Services []string
}

// Pods lists the pods of the namespaces that are not being deleted and have not ended: another may have the address of one that has.
func Pods(ctx context.Context, o *Objects, namespaces ...string) ([]Pod, error) {
	var out []Pod
	for _, ns := range namespaces {
		pods, err := o.Kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("pods of %s: %w", ns, err)
		}
		services, err := o.Services(ctx, ns)
		if err != nil {
			return nil, err
		}
		for i := range pods.Items {
			if p := &pods.Items[i]; p.DeletionTimestamp == nil && !Ended(p) {
				out = append(out, Pod{p, selecting(services, p)})
			}
		}
	}
	return out, nil
}

// Ended reports whether the pod has run to its end, as one of a Job does, or was evicted. It stays in the API.
func Ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Services lists the services of a namespace.
func (o *Objects) Services(ctx context.Context, namespace string) ([]corev1.Service, error) {
	list, err := o.Kube.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("services of %s: %w", namespace, err)
	}
	return list.Items, nil
}

// selecting names the services of the pod's namespace that select it.
func selecting(services []corev1.Service, p *corev1.Pod) []string {
	var names []string
	for i := range services {
		s := &services[i]
		if len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.Labels)) {
			names = append(names, s.Name)
		}
	}
	return names
}

// AnyEndpoint is the address ip:port of a ready pod of a service, for a caller without a proxy.
func AnyEndpoint(ctx context.Context, o *Objects, namespace, host, port string) (string, error) {
	service, rest, _ := strings.Cut(host, ".")
	if ns, _, _ := strings.Cut(rest, "."); ns != "" {
		namespace = ns
	}
	svc, err := o.Kube.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("service %s: %w", host, err)
	}
	name := ""
	for _, p := range svc.Spec.Ports {
		if strconv.Itoa(int(p.Port)) == port {
			name = p.Name
		}
	}
	list, err := o.Kube.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return "", fmt.Errorf("endpoints of %s: %w", host, err)
	}
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			if !serves(e) {
				continue
			}
			for _, p := range s.Ports {
				if p.Port != nil && (p.Name == nil || *p.Name == name) && len(e.Addresses) > 0 {
					return net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))), nil
				}
			}
		}
	}
	return "", fmt.Errorf("service %s has no ready endpoint for port %s", host, port)
}
