// Package local is a real Istio mesh on one machine without Kubernetes, Docker and root: istiod and Envoy as processes on
// loopback addresses, an in-memory Kubernetes API that istiod and everybody else watches, and a small kubelet that turns
// Deployments into processes. It ends with the process that made it.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"squall/internal/kubeapi"
	"squall/internal/mesh"
	"squall/internal/proc"
	"squall/internal/sds"
	"squall/internal/toolchain"
)

// Options say how a local mesh is made.
type Options struct {
	Tools toolchain.Tools
	// Dir is a folder of the mesh's own for sockets and configuration. Its path must be short: a Unix socket's path
	// has at most 107 bytes.
	Dir string
	// Log gives the file that a process's output goes to.
	Log func(process string) string
	// Images are the user's own image=program entries, added to the built-in table.
	Images map[string]string
	// CertTTL is the lifetime of workload certificates; 0 is 24 hours.
	CertTTL time.Duration
}

// Mesh is one local mesh.
type Mesh struct {
	opts   Options
	images map[string]program
	http   *http.Client
	procs  *proc.Group
	failed chan error

	block  *block
	api    *kubeapi.Server
	rest   *rest.Config
	sds    *sds.Server
	istiod *proc.Process

	istiodReady chan struct{} // closed when istiod answers, or never
	cancel      context.CancelFunc
	wg          sync.WaitGroup

	mu     sync.Mutex
	pods   map[string]*pod // by name
	downed bool
	stops  []func() error
	log    *accessLogs
}

var (
	_ mesh.Env    = (*Mesh)(nil)
	_ mesh.Caller = (*Mesh)(nil)
)

// New makes a mesh that is not up yet.
func New(opts Options) (*Mesh, error) {
	table := images(opts.Tools)
	if err := addImages(table, opts.Images); err != nil {
		return nil, err
	}
	m := &Mesh{
		opts: opts, images: table, failed: make(chan error, 1), pods: map[string]*pod{}, istiodReady: make(chan struct{}),
		log: newAccessLogs(), cancel: func() {},
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}},
	}
	m.procs = proc.NewGroup(m.exited)
	return m, nil
}

// Name returns "local".
func (m *Mesh) Name() string { return "local" }

// Up starts the API, the certificate server, the kubelet and istiod. It returns when the API answers; pods become ready
// once istiod does too, which takes about 0.3 s more. ctx bounds the start; the mesh lives until Down.
func (m *Mesh) Up(ctx context.Context) (err error) {
	if err := os.MkdirAll(filepath.Join(m.opts.Dir, "sds"), 0o700); err != nil {
		return fmt.Errorf("folder of the mesh: %w", err)
	}
	if m.block, err = takeBlock(ctx); err != nil {
		return err
	}
	live, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.cancel = cancel
	m.rest = &rest.Config{Host: "http://" + m.block.control(apiPort), QPS: -1}
	prefix, err := netip.ParsePrefix(m.block.serviceCIDR())
	if err != nil {
		return fmt.Errorf("range of cluster IPs: %w", err)
	}
	m.api = kubeapi.New(kubeapi.Options{ServiceCIDR: prefix})
	m.background(func() error { return m.api.Serve(live, m.block.api) })
	m.sds, err = sds.New(sds.Options{TrustDomain: trustDomain, TTL: m.opts.CertTTL, OnNack: func(n sds.Nack) {
		m.fail(fmt.Errorf("a proxy refused its certificate: %v", n))
	}})
	if err != nil {
		return err
	}
	objects, err := mesh.NewObjects(m.rest)
	if err != nil {
		return err
	}
	m.background(func() error {
		if err := m.startIstiod(live); err != nil {
			return err
		}
		close(m.istiodReady)
		return nil
	})
	if err := m.createDefaults(ctx, objects); err != nil {
		return err
	}
	k, err := newKubelet(m, objects)
	if err != nil {
		return err
	}
	m.background(func() error { return k.run(live) })
	return nil
}

// background runs f beside the mesh; an error of f that is not the mesh's own end fails the mesh.
func (m *Mesh) background(f func() error) {
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		if err := f(); err != nil && !errors.Is(err, context.Canceled) {
			m.fail(err)
		}
	}()
}

// fail reports the first reason why the mesh is not whole any more.
func (m *Mesh) fail(err error) {
	select {
	case m.failed <- err:
	default:
	}
}

// Failed yields the first reason why the mesh is not whole any more.
func (m *Mesh) Failed() <-chan error { return m.failed }

// exited is told of each child that ended.
func (m *Mesh) exited(e proc.Exit) {
	if e.Asked {
		return
	}
	err := e.Err
	if err == nil {
		err = fmt.Errorf("%s ended by itself", e.Name)
	}
	m.fail(err)
}

// Down ends all processes, then the servers. It may be called again.
func (m *Mesh) Down(ctx context.Context) error {
	m.mu.Lock()
	again := m.downed
	m.downed = true
	m.mu.Unlock()
	if again {
		return nil
	}
	m.cancel()
	errs := []error{m.killAll(ctx)}
	m.mu.Lock()
	stops := m.stops
	m.mu.Unlock()
	for _, stop := range stops {
		errs = append(errs, stop())
	}
	if m.sds != nil {
		errs = append(errs, m.sds.Close())
	}
	m.wg.Wait()
	m.http.CloseIdleConnections()
	if m.block != nil {
		if err := m.block.api.Close(); err != nil && !errors.Is(err, os.ErrClosed) && !strings.Contains(err.Error(), "use of closed") {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(m.opts.Dir))...)
}

// killAll ends the children. A child's own exit error is not one of Down: it was reported by Failed when it happened.
func (m *Mesh) killAll(ctx context.Context) error {
	err := m.procs.StopAll(ctx)
	var exit *proc.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// REST is how client-go reaches the in-memory API.
func (m *Mesh) REST() *rest.Config { return m.rest }

// Kubeconfig is a kubeconfig for the in-memory API.
func (m *Mesh) Kubeconfig(namespace string) []byte {
	return m.api.Kubeconfig("http://"+m.block.control(apiPort), namespace)
}

// Admin asks a pod's Envoy.
func (m *Mesh) Admin(ctx context.Context, podName, method, path string) ([]byte, error) {
	p, err := m.pod(podName)
	if err != nil {
		return nil, err
	}
	if p.envoy == nil {
		return nil, fmt.Errorf("pod %s has no sidecar", podName)
	}
	return m.ask(ctx, method, fmt.Sprintf("http://%s:%d%s", p.calls, adminPort, path))
}

// Debug asks istiod.
func (m *Mesh) Debug(ctx context.Context, path string) ([]byte, error) {
	return m.ask(ctx, http.MethodGet, "http://"+m.block.control(debugPort)+path)
}

func (m *Mesh) ask(ctx context.Context, method, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// CallAddress is where the pod's proxy takes calls to other services.
func (m *Mesh) CallAddress(podName string) (string, error) {
	p, err := m.pod(podName)
	if err != nil {
		return "", err
	}
	return p.calls.String(), nil
}

// Logs returns the last lines of a pod's application.
func (m *Mesh) Logs(_ context.Context, podName string, lines int) (string, error) {
	p, err := m.pod(podName)
	if err != nil {
		return "", err
	}
	if p.app == nil {
		return "", nil
	}
	return p.app.LogTail(lines)
}

// Versions names what runs.
func (m *Mesh) Versions() map[string]string { return m.opts.Tools.Versions }

func (m *Mesh) pod(name string) (*pod, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.pods[name]
	if !ok {
		return nil, fmt.Errorf("the mesh has no pod %s", name)
	}
	return p, nil
}
