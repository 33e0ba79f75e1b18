package local

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"squall/internal/mesh"
	"squall/internal/proc"
)

// trustDomain is the mesh's; it is Istio's default.
const trustDomain = "cluster.local"

// recordsHost is the service that the extension providers of access logs name.
const recordsHost = "squall-records.squall.svc.cluster.local"

// istiodEnv are the settings that let an unmodified istiod serve upstream Envoys without webhooks, CA and leader election,
// and push a change after 1 ms instead of 100. Routes are not cached: of pushes that follow each other this closely istiod may send one
// made for the push before, and then nothing more.
func istiodEnv(home string, gatewayAPI bool) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home,
		"PILOT_ENABLE_ALPN_FILTER=false", "PILOT_ENABLE_METADATA_EXCHANGE=false", "PILOT_DISABLE_MX_ALPN=true",
		"PILOT_DEBOUNCE_AFTER=1ms", "PILOT_MAX_REQUESTS_PER_SECOND=1000", "PILOT_PUSH_THROTTLE=100",
		"INJECT_ENABLED=false", "VALIDATION_WEBHOOK_CONFIG_NAME=", "ENABLE_LEADER_ELECTION=false",
		"PILOT_ENABLE_IP_AUTOALLOCATE=false", "ENABLE_CA_SERVER=false", "PILOT_ENABLE_RDS_CACHE=false",
		fmt.Sprintf("PILOT_ENABLE_GATEWAY_API=%t", gatewayAPI),
		"PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER=false", "PILOT_ENABLE_GATEWAY_API_GATEWAYCLASS_CONTROLLER=false",
	}
}

func (m *Mesh) startIstiod(ctx context.Context) error {
	dir := m.opts.Dir
	config, err := yaml.Marshal(object{
		"trustDomain": trustDomain, "ingressControllerMode": "OFF", "enablePrometheusMerge": false,
		"configSources": []object{{"address": "k8s://"}},
		// For a Telemetry that sends access logs as those of a cluster do, to a service that whoever applies it brings.
		"extensionProviders": []object{
			{"name": "squall-records", "envoyHttpAls": object{"service": recordsHost, "port": recordsPort, "additionalRequestHeadersToLog": []string{"traceparent"}}},
			{"name": "squall-records-tcp", "envoyTcpAls": object{"service": recordsHost, "port": recordsPort}},
		},
		"accessLogFile": "/dev/stdout", "accessLogEncoding": "JSON", "accessLogFormat": mustJSON(mesh.WithFields(mesh.AccessLogFormat(), m.opts.LogFields)),
	})
	if err != nil {
		return fmt.Errorf("mesh configuration: %w", err)
	}
	meshConfig, kubeconfig := filepath.Join(dir, "mesh.yaml"), filepath.Join(dir, "kubeconfig")
	for path, body := range map[string][]byte{meshConfig: config, kubeconfig: m.Kubeconfig("")} {
		if err := os.WriteFile(path, body, 0o600); err != nil {
			return fmt.Errorf("configuration of istiod: %w", err)
		}
	}
	tls, err := m.istiodFiles()
	if err != nil {
		return fmt.Errorf("certificate of istiod: %w", err)
	}
	binds, err := m.istiodNames(ctx)
	if err != nil {
		return err
	}
	m.istiod, err = m.procs.Start(ctx, proc.Spec{
		Name: "istiod", Path: m.opts.Tools.Istiod, Dir: dir, Env: istiodEnv(dir, m.opts.GatewayAPI), LogFile: m.opts.Log("istiod"), Binds: binds,
		Args: append([]string{
			"discovery", "--registries=Kubernetes", "--kubeconfig=" + kubeconfig, "--meshConfig=" + meshConfig,
			"--grpcAddr=" + m.block.control(xdsPort), "--secureGRPCAddr=" + m.block.control(xdsTLSPort), "--httpAddr=" + m.block.control(debugPort), "--httpsAddr=",
			"--monitoringAddr=" + m.block.control(monitoringPort), "--ctrlz_address=127.0.0.1", "--ctrlz_port=0",
		}, tls...),
	})
	if err != nil {
		return err
	}
	return m.await(ctx, m.istiod, func() error { return m.get200(ctx, "http://"+m.block.control(debugPort)+"/ready") })
}

// awaitIstiod waits until istiod is ready.
func (m *Mesh) awaitIstiod(ctx context.Context) error {
	select {
	case <-m.istiodReady:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await waits until try succeeds, p dies or ctx ends; then the last real answer is in the error.
func (m *Mesh) await(ctx context.Context, p *proc.Process, try func() error) error {
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		last := try()
		if last == nil {
			return nil
		}
		select {
		case <-p.Done():
			return ended(p)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %w", p.Name(), context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

func (m *Mesh) get200(ctx context.Context, url string) error {
	_, err := m.ask(ctx, http.MethodGet, url)
	return err
}

// istiodPod stands for istiod where a pod without a proxy is asked for.
func istiodPod(dir string) *pod {
	return &pod{
		object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "istiod", Namespace: mesh.RootNamespace}},
		hosts:  hosts{path: filepath.Join(dir, "istiod.hosts")},
	}
}

// istiodNames are the files by which istiod knows services by name, since it fetches the keys of tokens from them. Where programs
// cannot have names of their own it does without.
func (m *Mesh) istiodNames(ctx context.Context) (binds []proc.Bind, err error) {
	select {
	case <-m.naming.known:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if m.naming.err == nil {
		binds = m.naming.bindsOf(m.istiodHosts)
	}
	return binds, nil
}
