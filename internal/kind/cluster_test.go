//go:build kind

package kind

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"squall/internal/image"
	"squall/internal/toolchain"
)

const (
	testCluster  = "squall-test"
	warmWithin   = 2 * time.Second
	cancelWithin = 10 * time.Second
	podWithin    = 2 * time.Minute
)

// testOptions are those of a cluster of the test's own. Like the command, they take what the machine needs from the environment.
func testOptions(t *testing.T) Options {
	t.Helper()
	o := Options{
		Name: testCluster, Dir: t.TempDir(), Config: "../../kind-config.yaml",
		Progress: func(u toolchain.Update) {
			if u.Done {
				t.Log(u)
			}
		},
	}
	o.FromEnvironment(os.Getenv)
	if err := o.Prepare(t.Context(), toolchain.Options{Root: filepath.Join("..", ".."), Progress: toolchain.Lines(os.Stderr)}); err != nil {
		t.Fatal(err)
	}
	remove := func() {
		if err := Delete(context.Background(), o, true); err != nil {
			t.Error(err)
		}
	}
	remove() // what a test that was killed has left
	t.Cleanup(remove)
	return o
}

func ensure(t *testing.T, o Options) (Cluster, time.Duration) {
	t.Helper()
	begin := time.Now()
	c, err := Ensure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c, time.Since(begin)
}

func condition(t *testing.T, o Options) Condition {
	t.Helper()
	s, err := Look(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s.Condition
}

func clientOf(t *testing.T, o Options) kubernetes.Interface {
	t.Helper()
	c, err := newCluster(o)
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.client()
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestCluster goes through the life of a cluster: broken off, made whole, used, stopped, used again, removed.
func TestCluster(t *testing.T) {
	o := testOptions(t)
	if got := condition(t, o); got != Absent {
		t.Fatalf("there is a cluster %s already: %s", o.Name, got)
	}
	t.Run("broken off", func(t *testing.T) { breakOff(t, o) })
	if t.Failed() {
		return
	}
	c, took := ensure(t, o)
	t.Logf("cold: %v, %+v", took, c)
	if !c.Made || c.Foreign || c.Istio != toolchain.IstioVersion || c.Context != "kind-"+o.Name {
		t.Errorf("%+v", c)
	}
	if info, err := os.Stat(c.Kubeconfig); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, %v", info, err)
	}
	c, took = ensure(t, o)
	t.Logf("warm: %v", took)
	if c.Made || took > warmWithin {
		t.Errorf("the second call made the cluster: %v, and took %v", c.Made, took)
	}
	t.Run("pod", func(t *testing.T) { runPod(t, o, c) })
	t.Run("image that is nowhere", func(t *testing.T) { unpullable(t, o) })
	t.Run("stopped", func(t *testing.T) {
		inDocker(t, "stop", "-t", "2", o.Name+"-control-plane")
		if got := condition(t, o); got != Stopped {
			t.Errorf("the cluster is %s", got)
		}
		startedAgain(t, o)
	})
	t.Run("started again by somebody else", func(t *testing.T) {
		inDocker(t, "restart", "-t", "0", o.Name+"-control-plane")
		startedAgain(t, o)
	})
	t.Run("forgotten", func(t *testing.T) { forget(t, o) })
	if err := Delete(t.Context(), o, true); err != nil {
		t.Fatal(err)
	}
	if got := condition(t, o); got != Absent {
		t.Errorf("after its removal, the cluster is %s", got)
	}
	if err := Delete(t.Context(), o, false); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}

func inDocker(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput(); err != nil {
		t.Fatalf("docker %s: %v: %s", args[0], err, out)
	}
}

// startedAgain makes a cluster ready whose node is just starting: a pod with a sidecar can be made at once, by the webhook of an istiod
// that was started after the node.
func startedAgain(t *testing.T, o Options) {
	c, took := ensure(t, o)
	t.Logf("started again: %v", took)
	if c.Made {
		t.Error("the cluster was made anew")
	}
	client := clientOf(t, o)
	if err := current(t.Context(), client); err != nil {
		t.Error(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "again-", Labels: map[string]string{"sidecar.istio.io/inject": "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "docker.io/squall/nowhere:1"}}},
	}
	got, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Spec.InitContainers)+len(got.Spec.Containers) < 2 {
		t.Error("the pod has no sidecar")
	}
}

// breakOff cancels a call as soon as there is a node.
func breakOff(t *testing.T, o Options) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	var at time.Time
	o.Progress = func(u toolchain.Update) {
		if strings.Contains(u.Detail, "Starting control-plane") && at.IsZero() {
			at = time.Now()
			cancel(enough)
		}
	}
	if _, err := Ensure(ctx, o); !errors.Is(err, enough) {
		t.Fatalf("%v, want to be cancelled", err)
	}
	if took := time.Since(at); took > cancelWithin {
		t.Errorf("the end took %v", took)
	}
	if got := condition(t, o); got != Partial {
		t.Errorf("the cluster is %s", got)
	}
}

// runPod starts a service of Bookinfo with a sidecar, and waits until it is ready.
func runPod(t *testing.T, o Options, c Cluster) {
	client := clientOf(t, o)
	ref := image.Resolve(c.Images, "docker.io/squall/bookinfo:1.0.0")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "details", Labels: map[string]string{"sidecar.istio.io/inject": "true"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "details", Image: ref, Args: []string{"details"}, Ports: []corev1.ContainerPort{{ContainerPort: 9080}},
		}}},
	}
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got := awaitPod(t, client, pod.Name, func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.Phase == corev1.PodRunning && p.Status.ContainerStatuses[0].Ready
	})
	var sidecar bool
	for _, container := range append(got.Spec.InitContainers, got.Spec.Containers...) {
		sidecar = sidecar || container.Name == "istio-proxy"
	}
	if !sidecar {
		t.Error("the pod has no sidecar")
	}
	for _, s := range got.Status.ContainerStatuses {
		if s.Name == "details" && (s.User == nil || s.User.Linux == nil || s.User.Linux.UID != image.User) {
			t.Logf("the node does not tell the container's user: %+v", s.User)
		}
	}
}

// unpullable has a pod whose image is nowhere: it is named.
func unpullable(t *testing.T, o Options) {
	client := clientOf(t, o)
	const ref = "docker.io/squall/nowhere:1"
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "nowhere", Labels: map[string]string{"sidecar.istio.io/inject": "false"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: ref}}},
	}
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), podWithin)
	defer cancel()
	var pull *PullError
	if err := unpulled(ctx, client, "default"); !errors.As(err, &pull) || !strings.Contains(err.Error(), "the image "+ref+" cannot be pulled (pod nowhere)") {
		t.Errorf("%v", err)
	}
}

// forget loses Squall's files: the cluster is then somebody else's.
func forget(t *testing.T, o Options) {
	o.Dir = t.TempDir()
	c, took := ensure(t, o)
	t.Logf("found: %v", took)
	if !c.Foreign || c.Made {
		t.Errorf("%+v", c)
	}
	if err := Delete(t.Context(), o, false); err == nil || !strings.Contains(err.Error(), "it is not one that Squall has made") {
		t.Errorf("removing another's cluster: %v", err)
	}
	nodes, err := containers(t.Context(), o.Name)
	if err != nil || len(nodes) != 1 || !nodes[0].Running {
		t.Errorf("nodes: %+v, %v", nodes, err)
	}
}

// awaitPod waits until a pod of the namespace default is as wanted.
func awaitPod(t *testing.T, client kubernetes.Interface, name string, wanted func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), podWithin)
	defer cancel()
	pods := client.CoreV1().Pods("default")
	last := &corev1.Pod{}
	err := await(ctx, pods, &corev1.Pod{}, name, func() bool {
		p, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			last = p
		}
		return err == nil && wanted(p)
	})
	if err != nil {
		t.Fatalf("pod %s: %v; it is %+v", name, err, last.Status)
	}
	return last
}

// TestKindsErrors has kind fail: at a field that it does not have, an image that is nowhere, and a port that something listens at.
func TestKindsErrors(t *testing.T) {
	o := testOptions(t)
	o.Name = testCluster + "-wrong"
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		patch, nodeImage string
		want             []string
	}{
		"field":      {"nodez: []", o.NodeImage, []string{"kind-config.yaml with ", "field nodez not found"}},
		"node image": {"{}", "docker.io/squall/nowhere:1", []string{"docker.io/squall/nowhere:1", "KIND_NODE_IMAGE"}},
		"port": {"nodes: [{role: control-plane, extraPortMappings: [{containerPort: 80, hostPort: " + port + ", listenAddress: 127.0.0.1}]}]", o.NodeImage,
			[]string{"address already in use", "give another port in kind's configuration"}},
	} {
		t.Run(name, func(t *testing.T) {
			o.Patch, o.NodeImage = write(t, t.TempDir(), "patch.yaml", tt.patch), tt.nodeImage
			_, err := Ensure(t.Context(), o)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
			}
			if nodes, err := containers(t.Context(), o.Name); err != nil || len(nodes) > 0 {
				t.Errorf("left behind: %+v, %v", nodes, err)
			}
		})
	}
}
