package kind

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"squall/internal/mesh"
	"squall/internal/toolchain"
)

const (
	istiod = "istiod"
	// installedAnnotation of the root namespace says what was installed to the end: istio.mark.
	installedAnnotation = "squall.dev/istio"
)

//go:embed istio.yaml
var ownValues []byte

// istio is an installation.
type istio struct {
	mark string // decided by the version and all values
}

// wantedIstio is the installation that the options ask for.
func (c *cluster) wantedIstio() (istio, error) {
	h := sha256.New()
	h.Write(ownValues)
	if c.IstioValues != "" {
		text, err := os.ReadFile(c.IstioValues)
		if err != nil {
			return istio{}, &Error{"read the values of Istio", "correct SQUALL_ISTIO_VALUES: it names a file for istioctl install -f.", err}
		}
		h.Write([]byte{0})
		h.Write(text)
	}
	return istio{toolchain.IstioVersion + "-" + hex.EncodeToString(h.Sum(nil))[:16]}, nil
}

// istioReady fails unless the installation is there and istiod is ready. On a cluster that somebody else made, an Istio that
// somebody else installed is as good when it is of the same minor version.
func (c *cluster) istioReady(ctx context.Context, client kubernetes.Interface, wanted istio, foreign bool) error {
	ns, err := client.CoreV1().Namespaces().Get(ctx, mesh.RootNamespace, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look for Istio: %w", err)
	}
	mark, ours := ns.Annotations[installedAnnotation]
	if mark != wanted.mark && (ours || !foreign) {
		return fmt.Errorf("Istio is installed as %q, and %q is wanted", mark, wanted.mark) //nolint:staticcheck // a name
	}
	d, err := client.AppsV1().Deployments(mesh.RootNamespace).Get(ctx, istiod, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look for istiod: %w", err)
	}
	if version := istiodVersion(d); !ours && !sameMinor(version, toolchain.IstioVersion) {
		return versionError{version}
	}
	if !available(d) {
		return errUnavailable
	}
	return istiodServed(ctx, client)
}

// errUnavailable is an Istio that is installed, and whose istiod nobody can ask now.
var errUnavailable = errors.New("istiod is not available")

// available reports whether the Deployment's current template has its pods.
func available(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation && slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue
	})
}

// istiodServed fails unless istiod's Service leads to a pod that is ready: the sidecars and the API server ask for it by that.
func istiodServed(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.DiscoveryV1().EndpointSlices(mesh.RootNamespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + istiod})
	if err != nil {
		return fmt.Errorf("look for the endpoints of istiod: %w", err)
	}
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: its Service leads to no pod that is ready", errUnavailable)
}

// awaitIstiod waits until istiod is available.
func awaitIstiod(ctx context.Context, client kubernetes.Interface, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("it took longer than %v", within))
	defer cancel()
	deployments := client.AppsV1().Deployments(mesh.RootNamespace)
	err := await(ctx, deployments, &appsv1.Deployment{}, istiod, func() bool {
		d, err := deployments.Get(ctx, istiod, metav1.GetOptions{})
		return err == nil && available(d)
	})
	if err == nil {
		endpoints := client.DiscoveryV1().EndpointSlices(mesh.RootNamespace)
		err = await(ctx, endpoints, &discoveryv1.EndpointSlice{}, "", func() bool { return istiodServed(ctx, client) == nil })
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("istiod is not ready: %w", context.Cause(ctx))
	}
	return err
}

// versionError is an Istio of another minor version that somebody else installed.
type versionError struct{ version string }

func (e versionError) Error() string {
	return fmt.Sprintf("there is Istio %s, and Squall is made for %s", e.version, toolchain.IstioVersion)
}

// installIstio installs what is wanted unless it is there, and waits for istiod.
func (c *cluster) installIstio(ctx context.Context, client kubernetes.Interface, wanted istio) error {
	st, err := c.readState()
	if err != nil {
		return err
	}
	err = c.istioReady(ctx, client, wanted, st.Phase == foreign)
	var other versionError
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case st.Phase == foreign && errors.As(err, &other):
		return &Error{"use the cluster " + c.Name, "choose another name, or delete it: kind delete cluster --name " + c.Name, err}
	case errors.Is(err, errUnavailable) && awaitIstiod(ctx, client, startWithin) == nil: // it was about to be
		return nil
	}
	own := filepath.Join(c.Dir, c.Name+".istio.yaml")
	if err := os.WriteFile(own, ownValues, 0o600); err != nil {
		return fmt.Errorf("values of Istio: %w", err)
	}
	args := []string{"install", "-y", "--kubeconfig", c.Kubeconfig(), "--context", c.context(), "-f", own}
	if c.IstioValues != "" {
		args = append(args, "-f", c.IstioValues)
	}
	if err := c.istioctl(ctx, client, args); err != nil {
		return err
	}
	if err := awaitIstiod(ctx, client, readyWithin); err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, installedAnnotation, wanted.mark)
	_, err = client.CoreV1().Namespaces().Patch(ctx, mesh.RootNamespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: mesh.FieldManager})
	if err != nil {
		return fmt.Errorf("note that Istio is installed: %w", err)
	}
	return nil
}

// istioctl runs the installation. It is broken off when an image cannot be pulled, for which istioctl would wait until it gives up.
func (c *cluster) istioctl(ctx context.Context, client kubernetes.Interface, args []string) error {
	ctx, stop := context.WithTimeoutCause(ctx, istioWithin, fmt.Errorf("it took longer than %v", istioWithin))
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait() // after cancel, which is deferred again below
	wg.Go(func() {
		if err := unpulled(ctx, client, mesh.RootNamespace); err != nil {
			cancel(err)
		}
	})
	defer cancel(nil)
	activity := "installing Istio " + toolchain.IstioVersion + " (about 15 s, and the pull of its images, 200 MB)"
	err := c.command(ctx, task{activity: activity, log: "istio", detail: lastLine}, c.Tools.Istioctl, args...)
	var pull *PullError
	if errors.As(context.Cause(ctx), &pull) {
		return &Error{"install Istio", "the nodes must reach the registry: check the network and docker login, or name other images with SQUALL_ISTIO_VALUES.", pull}
	}
	return err
}

// unpulled waits until an image of the namespace cannot be pulled, or ctx ends, which is no error.
func unpulled(ctx context.Context, client kubernetes.Interface, namespace string) error {
	var failures []PullFailure
	_ = await(ctx, client.CoreV1().Pods(namespace), &corev1.Pod{}, "", func() bool { // what the API does not tell, istioctl does
		failures, _ = PullFailures(ctx, client, namespace)
		return len(failures) > 0
	})
	if len(failures) == 0 {
		return nil
	}
	return &PullError{failures}
}

// istiodVersion is the tag of istiod's image.
func istiodVersion(d *appsv1.Deployment) string {
	for _, container := range d.Spec.Template.Spec.Containers {
		if tag := mesh.ImageTag(container.Image); tag != "" {
			return tag
		}
	}
	return ""
}

// sameMinor compares the first two numbers of versions.
func sameMinor(a, b string) bool {
	minor := func(v string) string {
		parts := strings.SplitN(v, ".", 3)
		return strings.Join(parts[:min(2, len(parts))], ".")
	}
	return minor(a) == minor(b)
}

// istioVersion is that of the cluster's istiod; empty when there is none.
func istioVersion(ctx context.Context, client kubernetes.Interface) (string, error) {
	d, err := client.AppsV1().Deployments(mesh.RootNamespace).Get(ctx, istiod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("version of Istio: %w", err)
	}
	return istiodVersion(d), nil
}
