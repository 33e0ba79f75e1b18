// Package kube is a real Kubernetes cluster with Istio as an environment. Proxies and istiod are reached by port-forwards, access logs are
// followed through the API, and nothing on the cluster is changed but what a run applies.
package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"squall/internal/mesh"
)

const (
	adminPort      = 15000 // of a proxy's Envoy
	debugPort      = 15014 // of istiod
	tunnelWithin   = 10 * time.Second
	askWithin      = 15 * time.Second
	followPause    = 200 * time.Millisecond // between two tries to follow a log that ended
	followAttempts = 10
)

// kindName is the environment whose cluster is Squall's own.
const kindName = "kind"

// Options say which cluster it is, and what a run has to do with.
type Options struct {
	Name   string       // kind or cluster
	Config *rest.Config // as mesh.Look gives it
	// Namespaces are those whose pods belong to the run, Istio's root namespace among them where its gateway does.
	Namespaces []string
	RunID      string    // is a label of what the run brings
	Expires    time.Time // when the run counts as dead
	// Actions are the kinds of steps of the run that do something to pods and nodes, such as kill.
	Actions []string
	// Objects are those that the run applies.
	Objects []mesh.Ref
	// Image is what stands for an image of the fixtures; nil leaves them as they are.
	Image func(ref string) string
	// FineTimes has proxies log times in microseconds.
	FineTimes bool
	// LogFields are what proxies write to their access logs beside mesh.AccessLogFormat: keys, and Envoy's command operators.
	LogFields map[string]string
}

// Mesh is one cluster.
type Mesh struct {
	opts    Options
	objects *mesh.Objects
	admins  *tunnels // to proxies and istiod
	workers *tunnels // apart, as a stream that is not read in time holds up the others of its connection
	records *tunnels // to the relay of access logs
	log     *mesh.AccessLogs
	failed  chan error
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	clients sync.Map // of HTTP, by key and port

	mu       sync.Mutex
	pods     map[string]*pod // by name
	known    chan struct{}   // closed and replaced when a pod becomes known
	bases    map[string]int64
	versions map[string]string
}

// pod is what is known of a pod of the run.
type pod struct {
	key      key
	restarts map[string]int32
	before   bool // it was there before the run
	served   bool // it was ready once
	kept     bool // its proxy is known to keep the stats that Squall reads
	node     string
	follows  context.CancelFunc
}

var (
	_ mesh.Env     = (*Mesh)(nil)
	_ mesh.Dialer  = (*Mesh)(nil)
	_ mesh.Shared  = (*Mesh)(nil)
	_ mesh.Ingress = (*Mesh)(nil)
	_ mesh.Meter   = (*Mesh)(nil)
)

// New makes an environment that has sent nothing yet.
func New(opts Options) (*Mesh, error) {
	objects, err := mesh.NewObjects(opts.Config)
	if err != nil {
		return nil, err
	}
	return &Mesh{
		opts: opts, objects: objects, admins: newTunnels(opts.Config, objects.Kube), workers: newTunnels(opts.Config, objects.Kube), records: newTunnels(opts.Config, objects.Kube), log: mesh.NewAccessLogs(), failed: make(chan error, 1),
		cancel: func() {}, pods: map[string]*pod{}, known: make(chan struct{}), bases: map[string]int64{}, versions: map[string]string{},
	}, nil
}

// Name is kind or cluster.
func (m *Mesh) Name() string { return m.opts.Name }

// Up looks whether the API answers and Istio is there, and begins to watch the pods of the run's namespaces. ctx bounds this; what is
// watched lives until Down.
func (m *Mesh) Up(ctx context.Context) error {
	if err := m.preflight(ctx); err != nil {
		return err
	}
	if err := m.awaitGone(ctx); err != nil {
		return err
	}
	live, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.cancel = cancel
	for _, ns := range m.watched() {
		if err := m.watch(ctx, live, ns); err != nil {
			return err
		}
	}
	return nil
}

// watched are the run's namespaces and that of istiod.
func (m *Mesh) watched() []string {
	out := slices.Clone(m.opts.Namespaces)
	if !slices.Contains(out, mesh.RootNamespace) {
		out = append(out, mesh.RootNamespace)
	}
	return out
}

// Down ends what this process holds: watches, followed logs and port-forwards. The cluster stays.
func (m *Mesh) Down(context.Context) error {
	m.cancel()
	m.clients.Range(func(_, c any) bool {
		c.(*http.Client).CloseIdleConnections()
		return true
	})
	err := errors.Join(m.admins.Close(), m.workers.Close(), m.records.Close())
	m.wg.Wait()
	return err
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

// REST is how client-go reaches the API.
func (m *Mesh) REST() *rest.Config { return m.opts.Config }

// Versions names what runs.
func (m *Mesh) Versions() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.versions)
}

// Dial makes a connection to a port at the loopback address of a pod.
func (m *Mesh) Dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	return m.workers.Dial(ctx, key{namespace, pod}, port)
}

// Admin asks a pod's Envoy.
func (m *Mesh) Admin(ctx context.Context, pod, method, path string) ([]byte, error) {
	p, err := m.pod(ctx, pod)
	if err != nil {
		return nil, err
	}
	return m.ask(ctx, p.key, adminPort, method, path)
}

// ask makes a request to a pod's port at its loopback address.
func (m *Mesh) ask(ctx context.Context, k key, port int, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askWithin, fmt.Errorf("pod %s did not answer within %s", k, askWithin))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://localhost:%d%s", port, path), nil)
	if err != nil {
		return nil, err
	}
	resp, err := m.client(k, port).Do(req)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", k, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("pod %s: %s: %w", k, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("pod %s: %s: %s: %s", k, path, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// client keeps connections to one port of a pod.
func (m *Mesh) client(k key, port int) *http.Client {
	type at struct {
		key
		port int
	}
	if c, ok := m.clients.Load(at{k, port}); ok {
		return c.(*http.Client)
	}
	c, _ := m.clients.LoadOrStore(at{k, port}, &http.Client{Transport: &http.Transport{
		DisableCompression: true, MaxIdleConnsPerHost: 4,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return m.admins.Dial(ctx, k, port) },
	}})
	return c.(*http.Client)
}

// pod is a pod of the run by its name. The watch may be a moment behind what others know: it is waited for.
func (m *Mesh) pod(ctx context.Context, name string) (*pod, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askWithin, fmt.Errorf("the cluster has no pod %s in %s", name, strings.Join(m.watched(), ", ")))
	defer cancel()
	for {
		m.mu.Lock()
		p, known := m.pods[name], m.known
		m.mu.Unlock()
		if p != nil {
			return p, nil
		}
		select {
		case <-known:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// CaptureAccess sends the proxies' access logs to the writers that open makes, one a pod, until the capture is stopped.
func (m *Mesh) CaptureAccess(open func(pod string) (mesh.LineWriter, error)) (mesh.Capture, error) {
	return m.log.Capture(open)
}

// lull is how long a proxy that was there before the run must have logged nothing before its entries can be counted.
const lull = 500 * time.Millisecond

// AwaitAccess waits for the entries of want requests. A proxy that was there before Squall's filters has logged fewer than it counted:
// what it lacks at the first look, in a lull, is not waited for.
func (m *Mesh) AwaitAccess(ctx context.Context, pod string, want int64) error {
	p, err := m.pod(ctx, pod)
	if err == nil {
		err = m.keepsStats(ctx, p)
	}
	if err != nil {
		return err
	}
	base, err := m.base(ctx, p, want)
	if err != nil {
		return err
	}
	return m.log.Await(ctx, pod, want-base)
}

// base is how many requests the pod's proxy counted and never logged in Squall's format.
func (m *Mesh) base(ctx context.Context, p *pod, want int64) (int64, error) {
	name := p.key.name
	m.mu.Lock()
	base, known := m.bases[name]
	m.mu.Unlock()
	if known || !p.before {
		return base, nil
	}
	if err := m.log.Lull(ctx, name, lull); err != nil {
		return 0, err
	}
	base = max(0, want-m.log.Total(name))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bases[name] = base
	return base, nil
}

// Logs returns the last lines of a pod's application.
func (m *Mesh) Logs(ctx context.Context, pod string, lines int) (string, error) {
	p, err := m.pod(ctx, pod)
	if err != nil {
		return "", err
	}
	o, err := m.objects.Kube.CoreV1().Pods(p.key.namespace).Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("pod %s: %w", p.key, err)
	}
	i := slices.IndexFunc(o.Spec.Containers, func(c corev1.Container) bool { return c.Name != proxyContainer })
	if i < 0 {
		return "", nil
	}
	n := int64(lines)
	b, err := m.objects.Kube.CoreV1().Pods(p.key.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: o.Spec.Containers[i].Name, TailLines: &n}).DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("log of pod %s: %w", p.key, err)
	}
	return string(b), nil
}
