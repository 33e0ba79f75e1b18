package step

import (
	"cmp"
	"fmt"
	"maps"

	networkingv1 "istio.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

func gateway(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Gateway)
	hosts := spec.Hosts
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	routes, ok := c.gatewayRoutes(spec)
	if !ok {
		return
	}
	open := c.ownObject("Gateway", spec.Name)
	selector := maps.Clone(spec.Selector)
	if len(selector) == 0 {
		selector = map[string]string{"istio": "ingressgateway"}
	}
	open.Object["spec"] = c.fields(&networkingv1.Gateway{Selector: selector, Servers: []*networkingv1.Server{server(spec, hosts)}})
	rules := c.ownObject("VirtualService", spec.Name)
	rules.Object["spec"] = map[string]any{"hosts": toAny(hosts), "gateways": []any{spec.Name}, "http": routes}
}

// ownObject is the object of that name to change as a whole, new or as it is.
func (c *compiler) ownObject(kind, name string) *unstructured.Unstructured {
	if u, ok := c.set.objects[key{networking, kind, c.opts.Namespace, name}]; ok {
		return c.edit(u, "")
	}
	return c.edit(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": networking + "/v1",
		"kind":       kind,
		"metadata":   map[string]any{"name": name, "namespace": c.opts.Namespace},
	}}, "")
}

func server(spec *scenario.Gateway, hosts []string) *networkingv1.Server {
	protocol, port := "HTTP", uint32(80)
	out := &networkingv1.Server{Hosts: hosts}
	switch t := spec.TLS; {
	case t == nil:
	case t.HTTPSRedirect:
		out.Tls = &networkingv1.ServerTLSSettings{HttpsRedirect: true}
	default:
		protocol, port = "HTTPS", 443
		out.Tls = &networkingv1.ServerTLSSettings{Mode: networkingv1.ServerTLSSettings_SIMPLE, CredentialName: t.CredentialName}
		if t.Mode == "MUTUAL" {
			out.Tls.Mode = networkingv1.ServerTLSSettings_MUTUAL
		}
	}
	protocol = cmp.Or(spec.Protocol, protocol)
	if spec.Port != 0 {
		port = uint32(spec.Port)
	}
	out.Port = &networkingv1.Port{Number: port, Name: portName(protocol), Protocol: protocol}
	return out
}

func portName(protocol string) string {
	return map[string]string{"HTTP": "http", "HTTPS": "https", "HTTP2": "http2", "GRPC": "grpc"}[protocol]
}

// gatewayRoutes lead to the services; ok is false when mistakes were reported.
func (c *compiler) gatewayRoutes(spec *scenario.Gateway) (out []any, ok bool) {
	ok = true
	for i, r := range spec.Routes {
		_, destination, found := c.destination(fmt.Sprintf("routes[%d].to", i), Host{}, r.To)
		if !found {
			ok = false
			continue
		}
		route := map[string]any{"route": []any{map[string]any{"destination": destination}}}
		if r.Match != nil {
			route["match"] = []any{matchFields(r.Match)}
		}
		out = append(out, route)
	}
	return out, ok
}

func toAny(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
