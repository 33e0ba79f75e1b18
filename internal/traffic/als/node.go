package als

import (
	"net"
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"squall/internal/traffic"
)

// node is the proxy that a stream is of.
type node struct {
	id      string
	ip      string
	gateway bool
	self    traffic.Workload
	peers   Peers
}

// newNode reads a node as Istio names it: kind~IP~pod.namespace~domain, with the pod's labels in its metadata.
func newNode(n *corev3.Node, peers Peers) *node {
	out := &node{id: n.GetId(), peers: peers}
	if parts := strings.Split(n.GetId(), "~"); len(parts) == 4 {
		out.ip, out.gateway = parts[1], parts[0] == "router"
		out.self.Pod, out.self.Namespace = cutLast(parts[2], '.')
	}
	meta := n.GetMetadata().GetFields()
	set := func(to *string, fields map[string]*structpb.Value, names ...string) {
		for _, name := range names {
			if v := fields[name].GetStringValue(); v != "" {
				*to = v
				return
			}
		}
	}
	labels := meta["LABELS"].GetStructValue().GetFields()
	set(&out.self.Namespace, meta, "NAMESPACE")
	set(&out.self.Pod, meta, "NAME")
	set(&out.self.Name, meta, "WORKLOAD_NAME")
	set(&out.self.Service, labels, "service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
	set(&out.self.Version, labels, "version", "app.kubernetes.io/version", "service.istio.io/canonical-revision")
	if w, ok := peers.Workload(out.ip); ok {
		merge(&out.self, w)
	}
	return out
}

// nobody knows no peers.
type nobody struct{}

func (nobody) Workload(string) (traffic.Workload, bool)         { return traffic.Workload{}, false }
func (nobody) Service(string) (namespace, name string, ok bool) { return "", "", false }

// merge prefers what the cluster says.
func merge(into *traffic.Workload, w traffic.Workload) {
	for to, from := range map[*string]string{
		&into.Namespace: w.Namespace, &into.Name: w.Name, &into.Service: w.Service, &into.Version: w.Version, &into.Pod: w.Pod, &into.Address: w.Address,
	} {
		if from != "" {
			*to = from
		}
	}
}

func cutLast(s string, at byte) (before, after string) {
	if i := strings.LastIndexByte(s, at); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// place says who called whom.
func (n *node) place(r *traffic.Record, c *datav3.AccessLogCommon) {
	remote := c.GetDownstreamDirectRemoteAddress() // who connected, whatever a header says
	if remote == nil {
		remote = c.GetDownstreamRemoteAddress()
	}
	n.ends(r, hop{
		local: ip(c.GetDownstreamLocalAddress()), localAddress: address(c.GetDownstreamLocalAddress()),
		remote: ip(remote), remoteAddress: address(remote),
		upstream: ip(c.GetUpstreamRemoteAddress()), upstreamAddress: address(c.GetUpstreamRemoteAddress()),
	})
}

// hop are the addresses of an entry.
type hop struct {
	local, localAddress, remote, remoteAddress, upstream, upstreamAddress string
}

func (n *node) ends(r *traffic.Record, h hop) {
	if r.Reporter = n.reporter(r.Cluster, h.local); r.Reporter == traffic.Destination {
		r.Destination = n.self
		r.Destination.Address = h.localAddress
		r.Source.Address = h.remoteAddress
		if w, ok := n.peers.Workload(h.remote); ok {
			w.Address = h.remoteAddress
			r.Source = w
		}
		if r.Source.Namespace == "" {
			r.Source.Namespace = namespaceOf(r.Principal)
		}
		return
	}
	r.Source = n.self
	r.Source.Address = h.remoteAddress
	if n.gateway { // what calls a gateway is outside of the mesh
		r.Principal = ""
	}
	if w, ok := n.peers.Workload(h.upstream); ok {
		r.Destination = w
	}
	if namespace, service := serviceOf(r.Cluster); service != "" {
		r.Destination.Namespace, r.Destination.Service = namespace, service
	} else if r.Destination.Service == "" {
		// Of a request that a filter answered, such as one of faults, Envoy tells no cluster. A name without a namespace is of the caller's.
		for _, host := range []string{h.local, bare(r.Authority), bare(r.Authority) + "." + n.self.Namespace} {
			if namespace, name, ok := n.peers.Service(host); ok {
				r.Destination.Namespace, r.Destination.Service = namespace, name
				break
			}
		}
	}
	r.Destination.Address = h.upstreamAddress
}

func bare(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority
}

// reporter tells which side a proxy was on. Without a cluster, as when nothing was to be called, the request came in when it came to the
// pod's own address.
func (n *node) reporter(cluster, local string) traffic.Reporter {
	switch {
	case n.gateway, strings.HasPrefix(cluster, "outbound|"), strings.HasPrefix(cluster, "outbound_"), cluster == "PassthroughCluster", cluster == "BlackHoleCluster":
		return traffic.Source
	case strings.HasPrefix(cluster, "inbound|"), strings.HasPrefix(cluster, "InboundPassthrough"), local != "" && local == n.ip:
		return traffic.Destination
	}
	return traffic.Source
}

// serviceOf reads a cluster of Istio's: outbound|9080|v1|reviews.bookinfo.svc.cluster.local. A host outside of the cluster is a service
// without a namespace.
func serviceOf(cluster string) (namespace, service string) {
	parts := strings.Split(cluster, "|")
	if len(parts) != 4 || parts[0] != "outbound" {
		return "", ""
	}
	host, svc, _ := strings.Cut(parts[3], ".svc.")
	if svc == "" {
		return "", parts[3]
	}
	service, namespace, _ = strings.Cut(host, ".")
	return namespace, service
}

// namespaceOf reads a SPIFFE identity of Istio's: spiffe://cluster.local/ns/bookinfo/sa/reviews.
func namespaceOf(principal string) string {
	u, err := url.Parse(principal)
	if err != nil || u.Scheme != "spiffe" {
		return ""
	}
	if parts := strings.Split(u.Path, "/"); len(parts) == 5 && parts[1] == "ns" {
		return parts[2]
	}
	return ""
}
