package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"squall/internal/mesh"
)

// sidecar makes the proxy listen at the pod's own two addresses, which is what interception does on a cluster.
func (p *pod) sidecar(services []*corev1.Service) *networkingv1.Sidecar {
	s := &networkingv1.Sidecar{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.object.Name, Namespace: p.object.Namespace,
			Labels: map[string]string{mesh.ManagedByLabel: "squall-local"},
		},
		Spec: networkingapi.Sidecar{
			WorkloadSelector: &networkingapi.WorkloadSelector{Labels: map[string]string{podLabel: p.object.Name}},
			Egress: []*networkingapi.IstioEgressListener{{
				Bind: p.calls.String(), CaptureMode: networkingapi.CaptureMode_NONE, Hosts: []string{"*/*"},
			}},
		},
	}
	for _, port := range p.container().Ports {
		s.Spec.Ingress = append(s.Spec.Ingress, &networkingapi.IstioIngressListener{
			Port:            &networkingapi.SidecarPort{Number: uint32(port.ContainerPort), Protocol: p.protocol(port, services), Name: portName(port)},
			Bind:            p.ip.String(),
			CaptureMode:     networkingapi.CaptureMode_NONE,
			DefaultEndpoint: fmt.Sprintf("0.0.0.0:%d", p.port(port.ContainerPort)), // 0.0.0.0 is the pod's address here
		})
	}
	return s
}

// protocol is what the services that lead to a container port call its protocol, else what the port's own name says. Where nobody
// says anything it is HTTP.
func (p *pod) protocol(port corev1.ContainerPort, services []*corev1.Service) string {
	for _, s := range services {
		if !selects(s, p) {
			continue
		}
		for i := range s.Spec.Ports {
			sp := &s.Spec.Ports[i]
			if target, _ := containerPort(p.container(), targetOf(sp)); target != port.ContainerPort {
				continue
			}
			if sp.AppProtocol != nil {
				return protocolOf(*sp.AppProtocol)
			}
			if sp.Name != "" {
				return protocolOf(sp.Name)
			}
		}
	}
	return protocolOf(port.Name)
}

// protocolOf is the protocol that Istio reads off a port's name or appProtocol, HTTP where it says nothing.
func protocolOf(name string) string {
	name = strings.ToLower(name)
	if name == "kubernetes.io/h2c" {
		return "HTTP2"
	}
	if strings.HasPrefix(name, "grpc-web") {
		return "GRPC-WEB"
	}
	name, _, _ = strings.Cut(name, "-")
	switch name {
	case "http2", "grpc", "tcp", "tls", "https", "mongo", "mysql", "redis":
		return strings.ToUpper(name)
	}
	return "HTTP"
}

func portName(port corev1.ContainerPort) string {
	if port.Name != "" {
		return port.Name
	}
	return "port-" + strconv.Itoa(int(port.ContainerPort))
}

func selects(s *corev1.Service, p *pod) bool {
	return len(s.Spec.Selector) > 0 && s.Namespace == p.object.Namespace && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.object.Labels))
}

// targetOf is where a service's port leads: the same port when it does not say.
func targetOf(p *corev1.ServicePort) intstr.IntOrString {
	if p.TargetPort.IntVal == 0 && p.TargetPort.StrVal == "" {
		return intstr.FromInt32(p.Port)
	}
	return p.TargetPort
}

// containerPort is the port that a container declares by that name or number.
func containerPort(c *corev1.Container, port intstr.IntOrString) (int32, bool) {
	for _, cp := range c.Ports {
		if port.Type == intstr.String && cp.Name == port.StrVal || port.Type == intstr.Int && cp.ContainerPort == port.IntVal {
			return cp.ContainerPort, true
		}
	}
	return port.IntVal, false
}

// sortedServices lists the services of all namespaces by name.
func (k *kubelet) sortedServices() ([]*corev1.Service, error) {
	services, err := k.services.List(labels.Everything())
	sort.Slice(services, func(i, j int) bool {
		return services[i].Namespace+"/"+services[i].Name < services[j].Namespace+"/"+services[j].Name
	})
	return services, err
}

// writeSidecars keeps the pods' Sidecars as the services say.
func (k *kubelet) writeSidecars(ctx context.Context) error {
	var errs []error
	for _, p := range k.sorted() {
		errs = append(errs, k.writeSidecar(ctx, p))
	}
	return errors.Join(errs...)
}

func (k *kubelet) writeSidecar(ctx context.Context, p *pod) error {
	switch {
	case p.isGateway():
		return k.writeBind(ctx, p)
	case !p.hasSidecar():
		return nil
	}
	services, err := k.sortedServices()
	if err != nil {
		return err
	}
	s := p.sidecar(services)
	b, err := json.Marshal(map[string]any{"spec": &s.Spec})
	if err != nil {
		return fmt.Errorf("sidecar of %s: %w", p.object.Name, err)
	}
	was, had := k.sidecars[p.object.Name]
	if was == string(b) {
		return nil
	}
	c := k.istio.NetworkingV1().Sidecars(p.object.Namespace)
	if had {
		_, err = c.Patch(ctx, s.Name, types.MergePatchType, b, metav1.PatchOptions{})
	} else {
		_, err = c.Create(ctx, s, metav1.CreateOptions{})
	}
	if gone(err) != nil {
		return fmt.Errorf("sidecar of %s: %w", p.object.Name, err)
	}
	k.sidecars[p.object.Name] = string(b)
	return nil
}
