package sds

import (
	"fmt"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	workloadSecret = "default" // the names that istiod uses
	rootSecret     = "ROOTCA"
	secretType     = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// stream is the state of one StreamSecrets call.
type stream struct {
	socket *socket
	grpc   secretv3.SecretDiscoveryService_StreamSecretsServer
	node   string
	names  []string // the subscription
	sent   int      // responses so far; the last one's nonce
}

// StreamSecrets answers Envoy: at once, when the subscription changes, and when the certificate is renewed.
func (k *socket) StreamSecrets(g secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	requests := make(chan *discoveryv3.DiscoveryRequest)
	failed := make(chan error, 1)
	go func() {
		for {
			r, err := g.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- r:
			case <-g.Context().Done():
				return
			}
		}
	}()
	st := &stream{socket: k, grpc: g}
	_, _, renewed := k.current()
	for {
		var err error
		select {
		case err = <-failed:
		case <-g.Context().Done():
			err = g.Context().Err()
		case r := <-requests:
			err = st.receive(r)
		case <-renewed:
			_, _, renewed = k.current()
			err = st.renew()
		}
		if err != nil {
			return err
		}
	}
}

// receive handles a subscription, an acknowledgement or a rejection.
func (st *stream) receive(r *discoveryv3.DiscoveryRequest) error {
	if err := st.identify(r.GetNode()); err != nil {
		return err
	}
	nonce := r.GetResponseNonce()
	if nonce != "" && nonce != strconv.Itoa(st.sent) {
		return nil // about a response that another one has replaced
	}
	if e := r.GetErrorDetail(); e != nil {
		if st.socket.server.opts.OnNack != nil {
			st.socket.server.opts.OnNack(Nack{st.socket.id, st.node, slices.Clone(st.names), e.GetMessage()})
		}
		return nil
	}
	names := slices.Sorted(slices.Values(r.GetResourceNames()))
	if nonce != "" && slices.Equal(names, st.names) {
		return nil // an acknowledgement
	}
	st.names = names
	return st.send()
}

// identify refuses a caller whose node says that it is another workload than the one this socket is for. Envoy sends its
// node with the first request only.
func (st *stream) identify(node *corev3.Node) error {
	if node == nil {
		return nil
	}
	st.node = node.GetId()
	meta, id := node.GetMetadata().GetFields(), st.socket.id
	for key, want := range map[string]string{"NAMESPACE": id.Namespace, "SERVICE_ACCOUNT": id.ServiceAccount} {
		value, ok := meta[key]
		if got := value.GetStringValue(); ok && got != want {
			st.socket.server.opts.Log.Warn("identity refused", "socket", id.String(), "node", st.node, "claim", key, "value", got)
			return status.Errorf(codes.PermissionDenied, "this socket serves %s: node %s has %s %q", id, st.node, key, got)
		}
	}
	return nil
}

// renew sends the new certificate to a stream that has subscribed to it.
func (st *stream) renew() error {
	if !slices.Contains(st.names, workloadSecret) {
		return nil
	}
	return st.send()
}

// send answers with the subscribed secrets. A name that is none of ours is not answered, as the protocol wants it.
func (st *stream) send() error {
	pair, version, _ := st.socket.current()
	st.sent++
	out := &discoveryv3.DiscoveryResponse{TypeUrl: secretType, VersionInfo: strconv.Itoa(version), Nonce: strconv.Itoa(st.sent)}
	for _, name := range st.names {
		secret := &tlsv3.Secret{Name: name}
		switch name {
		case workloadSecret:
			cert := &tlsv3.TlsCertificate{CertificateChain: inline(pair.certPEM), PrivateKey: inline(pair.keyPEM)}
			secret.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: cert}
		case rootSecret:
			trust := &tlsv3.CertificateValidationContext{TrustedCa: inline(st.socket.server.ca.rootPEM)}
			secret.Type = &tlsv3.Secret_ValidationContext{ValidationContext: trust}
		default:
			st.socket.server.opts.Log.Warn("no such secret", "socket", st.socket.id.String(), "node", st.node, "secret", name)
			continue
		}
		packed, err := anypb.New(secret)
		if err != nil {
			return fmt.Errorf("encode the secret %s: %w", name, err)
		}
		out.Resources = append(out.Resources, packed)
	}
	return st.grpc.Send(out)
}

// inline is b as a data source.
func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}
