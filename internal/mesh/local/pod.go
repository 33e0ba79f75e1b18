package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"squall/internal/mesh"
	"squall/internal/proc"
	"squall/internal/sds"
)

// podLabel is on each pod with the pod's own name: what a Sidecar selects a single pod by. As a finalizer it keeps the Pod object
// until the processes are gone.
const podLabel = "squall.dev/pod"

// portShift is between a container port, where the pod's proxy listens, and where the program listens in its place.
const portShift = 10000

// pod is an application process and its Envoy.
type pod struct {
	owner   string      // the Deployment
	hash    string      // of the pod template
	object  *corev1.Pod // as created
	program program
	env     []string          // of the program
	vars    map[string]string // what $(NAME) stands for in args
	ip      netip.Addr        // as in EndpointSlices; the proxy's inbound listeners
	calls   netip.Addr        // the proxy's outbound listeners and its admin interface
	dir     string            // of the program's own
	hosts   hosts             // what names stand for; the kubelet's loop alone writes it

	cancel     context.CancelFunc // ends the pod's life
	ended      chan struct{}      // closed when the life has ended
	app, envoy atomic.Pointer[proc.Process]
	sdsPath    string       // set in the life
	closeSDS   func() error // set in the life, read after it

	// The kubelet's loop alone uses these.
	ready   bool
	leaving bool
	failure error
	served  bool // was ready when its end began; read by the end
	crashes bool // has no time to end; read by the end

	// Guarded by Mesh.mu.
	serving bool  // the program was ready once
	dead    error // why the program ended before
}

func (p *pod) workload() string             { return p.owner }
func (p *pod) container() *corev1.Container { return &p.object.Spec.Containers[0] }
func (p *pod) appName() string              { return p.container().Name + " of " + p.object.Name }
func (p *pod) hasSidecar() bool             { return p.object.Labels[mesh.TLSModeLabel] == "istio" }
func (p *pod) isGateway() bool              { return isGateway(&p.object.ObjectMeta) }
func (p *pod) hasProxy() bool               { return p.hasSidecar() || p.isGateway() }

// nodeType is what Istio calls the pod's proxy.
func (p *pod) nodeType() string {
	if p.isGateway() {
		return "router"
	}
	return "sidecar"
}

// port is where the program listens in place of a container port: at the port itself when there is no proxy in front.
func (p *pod) port(containerPort int32) int {
	if !p.hasSidecar() {
		return int(containerPort)
	}
	if shifted := int(containerPort) + portShift; shifted < 1<<16 {
		return shifted
	}
	return int(containerPort) - portShift
}

func (p *pod) address(port int32) string {
	return net.JoinHostPort(p.ip.String(), strconv.Itoa(p.port(port)))
}

// Reach connects to the program of a pod, past its proxy.
func (m *Mesh) Reach(ctx context.Context, _, podName string, port int) (net.Conn, error) {
	p, err := m.pod(podName)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, "tcp", p.address(int32(port)))
}

// startApp starts the program in place of the container and waits until it is ready to serve.
func (k *kubelet) startApp(ctx context.Context, p *pod) error {
	if p.program.Builtin {
		return nil
	}
	args := p.program.Command
	switch c := p.container(); {
	case len(c.Command) > 0:
		args = slices.Concat(c.Command[1:], c.Args)
	case len(c.Args) > 0:
		args = c.Args
	}
	var argv []string
	for _, a := range args {
		argv = append(argv, expand(a, p.vars))
	}
	for _, a := range p.program.Listen {
		argv = append(argv, p.listen(a))
	}
	binds, unnamed, err := k.mesh.naming.await(ctx, p)
	if p.program.Bare {
		binds, unnamed = nil, nil
	}
	if unnamed != nil {
		err = k.mesh.sayUnnamed(p, unnamed)
	}
	if err != nil {
		return err
	}
	app, err := k.mesh.procs.Start(ctx, proc.Spec{
		Name: p.appName(), Path: p.program.Path, Args: argv, Env: p.env, LogFile: k.mesh.opts.Log(p.object.Name),
		Dir: p.dir, Grace: p.grace(), Contain: !p.program.Bare, Binds: binds,
	})
	if err != nil {
		return err
	}
	p.app.Store(app)
	if err := k.awaitServing(ctx, p, app); err != nil {
		return err
	}
	k.mesh.mu.Lock()
	defer k.mesh.mu.Unlock()
	p.serving = p.dead == nil
	return p.dead
}

// startEnvoy starts the pod's proxy and waits until it has its certificates and listens for the pod.
func (k *kubelet) startEnvoy(ctx context.Context, p *pod) error {
	m := k.mesh
	b := p.ip.As4()
	p.sdsPath = filepath.Join(m.opts.Dir, "sds", fmt.Sprintf("%d.%d", b[2], b[3])) // a socket's path has to be short
	closeSDS, err := m.sds.Identity(ctx, p.sdsPath, sds.Identity{Namespace: p.object.Namespace, ServiceAccount: p.object.Spec.ServiceAccountName})
	if err != nil {
		return err
	}
	p.closeSDS = closeSDS
	config, err := bootstrap(p, fmt.Sprintf("127.%d.0.1", m.block.n), m.block.unprivileged)
	if err != nil {
		return fmt.Errorf("configuration of the proxy of %s: %w", p.object.Name, err)
	}
	path := filepath.Join(p.dir, "envoy.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return fmt.Errorf("configuration of the proxy of %s: %w", p.object.Name, err)
	}
	if err := m.awaitIstiod(ctx); err != nil {
		return err
	}
	if err := portsFree(ctx, p); err != nil {
		return err
	}
	envoy, err := m.procs.Start(ctx, proc.Spec{
		Name: "envoy of " + p.object.Name, Path: m.opts.Tools.Envoy, Dir: m.opts.Dir, LogFile: m.opts.Log(p.object.Name + ".envoy"),
		Stdout: m.log.Read(p.object.Name), Grace: 2 * time.Second,
		Args: []string{
			"--config-path", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
			"--file-flush-interval-msec", "10",
			"--drain-time-s", "0", // what a changed listener no longer allows ends at once
		},
	})
	if err != nil {
		return err
	}
	p.envoy.Store(envoy)
	return m.await(ctx, envoy, func() error { return m.listening(ctx, p) })
}

// portsFree is an error when a program of somebody else's listens on all addresses at a port that the pod's proxy is to listen at: the proxy
// would be without that listener, and say so in its log alone.
func portsFree(ctx context.Context, p *pod) error {
	places := []netip.AddrPort{netip.AddrPortFrom(p.calls, adminPort)}
	for _, port := range p.container().Ports {
		if !p.isGateway() && port.Protocol != corev1.ProtocolUDP {
			places = append(places, netip.AddrPortFrom(p.ip, uint16(port.ContainerPort))) //nolint:gosec // the API took it
		}
	}
	var lc net.ListenConfig
	for _, at := range places {
		l, err := lc.Listen(ctx, "tcp4", at.String())
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("port %d is taken: another program on this machine listens at it on all addresses ('ss -ltnp sport = :%d' names it): "+
				"end it, or give the container another port", at.Port(), at.Port())
		}
		if err == nil {
			err = l.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrPermission) { // ports below 1024 may be for others alone: then the proxy listens elsewhere
			return fmt.Errorf("port %d: %w", at.Port(), err)
		}
	}
	return nil
}

// listening is nil when the pod's proxy is ready and has a listener for each container port, a gateway's for what Gateways name.
func (m *Mesh) listening(ctx context.Context, p *pod) error {
	admin := fmt.Sprintf("http://%s:%d", p.calls, adminPort)
	if err := m.get200(ctx, admin+"/ready"); err != nil {
		return err
	}
	body, err := m.ask(ctx, "GET", admin+"/listeners")
	if err != nil {
		return err
	}
	listeners := string(body)
	for _, port := range p.container().Ports {
		if p.isGateway() {
			break // it listens where Gateways say
		}
		if address := fmt.Sprintf("::%s:%d\n", p.ip, port.ContainerPort); !strings.Contains(listeners, address) {
			return fmt.Errorf("its proxy does not listen at %s:%d yet", p.ip, port.ContainerPort)
		}
	}
	for line := range strings.Lines(listeners) {
		if _, address, ok := strings.Cut(line, "::"); ok && !strings.HasPrefix(address, p.ip.String()+":") && !strings.HasPrefix(address, p.calls.String()+":") {
			return fmt.Errorf("its proxy listens at %s, which is not the pod's: it does not have its Sidecar yet", strings.TrimSpace(address))
		}
	}
	return nil
}

// stop ends the pod's processes, the proxy last, and takes its certificate away. How a process ended that was not asked to
// is no error here: the mesh was told when it happened.
func (p *pod) stop(ctx context.Context) error {
	var errs []error
	for _, c := range []*proc.Process{p.app.Load(), p.envoy.Load()} {
		if c != nil {
			errs = append(errs, withoutExits(c.Stop(ctx)))
		}
	}
	if p.closeSDS != nil {
		errs = append(errs, p.closeSDS())
	}
	return errors.Join(errs...)
}

// crash kills the pod's processes at once, whatever they are about.
func (p *pod) crash(ctx context.Context) error {
	var errs []error
	for _, c := range []*proc.Process{p.app.Load(), p.envoy.Load()} {
		if c != nil {
			errs = append(errs, c.Kill(ctx))
		}
	}
	return errors.Join(errs...)
}

// withoutExits is err without the exit errors of processes.
func withoutExits(err error) error {
	var exit *proc.ExitError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, withoutExits(e))
		}
		return errors.Join(errs...)
	}
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
