package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"squall/internal/mesh"
	"squall/internal/sds"
)

// isGateway reports whether Istio's injector would make the pod nothing but a proxy.
func isGateway(meta *metav1.ObjectMeta) bool {
	return meta.Annotations[mesh.TemplatesAnnotation] == mesh.GatewayTemplate
}

// BringIngress makes the objects of Istio's ingress gateway.
func (m *Mesh) BringIngress(ctx context.Context) error {
	return mesh.BringIngress(ctx, m.objects, mesh.IngressObjects())
}

// ensureIngress brings the ingress gateway once an object of kind Gateway selects it. It stays from then on, as an installation does.
func (k *kubelet) ensureIngress(ctx context.Context) error {
	if k.ingress {
		return nil
	}
	all, err := k.gateways.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, g := range all {
		if labels.SelectorFromSet(g.Spec.Selector).Matches(labels.Set(mesh.IngressLabels())) {
			k.ingress = true
			return k.mesh.BringIngress(ctx)
		}
	}
	return nil
}

// writeBind makes a gateway's proxy listen at the pod's address: without it it would listen at all of the machine.
func (k *kubelet) writeBind(ctx context.Context, p *pod) error {
	if _, had := k.sidecars[p.object.Name]; had {
		return nil
	}
	filter := object{
		"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
		"metadata": object{"name": p.object.Name, "namespace": p.object.Namespace, "labels": object{mesh.ManagedByLabel: "squall-local"}},
		"spec": object{
			"workloadSelector": object{"labels": object{podLabel: p.object.Name}},
			"configPatches": []object{{
				"applyTo": "LISTENER", "match": object{"context": "GATEWAY"},
				"patch": object{"operation": "MERGE", "value": object{"address": object{"socket_address": object{"address": p.ip.String()}}}},
			}},
		},
	}
	if _, err := k.objects.Apply(ctx, mesh.Literal(filter)); err != nil {
		return fmt.Errorf("addresses of gateway %s: %w", p.object.Name, err)
	}
	k.sidecars[p.object.Name] = ""
	return nil
}

// deleteOwn deletes the object that tells a pod's proxy where to listen.
func (k *kubelet) deleteOwn(ctx context.Context, p *pod) error {
	var err error
	switch {
	case p.isGateway():
		err = k.istio.NetworkingV1alpha3().EnvoyFilters(p.object.Namespace).Delete(ctx, p.object.Name, metav1.DeleteOptions{})
	case p.hasSidecar():
		err = k.istio.NetworkingV1().Sidecars(p.object.Namespace).Delete(ctx, p.object.Name, metav1.DeleteOptions{})
	}
	return gone(err)
}

// istiodIdentity is whom a gateway's proxy expects at istiod's port with TLS.
func istiodIdentity() sds.Identity {
	return sds.Identity{Namespace: mesh.RootNamespace, ServiceAccount: "istiod"}
}

// istiodTLS is the transport of a gateway's proxy to istiod: istiod hands the credentials of a Gateway to a proxy alone that shows
// who it is.
func istiodTLS() object {
	secret := func(name string) object {
		return object{"name": name, "sds_config": object{"resource_api_version": "V3", "api_config_source": object{
			"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": []object{{"envoy_grpc": object{"cluster_name": "sds-grpc"}}},
		}}}
	}
	const kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	return object{"name": "envoy.transport_sockets.tls", "typed_config": object{"@type": kind, "common_tls_context": object{
		"alpn_protocols":                     []string{"h2"},
		"tls_certificate_sds_secret_configs": []object{secret("default")},
		"combined_validation_context": object{
			"default_validation_context": object{"match_typed_subject_alt_names": []object{{
				"san_type": "URI", "matcher": object{"exact": istiodIdentity().URI(trustDomain).String()},
			}}},
			"validation_context_sds_secret_config": secret("ROOTCA"),
		},
	}}}
}

// statusListener answers at the port of a gateway that load balancers ask whether it is ready.
func statusListener(p *pod) object {
	const manager = "envoy.filters.network.http_connection_manager"
	const router = "envoy.filters.http.router"
	return object{
		"name": "status", "address": socket(p.ip.String(), statusPort),
		"filter_chains": []object{{"filters": []object{{"name": manager, "typed_config": object{
			"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			"stat_prefix": "status",
			"route_config": object{"virtual_hosts": []object{{"name": "status", "domains": []string{"*"}, "routes": []object{{
				"match": object{"path": "/healthz/ready"}, "route": object{"cluster": "status", "prefix_rewrite": "/ready"},
			}}}}},
			"http_filters": []object{{"name": router, "typed_config": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
		}}}}},
	}
}

// statusCluster is the proxy's own admin interface.
func statusCluster(p *pod) object {
	return object{"name": "status", "type": "STATIC", "connect_timeout": "1s", "load_assignment": object{
		"cluster_name": "status", "endpoints": []object{{"lb_endpoints": []object{{"endpoint": object{"address": socket(p.calls.String(), adminPort)}}}}},
	}}
}

// checkGateway judges a container that Istio's injector would put the proxy into.
func (c *checker) checkGateway(at string, pod *corev1.PodTemplateSpec) {
	k := &pod.Spec.Containers[0]
	if k.Image != mesh.AutoImage {
		c.add(at+".image", "a gateway is the local mesh's own proxy", "write image: "+mesh.AutoImage)
	}
	if len(k.Command) > 0 || len(k.Args) > 0 || len(k.Env) > 0 || len(k.EnvFrom) > 0 || k.ReadinessProbe != nil {
		c.add(at, "a gateway of the local mesh takes no command, args, env and probes", "remove them")
	}
}

// gateway refuses what the gateways of the local mesh cannot serve.
func gateway(c *checker, o map[string]any) {
	spec, _ := o["spec"].(map[string]any)
	servers, _ := spec["servers"].([]any)
	for i, s := range servers {
		server, _ := s.(map[string]any)
		tls, _ := server["tls"].(map[string]any)
		at := fmt.Sprintf("spec.servers[%d].", i)
		if server["bind"] != nil {
			c.add(at+"bind", "a gateway of the local mesh listens at its pod's address", "remove it")
		}
		for _, file := range []string{"serverCertificate", "privateKey", "caCertificates", "caCrl"} {
			if tls[file] != nil {
				c.add(at+"tls."+file, "the file is one of the gateway's image, which is not here", "write credentialName, and a Secret in the gateway's namespace")
			}
		}
		if tls["mode"] == "AUTO_PASSTHROUGH" {
			c.add(at+"tls.mode", "the local mesh is one cluster: nothing calls it by AUTO_PASSTHROUGH", "write PASSTHROUGH or SIMPLE")
		}
	}
}

// selectsNobody is what is wrong with a Gateway that no gateway among the pods' labels follows.
func (c *checker) selectsNobody(o map[string]any, gateways []map[string]string) {
	spec, _ := o["spec"].(map[string]any)
	raw, _ := spec["selector"].(map[string]any)
	want := labels.Set{}
	for k, v := range raw {
		want[k] = fmt.Sprint(v)
	}
	for _, have := range gateways {
		if labels.SelectorFromSet(want).Matches(labels.Set(have)) {
			return
		}
	}
	c.add("spec.selector", "selects no gateway: "+want.String(),
		"write istio: ingressgateway, or add a Deployment of a gateway: annotation "+mesh.TemplatesAnnotation+": "+mesh.GatewayTemplate+", image: "+mesh.AutoImage)
}

// istiodFiles writes istiod's own certificate for its port with TLS.
func (m *Mesh) istiodFiles() (args []string, err error) {
	cert, err := m.sds.Certificate(istiodIdentity())
	if err != nil {
		return nil, err
	}
	var errs []error
	for flag, body := range map[string][]byte{"tlsCertFile": cert.Cert, "tlsKeyFile": cert.Key, "caCertFile": cert.Root} {
		path := filepath.Join(m.opts.Dir, flag+".pem")
		errs = append(errs, os.WriteFile(path, body, 0o600))
		args = append(args, "--"+flag+"="+path)
	}
	return args, errors.Join(errs...)
}
