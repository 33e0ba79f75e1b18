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

	"squall/internal/forward"
	"squall/internal/kubeapi"
	"squall/internal/mesh"
	"squall/internal/proc"
	"squall/internal/sds"
	"squall/internal/toolchain"
)

// downGrace is the time that programs have to end in Down.
const downGrace = 2 * time.Second

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
	// GatewayAPI says that the mesh takes routes of the Gateway API. Without them istiod is ready sooner.
	GatewayAPI bool
	// LogFields are what proxies write to their access logs beside mesh.AccessLogFormat: keys, and Envoy's command operators.
	LogFields map[string]string
	// CertTTL is the lifetime of workload certificates; 0 is 24 hours.
	CertTTL time.Duration
}

// Mesh is one local mesh.
type Mesh struct {
	opts   Options
	images map[string]program
	facts  Facts
	http   *http.Client
	probes *http.Client // without connections that are kept: a probe tells whether the program takes new ones
	procs  *proc.Group
	failed chan error

	block   *block
	api     *kubeapi.Server
	rest    *rest.Config
	objects *mesh.Objects
	sds     *sds.Server
	naming  *naming
	istiod  *proc.Process

	istiodHosts *pod               // the kubelet's loop alone writes its names
	forwarder   *forward.Forwarder // of cluster IPs

	istiodReady chan struct{} // closed when istiod answers, or never
	cancel      context.CancelFunc
	wg          sync.WaitGroup

	mu   sync.Mutex
	pods map[string]*pod // by name
	down sync.Once
	log  *mesh.AccessLogs
}

var (
	_ mesh.Env     = (*Mesh)(nil)
	_ mesh.Caller  = (*Mesh)(nil)
	_ mesh.Ingress = (*Mesh)(nil)
	_ mesh.Holder  = (*Mesh)(nil)
)

// New makes a mesh that is not up yet.
func New(opts Options) (*Mesh, error) {
	table := images(opts.Tools)
	if err := addImages(table, opts.Images); err != nil {
		return nil, err
	}
	facts, err := ReadFacts(opts.Images)
	if err != nil {
		return nil, err
	}
	if opts.Dir, err = filepath.Abs(opts.Dir); err != nil {
		return nil, fmt.Errorf("folder of the mesh: %w", err)
	}
	m := &Mesh{
		opts: opts, images: table, facts: facts, failed: make(chan error, 1), pods: map[string]*pod{}, istiodReady: make(chan struct{}),
		log: mesh.NewAccessLogs(), cancel: func() {},
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}},
		probes: &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
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
	if m.naming, err = newNaming(); err != nil {
		return err
	}
	live, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.forwarder = forward.New(live)
	m.cancel = cancel
	m.background(func() error { return m.naming.learn(live, m.opts.Dir) })
	m.istiodHosts = istiodPod(m.opts.Dir)
	if err := m.istiodHosts.hosts.update(hostsLines(m.istiodHosts, nil, m.naming.machine)); err != nil {
		return fmt.Errorf("names for istiod: %w", err)
	}
	m.rest = &rest.Config{Host: "http://" + m.block.control(apiPort), QPS: -1}
	prefix, err := netip.ParsePrefix(m.block.serviceCIDR())
	if err != nil {
		return fmt.Errorf("range of cluster IPs: %w", err)
	}
	m.api = kubeapi.New(kubeapi.Options{ServiceCIDR: prefix, GatewayAPI: m.opts.GatewayAPI})
	m.background(func() error { return m.api.Serve(live, m.block.api) })
	m.sds, err = sds.New(sds.Options{TrustDomain: trustDomain, TTL: m.opts.CertTTL, OnNack: func(n sds.Nack) {
		m.fail(fmt.Errorf("a proxy refused its certificate: %v", n))
	}})
	if err != nil {
		return err
	}
	if m.objects, err = mesh.NewObjects(m.rest); err != nil {
		return err
	}
	m.background(func() error {
		if err := m.startIstiod(live); err != nil {
			return err
		}
		close(m.istiodReady)
		return nil
	})
	if err := m.createDefaults(ctx); err != nil {
		return err
	}
	k, err := newKubelet(m)
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

// exited is told of each child that ended. A program that ends before it was ever ready is a failure of its Deployment alone.
func (m *Mesh) exited(e proc.Exit) {
	if e.Asked {
		return
	}
	err := e.Err
	if err == nil {
		err = fmt.Errorf("%s ended by itself", e.Name)
	}
	m.mu.Lock()
	for _, p := range m.pods {
		if p.appName() == e.Name && !p.serving {
			p.dead = err
			m.mu.Unlock()
			return
		}
	}
	m.mu.Unlock()
	m.fail(err)
}

// Down ends all processes, then the servers. It may be called again, which does nothing but wait for the first call.
func (m *Mesh) Down(ctx context.Context) (err error) {
	m.down.Do(func() { err = m.end(ctx) })
	return err
}

func (m *Mesh) end(ctx context.Context) error {
	m.cancel()
	// How a process ended that was not asked to is no error of Down: Failed reported it when it happened.
	errs := []error{m.stopApps(ctx), withoutExits(m.procs.StopAll(ctx))}
	if m.sds != nil {
		errs = append(errs, m.sds.Close())
	}
	m.wg.Wait()
	if m.forwarder != nil {
		errs = append(errs, m.forwarder.Close())
	}
	m.http.CloseIdleConnections()
	if m.block != nil {
		errs = append(errs, m.block.release())
	}
	return errors.Join(append(errs, os.RemoveAll(m.opts.Dir))...)
}

// stopApps asks all programs to end at the same time. Those that do not are killed after downGrace: with the mesh their
// callers go too, so that nobody waits for what they still have to say.
func (m *Mesh) stopApps(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downGrace)
	defer cancel()
	m.mu.Lock()
	var apps []*proc.Process
	for _, p := range m.pods {
		if app := p.app.Load(); app != nil {
			apps = append(apps, app)
		}
	}
	m.mu.Unlock()
	errs := make([]error, len(apps))
	var wg sync.WaitGroup
	for i, app := range apps {
		wg.Go(func() { errs[i] = withoutExits(app.Stop(ctx)) })
	}
	wg.Wait()
	return errors.Join(errs...)
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
	if !p.hasProxy() {
		return nil, fmt.Errorf("pod %s has no proxy", podName)
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
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
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
	app := p.app.Load()
	if app == nil {
		return "", nil
	}
	return app.LogTail(lines)
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

// CaptureAccess sends the proxies' access logs to the writers that open makes, one a pod, until the capture is stopped.
func (m *Mesh) CaptureAccess(open func(pod string) (mesh.LineWriter, error)) (mesh.Capture, error) {
	return m.log.Capture(open)
}

// AwaitAccess waits for the pod's total to reach want.
func (m *Mesh) AwaitAccess(ctx context.Context, pod string, want int64) error {
	return m.log.Await(ctx, pod, want)
}
