// Package sds gives the proxies of a local mesh their certificates: a certificate authority in memory, and a server of Envoy's
// Secret Discovery Service (SDS) for the two secrets that istiod puts into every mutual TLS context.
//
// A proxy can only get its own identity, since each pod has a Unix socket of its own, in a folder that only its owner can
// enter, and the socket decides the identity. Node metadata that claims another one is refused.
//
// Only the state-of-the-world protocol is served: istiod names it in every SDS configuration that it sends, so Envoy never asks
// for the incremental one.
package sds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
)

const (
	defaultTrustDomain = "cluster.local"
	defaultTTL         = 24 * time.Hour
	maxSocketPath      = 103 // what every Unix takes; Linux itself takes 107
)

// Options configures a Server. The zero value serves the trust domain cluster.local with certificates for 24 h.
type Options struct {
	TrustDomain string
	TTL         time.Duration // of a workload's certificate; it is replaced after two thirds of it

	// OnNack is called when a proxy rejects a secret, from the goroutine of its stream: it must not block.
	OnNack func(Nack)

	// Log gets refused callers, secrets that nobody has, and certificates that could not be renewed; nil discards.
	Log *slog.Logger
}

// Nack is a proxy's rejection of a secret.
type Nack struct {
	Identity Identity
	Node     string // Envoy's node id
	Secrets  []string
	Reason   string // Envoy's own words
}

// Server is a certificate authority and the SDS servers of its identities. Close it.
type Server struct {
	opts Options
	ca   *authority

	mu      sync.Mutex
	closed  bool
	sockets map[string]*socket // by path
}

// New makes the root of a mesh. The root lives in memory alone and is valid for a year.
func New(opts Options) (*Server, error) {
	if opts.TrustDomain == "" {
		opts.TrustDomain = defaultTrustDomain
	}
	if opts.TTL == 0 {
		opts.TTL = defaultTTL
	}
	if opts.TTL < 0 || opts.TTL > rootTTL {
		return nil, fmt.Errorf("certificate lifetime %v: want more than 0 and at most %v, the root's", opts.TTL, rootTTL)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	ca, err := newAuthority(opts.TrustDomain)
	if err != nil {
		return nil, err
	}
	return &Server{opts: opts, ca: ca, sockets: map[string]*socket{}}, nil
}

// Identity serves the secrets of id on a new Unix socket until closeSocket, which ends open streams, removes the socket, and may
// be called more than once. The socket's folder is made with mode 0700 if it is not there; one that others can enter is an error,
// as are a path of more than 103 bytes and a path that is in use. ctx bounds the call alone.
func (s *Server) Identity(ctx context.Context, path string, id Identity) (closeSocket func() error, err error) {
	if id.Namespace == "" || id.ServiceAccount == "" {
		return nil, fmt.Errorf("sds socket %s: the identity %q lacks a namespace or a service account", path, id)
	}
	pair, err := s.ca.issue(id, s.opts.TTL)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("sds socket %s: the server is closed", path)
	}
	if _, taken := s.sockets[path]; taken {
		return nil, fmt.Errorf("sds socket %s: already served", path)
	}
	l, err := listen(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("sds socket %s: %w", path, err)
	}
	k := newSocket(s, id, pair)
	s.sockets[path] = k
	k.serve(context.WithoutCancel(ctx), l)
	return func() error {
		s.mu.Lock()
		if s.sockets[path] == k {
			delete(s.sockets, path)
		}
		s.mu.Unlock()
		return k.close()
	}, nil
}

// Certificate is a certificate of id for a server that reads it from files, valid as long as the root, in PEM.
func (s *Server) Certificate(id Identity) (Files, error) {
	pair, err := s.ca.issue(id, rootTTL-backdate)
	if err != nil {
		return Files{}, err
	}
	return Files{Cert: pair.certPEM, Key: pair.keyPEM, Root: s.ca.rootPEM}, nil
}

// Files are a certificate, its key and the root that signed it, in PEM.
type Files struct{ Cert, Key, Root []byte }

// Close closes every socket. It may be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	sockets := s.sockets
	s.sockets = nil
	s.mu.Unlock()
	var errs []error
	for _, k := range sockets {
		errs = append(errs, k.close())
	}
	return errors.Join(errs...)
}

// listen makes the socket for its owner alone.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path has %d bytes and a Unix socket takes %d: use a folder with a shorter path", len(path), maxSocketPath)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("the folder has mode %04o, so others could ask for this identity: use a folder of mode 0700", mode)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "unix", path)
}

// removeStale removes a socket that nobody listens on any more, as a killed run leaves it.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is no socket")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(errors.New("another process serves it"), conn.Close())
	}
	return os.Remove(path)
}

// socket serves one identity.
type socket struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	server *Server
	id     Identity
	grpc   *grpc.Server
	stop   context.CancelFunc
	tasks  sync.WaitGroup
	once   sync.Once
	err    error // of grpc.Serve

	mu      sync.Mutex
	pair    keyPair
	version int
	renewed chan struct{} // closed when pair is replaced
}

// newSocket prepares the server of id.
func newSocket(s *Server, id Identity, pair keyPair) *socket {
	return &socket{server: s, id: id, grpc: grpc.NewServer(), pair: pair, version: 1, renewed: make(chan struct{})}
}

// serve answers on l and renews the certificate until close.
func (k *socket) serve(ctx context.Context, l net.Listener) {
	secretv3.RegisterSecretDiscoveryServiceServer(k.grpc, k)
	ctx, k.stop = context.WithCancel(ctx)
	k.tasks.Go(func() { k.err = k.grpc.Serve(l) })
	k.tasks.Go(func() { k.renew(ctx) })
}

// close ends the streams and removes the socket.
func (k *socket) close() error {
	k.once.Do(func() {
		k.stop()
		k.grpc.Stop()
		k.tasks.Wait()
		if errors.Is(k.err, grpc.ErrServerStopped) {
			k.err = nil
		}
		if k.err != nil {
			k.err = fmt.Errorf("serve the secrets of %s: %w", k.id, k.err)
		}
	})
	return k.err
}

// renew replaces the certificate at two thirds of its life, again and again. A failure is logged and tried again after a
// tenth of the life.
func (k *socket) renew(ctx context.Context) {
	ttl := k.server.opts.TTL
	pair, _, _ := k.current()
	timer := time.NewTimer(time.Until(pair.renew))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pair, err := k.server.ca.issue(k.id, ttl)
		if err != nil {
			k.server.opts.Log.Error("certificate not renewed", "identity", k.id.String(), "error", err)
			timer.Reset(ttl / 10)
			continue
		}
		k.replace(pair)
		timer.Reset(time.Until(pair.renew))
	}
}

// replace publishes a new certificate to all streams.
func (k *socket) replace(pair keyPair) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pair = pair
	k.version++
	close(k.renewed)
	k.renewed = make(chan struct{})
}

// current returns the certificate, its version, and the channel that closes when it is replaced.
func (k *socket) current() (keyPair, int, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pair, k.version, k.renewed
}
