package kind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	clientwatch "k8s.io/client-go/tools/watch"

	"squall/internal/image"
	"squall/internal/mesh"
	"squall/internal/toolchain"
)

const apiPoll = 250 * time.Millisecond

// client speaks to the cluster of Squall's kubeconfig.
func (c *cluster) client() (kubernetes.Interface, error) {
	config, err := mesh.Connect(c.Kubeconfig(), c.context())
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("API of the cluster %s: %w", c.Name, err)
	}
	return client, nil
}

// nodesReady fails unless there are nodes and all of them are ready.
func nodesReady(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("look at the nodes: %w", err)
	}
	if len(list.Items) == 0 {
		return errors.New("the cluster has no nodes")
	}
	for i := range list.Items {
		if !nodeReady(&list.Items[i]) {
			return fmt.Errorf("the node %s is not ready", list.Items[i].Name)
		}
	}
	return nil
}

func nodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// awaitNodes waits until the API answers and all nodes are ready.
func (c *cluster) awaitNodes(ctx context.Context, client kubernetes.Interface, within time.Duration) (err error) {
	done := toolchain.Track(c.Progress, c.update("waiting for the nodes of "+c.Name+" (about 15 s)"), nothing)
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("it took longer than %v", within))
	defer cancel()
	if err := awaitAPI(ctx, client); err != nil {
		return fmt.Errorf("API of the cluster %s: %w", c.Name, err)
	}
	err = await(ctx, client.CoreV1().Nodes(), &corev1.Node{}, "", func() bool { return nodesReady(ctx, client) == nil })
	if err == nil || !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return err
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	defer stop()
	return fmt.Errorf("nodes of the cluster %s: %w: %w", c.Name, context.Cause(ctx), nodesReady(last, client))
}

// awaitAPI waits until the API answers at all: a node that was started anew takes a while.
func awaitAPI(ctx context.Context, client kubernetes.Interface) error {
	tick := time.NewTicker(apiPoll)
	defer tick.Stop()
	for {
		err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// lister is a kind of objects: in a namespace, or in all of them.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// await waits until done says so, which is asked whenever one of the objects changes, and once for each that is there. The name is that
// of the one object to look at; empty is all of them.
func await[L runtime.Object](ctx context.Context, objects lister[L], of runtime.Object, name string, done func() bool) error {
	var only string
	if name != "" {
		only = fields.OneTermEqualSelector("metadata.name", name).String()
	}
	list := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return objects.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return objects.Watch(ctx, o)
		},
	}
	_, err := clientwatch.UntilWithSync(ctx, list, of, nil, func(watch.Event) (bool, error) { return done(), nil })
	return err
}

// describe says how to use the cluster.
func (c *cluster) describe(ctx context.Context, client kubernetes.Interface) (Cluster, error) {
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return Cluster{}, fmt.Errorf("version of Kubernetes: %w", err)
	}
	istio, err := istioVersion(ctx, client)
	if err != nil {
		return Cluster{}, err
	}
	st, err := c.readState()
	return Cluster{
		Name: c.Name, Kubeconfig: c.Kubeconfig(), Context: c.context(), Kubernetes: version.GitVersion, Istio: istio,
		Images: image.Mapping(c.Images), Made: c.made, Foreign: st.Phase == foreign,
	}, err
}

// PullFailure is an image that a node cannot get.
type PullFailure struct {
	Pod, Container, Image string
	Message               string // the node's
}

// PullError is images that nodes cannot get.
type PullError struct{ Failures []PullFailure }

// Error names each image once, with what the node says.
func (e *PullError) Error() string {
	why := map[string]string{}
	for _, f := range e.Failures {
		why[f.Image] = fmt.Sprintf("the image %s cannot be pulled (pod %s): %s", f.Image, f.Pod, f.Message)
	}
	return strings.Join(slices.Sorted(maps.Values(why)), "; ")
}

// PullFailures are the images that the namespace's pods wait for in vain: a node has tried to pull each and has failed, or it may not
// try.
func PullFailures(ctx context.Context, client kubernetes.Interface, namespace string) ([]PullFailure, error) {
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("pods of %s: %w", namespace, err)
	}
	var out []PullFailure
	for _, pod := range pods.Items {
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if w := s.State.Waiting; w != nil && slices.Contains([]string{"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}, w.Reason) {
				out = append(out, PullFailure{pod.Name, s.Name, s.Image, w.Message})
			}
		}
	}
	return out, nil
}
