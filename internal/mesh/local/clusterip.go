package local

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// forwardClusterIPs makes each service's cluster IP take connections to its ports, as kube-proxy does on a cluster. Who has no
// proxy calls there: a pod without one, and istiod.
func (k *kubelet) forwardClusterIPs() error {
	services, err := k.sortedServices()
	if err != nil {
		return err
	}
	want := map[netip.AddrPort][]netip.AddrPort{}
	for _, s := range services {
		ip, err := netip.ParseAddr(s.Spec.ClusterIP)
		if err != nil {
			continue // a service without an address
		}
		all, err := k.slicesOf(s)
		if err != nil {
			return err
		}
		for i := range s.Spec.Ports {
			want[netip.AddrPortFrom(ip, uint16(s.Spec.Ports[i].Port))] = endpoints(all, s.Spec.Ports[i].Name)
		}
	}
	return k.sayUnforwarded(k.mesh.forwarder.Set(want))
}

// slicesOf are the service's EndpointSlices: the one that the kubelet writes, or those of somebody else.
func (k *kubelet) slicesOf(s *corev1.Service) ([]*discoveryv1.EndpointSlice, error) {
	if len(s.Spec.Selector) > 0 {
		return []*discoveryv1.EndpointSlice{k.slice(s)}, nil
	}
	return k.slicesBy.EndpointSlices(s.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: s.Name}))
}

// endpoints are the ready addresses of a service's port.
func endpoints(all []*discoveryv1.EndpointSlice, port string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range all {
		for _, p := range s.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != port || p.Name == nil && port != "" {
				continue
			}
			for _, e := range s.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
					continue
				}
				if ip, err := netip.ParseAddr(e.Addresses[0]); err == nil { // Kubernetes gives the rest no meaning
					out = append(out, netip.AddrPortFrom(ip, uint16(*p.Port)))
				}
			}
		}
	}
	return out
}

// sayUnforwarded notes in a log, once, which cluster IPs take no calls, such as those at port 80 of a user who may not listen there.
func (k *kubelet) sayUnforwarded(why error) error {
	if why == nil || k.unforwarded == why.Error() {
		return nil
	}
	k.unforwarded = why.Error()
	f, err := os.OpenFile(k.mesh.opts.Log("cluster-ips"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of cluster IPs: %w", err)
	}
	_, err = fmt.Fprintf(f, "%s programs without a proxy cannot call: %v\n", time.Now().UTC().Format(time.RFC3339Nano), why)
	return errors.Join(err, f.Close())
}
