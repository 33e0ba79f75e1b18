// Package mesh is what a running Istio mesh can be asked, whatever it runs on: objects through the Kubernetes API, proxies
// through Envoy's admin interface, istiod through its debug interface. What differs between environments is behind Env.
package mesh

import (
	"context"
	"fmt"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"squall/internal/record"
)

// Env is one mesh. Up is called once; Down is safe after a failed Up and may be called twice.
type Env interface {
	// Name is local, kind or cluster.
	Name() string
	// Up brings the control plane up and returns when its API answers and istiod is ready.
	Up(ctx context.Context) error
	// Down ends everything that Up and the API's objects started, and returns all that went wrong.
	Down(ctx context.Context) error
	// REST is how client-go reaches the API.
	REST() *rest.Config
	// Admin asks a pod's Envoy: the body of GET (or POST for what changes the proxy) path.
	Admin(ctx context.Context, pod, method, path string) ([]byte, error)
	// Debug asks istiod's debug interface: the body of GET path.
	Debug(ctx context.Context, path string) ([]byte, error)
	// CaptureAccess sends the access log of every proxy to the writers that open makes, until the returned stop is called.
	CaptureAccess(open func(pod string) (LineWriter, error)) (Capture, error)
	// AwaitAccess returns when want entries of HTTP requests have come from the pod's proxy since it started, captured or
	// not. When ctx ends first, the error says how many came.
	AwaitAccess(ctx context.Context, pod string, want int64) error
	// Logs returns the last lines of a pod's application.
	Logs(ctx context.Context, pod string, lines int) (string, error)
	// Failed yields the reason when a part of the mesh that must live has died: istiod, a proxy or an application.
	Failed() <-chan error
	// Versions names what runs: istiod, envoy and others.
	Versions() map[string]string
}

// LineWriter takes access log entries, one a call.
type LineWriter interface {
	Line(entry []byte) error
	Close() error
}

// Capture is access logs on their way to disk.
type Capture interface {
	// Stop ends the capture and closes the writers; write errors that were met on the way come out here.
	Stop() error
}

// Caller is an Env in which Squall's own process is the load generator's application, beside that pod's proxy.
type Caller interface {
	// CallAddress is the IP address at which the pod's proxy listens for calls to other services.
	CallAddress(pod string) (string, error)
}

// Dialer is an Env in which the load generator's pods are workers of their own: each runs squall-worker beside its proxy, and is
// told from here what to call.
type Dialer interface {
	// Dial connects to a TCP port of a pod's own network, whatever its proxy does.
	Dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error)
}

// Shared is an Env whose cluster outlives the run, so that a run takes with it what it brought.
type Shared interface {
	// Instruments are the objects that a run needs beside its fixtures, so that the proxies of the namespaces can be read.
	Instruments(namespaces []string) []*unstructured.Unstructured
	// Stamp is what every object that the run creates or changes has on it.
	Stamp() Stamp
	// Prepare readies an object of the fixtures for the cluster, in place.
	Prepare(u *unstructured.Unstructured) error
	// Keeps says whether an object that a run brought stays for the next one.
	Keeps(r Ref) bool
}

// Meter is an Env that can tell what the processes of pods have used since they started: by pod, then by its parts. It takes less than a
// minute.
type Meter interface {
	Usage(ctx context.Context, pods []string) (map[string]map[string]record.Usage, error)
}

// Holder is an Env that can stop the processes of pods and let them go on: record.App is the program, record.Sidecar the proxy.
type Holder interface {
	// Hold returns when the process is stopped. It stays so until Release, or the end of the mesh.
	Hold(pod, part string) error
	// Release lets it go on; one that was not held, or is gone with its pod, is no error.
	Release(pod, part string) error
	// Held reports whether it is stopped now.
	Held(pod, part string) (bool, error)
}

// RootNamespace is Istio's root namespace, whose policies hold for the whole mesh.
const RootNamespace = "istio-system"

// LoadImage is the image of the load generator.
const LoadImage = "squall/load"

// FieldManager is the owner under which Squall applies objects.
const FieldManager = "squall"

// Labels and annotations that Squall puts on what it creates.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	RunIDLabel     = "squall.dev/run-id"
	TLSModeLabel   = "security.istio.io/tlsMode"
)

// poll calls try at short intervals until it returns true, an error that is final, or ctx ends; then the last reason
// that try gave is in the error. It is for servers that cannot tell: Envoy's admin interface and istiod's debug pages.
func poll(ctx context.Context, every time.Duration, try func() (done bool, why error, err error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last error
	ended := func() error {
		if last != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), last)
		}
		return context.Cause(ctx)
	}
	for {
		done, why, err := try()
		if err != nil && ctx.Err() != nil {
			return ended() // the look itself was cut off
		}
		if err != nil || done {
			return err
		}
		last = why
		select {
		case <-ctx.Done():
			return ended()
		case <-tick.C:
		}
	}
}
