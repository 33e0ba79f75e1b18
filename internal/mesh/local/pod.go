package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
	"squall/internal/proc"
	"squall/internal/sds"
)

// podLabel is on each pod with the pod's own name: what a Sidecar selects a single pod by.
const podLabel = "squall.dev/pod"

// portShift is between a container port, where the pod's proxy listens, and where the program listens in its place.
const portShift = 10000

// pod is an application process and its Envoy.
type pod struct {
	owner   string // the Deployment
	hash    string // of the pod template
	object  *corev1.Pod
	program program
	ip      netip.Addr // as in EndpointSlices; the proxy's inbound listeners
	calls   netip.Addr // the proxy's outbound listeners and its admin interface
	sdsPath string

	app, envoy *proc.Process
	closeSDS   func() error
	ready      bool  // guarded by the kubelet
	failure    error // of the start; written before the kubelet is told
	noted      error // failure, once the kubelet has taken note
}

func (p *pod) nodeType() string { return "sidecar" }
func (p *pod) workload() string { return p.owner }

// injected reports whether the pod gets a sidecar, by the annotation and label that Istio's injector reads.
func injected(template *corev1.PodTemplateSpec, namespace *corev1.Namespace) bool {
	for _, v := range []string{template.Labels["sidecar.istio.io/inject"], template.Annotations["sidecar.istio.io/inject"]} {
		if v != "" {
			return v == "true"
		}
	}
	return namespace != nil && namespace.Labels["istio-injection"] == "enabled"
}

func (p *pod) hasSidecar() bool { return p.object.Labels[mesh.TLSModeLabel] == "istio" }

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

// sidecar makes the proxy listen at the pod's own two addresses, which is what interception does on a cluster.
func (p *pod) sidecar() *networkingv1.Sidecar {
	s := &networkingv1.Sidecar{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.object.Name, Namespace: p.object.Namespace,
			Labels: map[string]string{mesh.ManagedByLabel: "squall-local"},
		},
		Spec: networkingapi.Sidecar{
			WorkloadSelector: &networkingapi.WorkloadSelector{Labels: map[string]string{podLabel: p.object.Name}},
			Egress: []*networkingapi.IstioEgressListener{{
				Bind: p.calls.String(), CaptureMode: networkingapi.CaptureMode_NONE, Hosts: []string{"*/*"},
			}},
		},
	}
	for _, port := range p.object.Spec.Containers[0].Ports {
		s.Spec.Ingress = append(s.Spec.Ingress, &networkingapi.IstioIngressListener{
			Port:            &networkingapi.SidecarPort{Number: uint32(port.ContainerPort), Protocol: protocolOf(port), Name: portName(port)},
			Bind:            p.ip.String(),
			CaptureMode:     networkingapi.CaptureMode_NONE,
			DefaultEndpoint: fmt.Sprintf("0.0.0.0:%d", p.port(port.ContainerPort)), // 0.0.0.0 is the pod's address here
		})
	}
	return s
}

// protocolOf is the protocol that Istio reads off a port's name, http where it says nothing.
func protocolOf(port corev1.ContainerPort) string {
	name, _, _ := strings.Cut(port.Name, "-")
	switch name {
	case "http2", "grpc", "tcp", "tls", "https", "mongo", "mysql", "redis":
		return strings.ToUpper(name)
	}
	return "HTTP"
}

func portName(port corev1.ContainerPort) string {
	if port.Name != "" {
		return port.Name
	}
	return "http-" + strconv.Itoa(int(port.ContainerPort))
}

// startApp starts the program in place of the container and waits until it is ready to serve.
func (m *Mesh) startApp(ctx context.Context, p *pod, env []string) error {
	if p.program.Builtin {
		return nil
	}
	c := p.object.Spec.Containers[0]
	args := p.program.Command
	if len(c.Args) > 0 {
		args = c.Args
	}
	expand := func(s string) string { return p.expand(s, env) }
	var argv []string
	for _, a := range args {
		argv = append(argv, expand(a))
	}
	for _, a := range p.program.Listen {
		argv = append(argv, expand(a))
	}
	var err error
	p.app, err = m.procs.Start(ctx, proc.Spec{
		Name: c.Name + " of " + p.object.Name, Path: p.program.Path, Args: argv, Env: env, LogFile: m.opts.Log(p.object.Name),
		Dir: m.opts.Dir, Grace: time.Duration(grace(p.object)) * time.Second, Contain: true,
	})
	if err != nil {
		return err
	}
	return m.awaitServing(ctx, p)
}

func grace(o *corev1.Pod) int64 {
	if s := o.Spec.TerminationGracePeriodSeconds; s != nil && *s > 0 {
		return *s
	}
	return 2
}

// expand replaces $(NAME) as Kubernetes does in arguments, with the pod's own address and ports besides the environment. A
// name that is not there stays as it is; a port that the container does not declare is "disabled".
func (p *pod) expand(s string, env []string) string {
	s = strings.ReplaceAll(s, "$(POD_IP)", p.ip.String())
	for _, port := range p.object.Spec.Containers[0].Ports {
		s = strings.ReplaceAll(s, fmt.Sprintf("$(PORT_%d)", port.ContainerPort), strconv.Itoa(p.port(port.ContainerPort)))
	}
	if strings.Contains(s, "$(PORT_") {
		return "disabled"
	}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		s = strings.ReplaceAll(s, "$("+k+")", v)
	}
	return s
}

// startEnvoy starts the pod's proxy and waits until it has its configuration and certificates.
func (m *Mesh) startEnvoy(ctx context.Context, p *pod) error {
	p.sdsPath = filepath.Join(m.opts.Dir, "sds", p.object.Name)
	closeSDS, err := m.sds.Identity(ctx, p.sdsPath, sds.Identity{Namespace: p.object.Namespace, ServiceAccount: p.object.Spec.ServiceAccountName})
	if err != nil {
		return err
	}
	p.closeSDS = closeSDS
	config, err := bootstrap(p, fmt.Sprintf("127.%d.0.1", m.block.n), xdsPort)
	if err != nil {
		return fmt.Errorf("configuration of the proxy of %s: %w", p.object.Name, err)
	}
	path := filepath.Join(m.opts.Dir, p.object.Name+".json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return fmt.Errorf("configuration of the proxy of %s: %w", p.object.Name, err)
	}
	select {
	case <-m.istiodReady:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	envoy, err := m.procs.Start(ctx, proc.Spec{
		Name: "envoy of " + p.object.Name, Path: m.opts.Tools.Envoy, Dir: m.opts.Dir, LogFile: m.opts.Log(p.object.Name + ".envoy"),
		Stdout: m.log.read(p.object.Name), Grace: 2 * time.Second,
		Args: []string{
			"--config-path", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
			"--file-flush-interval-msec", "10",
		},
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	p.envoy = envoy
	m.mu.Unlock()
	return m.awaitHTTP(ctx, envoy, fmt.Sprintf("http://%s:%d/ready", p.calls, adminPort))
}

// stop ends the pod's processes, the proxy last, and takes its certificate away.
func (p *pod) stop(ctx context.Context) error {
	var errs []error
	for _, c := range []*proc.Process{p.app, p.envoy} {
		if c != nil {
			errs = append(errs, c.Stop(ctx))
		}
	}
	if p.closeSDS != nil {
		errs = append(errs, p.closeSDS())
	}
	return errors.Join(errs...)
}
