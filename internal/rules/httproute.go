package rules

import (
	"errors"
	"fmt"

	v1 "istio.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/gatewayapi"
)

// httpRoute adds the VirtualServices that istiod makes of an HTTPRoute for its parents that are Services. What the model does not
// know is an error: routes of Gateways, routes of another namespace than the Service's, which hold for callers of their own namespace
// alone, and several routes for one Service, which Istio merges.
func (m *Model) httpRoute(u *unstructured.Unstructured) error {
	services := gatewayapi.Services(u)
	if len(services) == 0 {
		return errors.New("none of its parents is a Service, and what a Gateway of the Gateway API does is not known")
	}
	if refused := gatewayapi.Refuse(u); len(refused) > 0 {
		return fmt.Errorf("%s %s", refused[0].Path, refused[0].What)
	}
	for _, s := range services {
		if s.Namespace != u.GetNamespace() {
			return fmt.Errorf("it is for a Service of the namespace %s, which is not known", s.Namespace)
		}
		for _, v := range m.VirtualServices {
			if v.IsGatewayAPI() && v.Hosts[0] == s.Host {
				return fmt.Errorf("%s is for %s too, and how Istio merges the two is not known", v.Ref, s.Host)
			}
		}
		spec := new(v1.VirtualService)
		if err := decode(&unstructured.Unstructured{Object: map[string]any{"spec": s.Spec}}, spec); err != nil {
			return err
		}
		m.VirtualServices = append(m.VirtualServices, &VirtualService{
			Ref: Ref{u, "spec"}, Spec: spec, Hosts: []string{s.Host}, Gateways: []string{MeshGateway}, rules: s.Rules, port: int(s.Port),
		})
	}
	return nil
}

// httpPath is the path of an HTTP route in the object that was written.
func (v *VirtualService) httpPath(i int) string {
	if v.IsGatewayAPI() {
		return fmt.Sprintf(".rules[%d]", v.rules[i])
	}
	return fmt.Sprintf(".http[%d]", i)
}

// HostsPath is the path of the hosts in the object that was written.
func (v *VirtualService) HostsPath() string {
	if v.IsGatewayAPI() {
		return ".parentRefs"
	}
	return ".hosts"
}
