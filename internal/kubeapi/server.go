// Package kubeapi is the Kubernetes API of the local mesh: an HTTP server that keeps its objects in memory. istiod,
// client-go, kubectl and Squall's own controllers use it as they use a cluster's.
//
// It lists, watches and writes as Kubernetes does: resource versions, conflicts, server-side apply with field managers,
// subresources, selectors, tables, owner references, discovery and OpenAPI. It differs where it says less than a cluster:
//
//   - Nothing runs. Deployments make no Pods and Services no EndpointSlices: that is for controllers that use this API.
//   - A delete is at once: there is no grace period, and owners and namespaces take what is theirs with them in the same
//     moment. Finalizers are honoured. After a Namespace the rest of its manifest is not found: kubectl delete -f needs
//     --ignore-not-found.
//   - There is no authentication and no authorization: it belongs on a loopback address or a Unix socket.
//   - JSON, YAML and protobuf are read, and JSON is written, whatever a client accepts. CBOR is refused.
//   - Istio kinds are checked against the schemas of their CRDs, but not against the CEL rules in them. Built-in kinds
//     are checked for their field names and types and for the mistakes that a workload or a Service would trip over.
//   - The served kinds are fixed: a CustomResourceDefinition of a kind that is not served is refused.
package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Options configure a Server. The zero value is good.
type Options struct {
	// Resources are the served kinds. Nil is DefaultResources.
	Resources []Resource
	// GatewayAPI adds the routes of the Gateway API to DefaultResources.
	GatewayAPI bool
	// ServiceCIDR is where Services get their cluster IPs from. The zero value is 10.96.0.0/16.
	ServiceCIDR netip.Prefix
	// Clock tells the time for creation and deletion stamps and for ages in tables. Nil is time.Now.
	Clock func() time.Time
	// History is how many changes of each resource are kept for watches that resume. 0 is 1024.
	History int
	// WatchQueue is how many changes may wait for one slow watch before it is ended. 0 is 1024.
	WatchQueue int
}

// Server is an in-memory Kubernetes API. It is an http.Handler and safe for concurrent use.
type Server struct {
	resources []Resource
	cidr      netip.Prefix
	now       func() time.Time
	store     *store
	schemas   *schemas
	managers  *fieldManagers
}

// New makes a Server that holds what a new cluster has: the namespaces default, kube-system and kube-public with their
// default service accounts, and the CRDs of the Istio kinds that are served. It panics if the embedded CRDs are broken,
// which the tests rule out.
func New(opts Options) *Server {
	s := &Server{resources: opts.Resources, cidr: opts.ServiceCIDR, now: opts.Clock}
	if s.resources == nil {
		s.resources = DefaultResources()
		if opts.GatewayAPI {
			s.resources = append(s.resources, gatewayResources()...)
		}
	}
	if !s.cidr.IsValid() {
		s.cidr = netip.MustParsePrefix("10.96.0.0/16")
	}
	s.cidr = s.cidr.Masked()
	if s.now == nil {
		s.now = time.Now
	}
	if opts.History == 0 {
		opts.History = 1024
	}
	if opts.WatchQueue == 0 {
		opts.WatchQueue = 1024
	}
	s.store = newStore(s.resources, opts.History, opts.WatchQueue)
	crds, err := readCRDs(s.resources)
	if err == nil {
		s.schemas = newSchemas(s.resources, crds)
		s.managers = newFieldManagers(s.schemas)
		err = s.seed(crds)
	}
	if err != nil {
		panic(fmt.Sprintf("kubeapi: %v", err))
	}
	return s
}

// Serve answers on a listener, which it closes, until the context ends. Then it ends the watches, lets requests under
// way finish for a quarter of a second, and returns nil when every handler has returned.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var busy sync.WaitGroup
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			busy.Add(1)
			defer busy.Done()
			s.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
	}
	busy.Go(s.managers.warm)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	var err error
	select {
	case err = <-ended:
		err = fmt.Errorf("serve the Kubernetes API on %s: %w", l.Addr(), err)
		cancel()
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), 250*time.Millisecond)
	defer stop()
	if shutdown := srv.Shutdown(grace); shutdown != nil && !errors.Is(shutdown, context.DeadlineExceeded) {
		err = errors.Join(err, shutdown)
	}
	if closing := srv.Close(); closing != nil && !errors.Is(closing, net.ErrClosed) {
		err = errors.Join(err, closing)
	}
	busy.Wait()
	return err
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.serveFixed(w, r) {
		return
	}
	p, ok := parsePath(r.URL.Path)
	if !ok {
		writeError(w, notFoundPath())
		return
	}
	q, err := s.newRequest(r, p)
	if err == nil {
		err = s.serveResource(w, r, q)
	}
	if err != nil {
		writeError(w, err)
	}
}

// serveFixed answers the paths that are not resources, and says whether the path was one.
func (s *Server) serveFixed(w http.ResponseWriter, r *http.Request) bool {
	switch r.URL.Path {
	case "/healthz", "/livez", "/readyz":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		writeBytes(w, http.StatusOK, []byte("ok"))
		return true
	}
	doc, ok := s.document(r)
	if !ok {
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		writeError(w, notAllowed("", r.Method))
		return true
	}
	w.Header().Set("Content-Type", parseAccept(r.Header.Get("Accept")).contentType())
	writeJSON(w, http.StatusOK, doc)
	return true
}

// Snapshot is a copy of every object, resource by resource, in the storage version.
func (s *Server) Snapshot() []map[string]any {
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	var out []map[string]any
	for i := range s.resources {
		everything, _ := newSelector(&s.resources[i], "", nil, nil) // without requirements it cannot fail
		for _, o := range s.store.tables[s.resources[i].groupResource()].list(everything) {
			out = append(out, o.copy())
		}
	}
	return out
}
