package sds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

var (
	client = Identity{"httpbin", "squall-load"}
	server = Identity{"httpbin", "httpbin"}
)

// socketPath is short enough for a Unix socket, whatever the test's name.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sds") //nolint:usetesting // the path of t.TempDir is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "s")
}

func newServer(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func serve(t *testing.T, s *Server, id Identity) string {
	t.Helper()
	path := socketPath(t)
	if _, err := s.Identity(t.Context(), path, id); err != nil {
		t.Fatal(err)
	}
	return path
}

// proxy is one SDS stream as Envoy opens it.
type proxy struct {
	t      *testing.T
	stream secretv3.SecretDiscoveryService_StreamSecretsClient
}

func dial(t *testing.T, path string) *proxy {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	stream, err := secretv3.NewSecretDiscoveryServiceClient(conn).StreamSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &proxy{t, stream}
}

func node(t *testing.T, meta map[string]any) *corev3.Node {
	t.Helper()
	m, err := structpb.NewStruct(meta)
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.Node{Id: "sidecar~127.1.0.1~httpbin-0.httpbin~httpbin.svc.cluster.local", Metadata: m}
}

func (p *proxy) send(r *discoveryv3.DiscoveryRequest) {
	p.t.Helper()
	r.TypeUrl = secretType
	if err := p.stream.Send(r); err != nil {
		p.t.Fatal(err)
	}
}

// subscribe asks for names, and acknowledges the answer.
func (p *proxy) subscribe(names ...string) *discoveryv3.DiscoveryResponse {
	p.t.Helper()
	p.send(&discoveryv3.DiscoveryRequest{Node: node(p.t, nil), ResourceNames: names})
	return p.next(names...)
}

// next awaits a response and acknowledges it.
func (p *proxy) next(names ...string) *discoveryv3.DiscoveryResponse {
	p.t.Helper()
	r, err := p.stream.Recv()
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(&discoveryv3.DiscoveryRequest{ResourceNames: names, VersionInfo: r.VersionInfo, ResponseNonce: r.Nonce})
	return r
}

// secrets are a response's certificate and roots.
func secrets(t *testing.T, r *discoveryv3.DiscoveryResponse) (cert tls.Certificate, roots *x509.CertPool) {
	t.Helper()
	roots = x509.NewCertPool()
	for _, packed := range r.Resources {
		var s tlsv3.Secret
		if err := packed.UnmarshalTo(&s); err != nil {
			t.Fatal(err)
		}
		if c := s.GetTlsCertificate(); c != nil {
			var err error
			if cert, err = tls.X509KeyPair(c.CertificateChain.GetInlineBytes(), c.PrivateKey.GetInlineBytes()); err != nil {
				t.Fatal(err)
			}
		} else if !roots.AppendCertsFromPEM(s.GetValidationContext().GetTrustedCa().GetInlineBytes()) {
			t.Fatalf("secret %s is neither a certificate nor a root", s.Name)
		}
	}
	return cert, roots
}

func fetch(t *testing.T, s *Server, id Identity) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	return secrets(t, dial(t, serve(t, s, id)).subscribe("default", "ROOTCA"))
}

// handshake connects a client that expects the identity want, and returns the identity that the server saw.
func handshake(t *testing.T, cc tls.Certificate, cRoots *x509.CertPool, sc tls.Certificate, sRoots *x509.CertPool, want Identity) (string, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{sc}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: sRoots})
		if tc.Handshake() == nil {
			fmt.Fprint(tc, tc.ConnectionState().PeerCertificates[0].URIs[0])
		}
		tc.Close()
	}()
	verify := func(cs tls.ConnectionState) error { // the name is a SPIFFE identity, which crypto/tls does not check
		leaf := cs.PeerCertificates[0]
		opts := x509.VerifyOptions{Roots: cRoots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if _, err := leaf.Verify(opts); err != nil {
			return err
		}
		if len(leaf.URIs) != 1 || leaf.URIs[0].String() != want.URI("cluster.local").String() {
			return fmt.Errorf("identity %v, want %v", leaf.URIs, want)
		}
		return nil
	}
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{Certificates: []tls.Certificate{cc}, InsecureSkipVerify: true, VerifyConnection: verify})
	if err != nil {
		return "", err
	}
	defer c.Close()
	seen, err := io.ReadAll(c)
	return string(seen), err
}

func TestMutualTLSWithServedSecrets(t *testing.T) {
	s := newServer(t, Options{})
	cc, cRoots := fetch(t, s, client)
	sc, sRoots := fetch(t, s, server)
	seen, err := handshake(t, cc, cRoots, sc, sRoots, server)
	if want := "spiffe://cluster.local/ns/httpbin/sa/squall-load"; err != nil || seen != want {
		t.Errorf("the server saw %q, %v; want %q", seen, err, want)
	}
	if _, err := handshake(t, cc, cRoots, sc, sRoots, Identity{"httpbin", "other"}); err == nil || !strings.Contains(err.Error(), "want httpbin/other") {
		t.Errorf("a client that expects another server connects: %v", err)
	}
	stranger, _ := fetch(t, newServer(t, Options{}), client)
	if seen, err := handshake(t, stranger, cRoots, sc, sRoots, server); err == nil {
		t.Errorf("a certificate of another root is accepted as %q", seen)
	}
}

func TestCertificate(t *testing.T) {
	cert, roots := fetch(t, newServer(t, Options{TrustDomain: "example.org", TTL: time.Hour}), server)
	opts := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := cert.Leaf.Verify(opts); err != nil {
		t.Error(err)
	}
	if got := cert.Leaf.URIs[0].String(); got != "spiffe://example.org/ns/httpbin/sa/httpbin" {
		t.Errorf("identity %s", got)
	}
	if left := time.Until(cert.Leaf.NotAfter); left > time.Hour+time.Second || left < 59*time.Minute {
		t.Errorf("valid for another %v, want 1 h and up to a second", left)
	}
	opts.CurrentTime = cert.Leaf.NotAfter.Add(time.Second)
	if _, err := cert.Leaf.Verify(opts); err == nil {
		t.Error("an expired certificate verifies")
	}
}

func TestSocketDecidesIdentity(t *testing.T) {
	for _, tc := range []struct {
		name string
		meta map[string]any
		want codes.Code
	}{
		{"the same", map[string]any{"NAMESPACE": "httpbin", "SERVICE_ACCOUNT": "squall-load"}, codes.OK},
		{"no claim", nil, codes.OK},
		{"another account", map[string]any{"NAMESPACE": "httpbin", "SERVICE_ACCOUNT": "httpbin"}, codes.PermissionDenied},
		{"another namespace", map[string]any{"NAMESPACE": "istio-system", "SERVICE_ACCOUNT": "squall-load"}, codes.PermissionDenied},
		{"a claim that is no string", map[string]any{"NAMESPACE": 7}, codes.PermissionDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := dial(t, serve(t, newServer(t, Options{}), client))
			p.send(&discoveryv3.DiscoveryRequest{Node: node(t, tc.meta), ResourceNames: []string{"default"}})
			r, err := p.stream.Recv()
			if status.Code(err) != tc.want {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err != nil {
				return
			}
			cert, _ := secrets(t, r)
			if got := cert.Leaf.URIs[0].String(); got != client.URI("cluster.local").String() {
				t.Errorf("identity %s", got)
			}
		})
	}
}

// A new certificate arrives on the open stream before the old one ends, and another one after it.
func TestRotationBeforeExpiry(t *testing.T) {
	s := newServer(t, Options{TTL: 3 * time.Second})
	p := dial(t, serve(t, s, client))
	cert, _ := secrets(t, p.subscribe("default"))
	for range 2 {
		next, _ := secrets(t, p.next("default"))
		if now := time.Now(); !now.Before(cert.Leaf.NotAfter.Add(time.Second)) { // NotAfter is cut to a second
			t.Errorf("renewed at %v, after the end at %v", now, cert.Leaf.NotAfter)
		}
		if next.Leaf.SerialNumber.Cmp(cert.Leaf.SerialNumber) == 0 || next.PrivateKey == cert.PrivateKey {
			t.Error("the renewed certificate is the old one")
		}
		cert = next
	}
}

func TestRotationReachesSubscribersOfTheCertificateAlone(t *testing.T) {
	s := newServer(t, Options{TTL: 60 * time.Millisecond})
	path := serve(t, s, client)
	root, both := dial(t, path), dial(t, path)
	root.subscribe("ROOTCA")
	first := both.subscribe("default", "ROOTCA")
	second := both.next("default", "ROOTCA")
	if first.VersionInfo == second.VersionInfo || first.Nonce == second.Nonce || len(second.Resources) != 2 {
		t.Errorf("after the renewal: version %s nonce %s with %d secrets, before: %s %s", second.VersionInfo, second.Nonce,
			len(second.Resources), first.VersionInfo, first.Nonce)
	}
	// The root's stream has sent nothing meanwhile: its next answer is the one to a changed subscription.
	root.send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{"ROOTCA", "default"}, VersionInfo: "1", ResponseNonce: "1"})
	r, err := root.stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if r.Nonce != "2" || len(r.Resources) != 2 {
		t.Errorf("nonce %s with %d secrets, want 2 with 2", r.Nonce, len(r.Resources))
	}
}

func TestNackIsReported(t *testing.T) {
	nacks := make(chan Nack, 2)
	s := newServer(t, Options{OnNack: func(n Nack) { nacks <- n }})
	p := dial(t, serve(t, s, client))
	p.send(&discoveryv3.DiscoveryRequest{Node: node(t, nil), ResourceNames: []string{"default"}})
	r, err := p.stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	nack := &discoveryv3.DiscoveryRequest{ResourceNames: []string{"default"}, ResponseNonce: r.Nonce, ErrorDetail: &rpcstatus.Status{Message: "bad key"}}
	p.send(nack)
	got := <-nacks
	if got.Identity != client || got.Reason != "bad key" || len(got.Secrets) != 1 || !strings.HasPrefix(got.Node, "sidecar~") {
		t.Errorf("got %+v", got)
	}
}

func TestBadOptionsAndSockets(t *testing.T) {
	for _, ttl := range []time.Duration{-1, rootTTL + 1} {
		if _, err := New(Options{TTL: ttl}); err == nil {
			t.Errorf("a lifetime of %v is accepted", ttl)
		}
	}
	s := newServer(t, Options{})
	loose := filepath.Join(t.TempDir(), "loose")
	if err := os.Mkdir(loose, 0o755); err != nil {
		t.Fatal(err)
	}
	file := socketPath(t)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path string
		id         Identity
		want       string
	}{
		{"no account", socketPath(t), Identity{Namespace: "a"}, "lacks"},
		{"long path", filepath.Join(t.TempDir(), strings.Repeat("x", 110)), client, "shorter path"},
		{"others may enter", filepath.Join(loose, "s"), client, "mode 0755"},
		{"a file", file, client, "no socket"},
		{"in use", serve(t, newServer(t, Options{}), server), client, "another process"},
		{"in use here", serve(t, s, server), client, "already served"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := s.Identity(t.Context(), tc.path, tc.id); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// A pod that comes back takes its path again, also after a run that was killed and left the socket.
func TestSocketComesBack(t *testing.T) {
	s := newServer(t, Options{})
	path := socketPath(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		closeSocket, err := s.Identity(t.Context(), path, client)
		if err != nil {
			t.Fatal(err)
		}
		p := dial(t, path)
		p.subscribe("default")
		for range 2 {
			if err := closeSocket(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.stream.Recv(); err == nil {
			t.Error("a closed socket's stream goes on")
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Identity(t.Context(), path, client); err == nil {
		t.Error("a closed server serves")
	}
}
