package local

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sort"
	"sync"
	"time"

	istio "istio.io/client-go/pkg/clientset/versioned"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"squall/internal/mesh"
)

// kubelet makes the processes be what the API's Deployments say, and the API's Pods, EndpointSlices and Deployment status
// be what the processes are. All decisions are taken by one goroutine.
type kubelet struct {
	mesh        *Mesh
	objects     *mesh.Objects
	istio       istio.Interface
	factory     informers.SharedInformerFactory
	deployments appslisters.DeploymentLister
	services    corelisters.ServiceLister
	namespaces  corelisters.NamespaceLister

	wake chan struct{}  // something changed; holds one
	done chan *pod      // a pod's start ended, well or not
	wg   sync.WaitGroup // pod starts and stops

	pods    map[string][]*pod // by namespace/deployment, in the order of their start
	counter map[string]int
	slices  map[string]string // what was last written, by namespace/service
}

func newKubelet(m *Mesh, objects *mesh.Objects) (*kubelet, error) {
	ic, err := istio.NewForConfig(m.rest)
	if err != nil {
		return nil, fmt.Errorf("istio client: %w", err)
	}
	f := informers.NewSharedInformerFactory(objects.Kube, 0)
	k := &kubelet{
		mesh: m, objects: objects, istio: ic, factory: f,
		deployments: f.Apps().V1().Deployments().Lister(), services: f.Core().V1().Services().Lister(),
		namespaces: f.Core().V1().Namespaces().Lister(),
		wake:       make(chan struct{}, 1), done: make(chan *pod), pods: map[string][]*pod{}, counter: map[string]int{}, slices: map[string]string{},
	}
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { k.poke() }, UpdateFunc: func(any, any) { k.poke() }, DeleteFunc: func(any) { k.poke() },
	}
	for _, inf := range []cache.SharedIndexInformer{
		f.Apps().V1().Deployments().Informer(), f.Core().V1().Services().Informer(), f.Core().V1().Namespaces().Informer(),
	} {
		if _, err := inf.AddEventHandler(changed); err != nil {
			return nil, fmt.Errorf("watch the API: %w", err)
		}
	}
	return k, nil
}

func (k *kubelet) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends, then waits for the starts and stops that are under way.
func (k *kubelet) run(ctx context.Context) error {
	k.factory.Start(ctx.Done())
	k.factory.WaitForCacheSync(ctx.Done())
	defer k.factory.Shutdown()
	defer func() {
		go func() { k.wg.Wait(); close(k.done) }()
		for range k.done { // starts report to nobody now
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-k.done:
			k.ended(ctx, p)
		case <-k.wake:
		}
		if err := k.reconcile(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("local kubelet: %w", err)
		}
	}
}

func (k *kubelet) reconcile(ctx context.Context) error {
	all, err := k.deployments.List(labels.Everything())
	if err != nil {
		return err
	}
	want := map[string]*appsv1.Deployment{}
	for _, d := range all {
		want[d.Namespace+"/"+d.Name] = d
	}
	var errs []error
	for key := range k.pods {
		if want[key] == nil {
			for _, p := range k.pods[key] {
				errs = append(errs, k.remove(ctx, key, p))
			}
			delete(k.pods, key)
		}
	}
	for key, d := range want {
		errs = append(errs, k.scale(ctx, key, d), k.writeStatus(ctx, key, d))
	}
	return errors.Join(append(errs, k.writeSlices(ctx))...)
}

// scale starts pods that are missing and removes pods that are too many. Pods of an older template go when as many of the
// new one are ready.
func (k *kubelet) scale(ctx context.Context, key string, d *appsv1.Deployment) error {
	hash := templateHash(d)
	replicas := 1
	if d.Spec.Replicas != nil {
		replicas = int(*d.Spec.Replicas)
	}
	var current, old []*pod
	ready := 0
	for _, p := range k.pods[key] {
		if p.hash != hash {
			old = append(old, p)
			continue
		}
		current = append(current, p)
		if p.ready {
			ready++
		}
	}
	var errs []error
	for i := len(current); i < replicas; i++ {
		errs = append(errs, k.start(ctx, key, d, hash))
	}
	if surplus := len(current) - replicas; surplus > 0 {
		old = append(old, current[replicas:]...)
	} else if ready < replicas {
		old = nil // a rollout keeps the old pods until the new ones serve
	}
	for _, p := range old {
		errs = append(errs, k.remove(ctx, key, p))
	}
	return errors.Join(errs...)
}

func templateHash(d *appsv1.Deployment) string {
	h := fnv.New32a()
	b, _ := d.Spec.Template.Marshal() // a value that was decoded can be encoded
	_, _ = h.Write(b)                 // a hash never fails
	return fmt.Sprintf("%08x", h.Sum32())
}

// start makes the Pod object and starts the pod's processes beside the loop.
func (k *kubelet) start(ctx context.Context, key string, d *appsv1.Deployment, hash string) error {
	p, err := k.newPod(ctx, d, hash)
	if err != nil {
		return err
	}
	k.pods[key] = append(k.pods[key], p)
	k.mesh.mu.Lock()
	k.mesh.pods[p.object.Name] = p
	k.mesh.mu.Unlock()
	k.wg.Add(1)
	go func() {
		defer k.wg.Done()
		p.failure = k.bringUp(ctx, p)
		select {
		case k.done <- p:
		case <-ctx.Done():
		}
	}()
	return nil
}

func (k *kubelet) newPod(ctx context.Context, d *appsv1.Deployment, hash string) (*pod, error) {
	ns, err := k.objects.Kube.CoreV1().Namespaces().Get(ctx, d.Namespace, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("namespace of deployment %s: %w", d.Name, err)
	}
	p := &pod{owner: d.Name, hash: hash}
	if p.ip, p.calls, err = k.mesh.block.nextPod(); err != nil {
		return nil, err
	}
	key := d.Namespace + "/" + d.Name
	name := fmt.Sprintf("%s-%d", d.Name, k.counter[key])
	k.counter[key]++
	template := d.Spec.Template.DeepCopy()
	l := template.Labels
	if l == nil {
		l = map[string]string{}
	}
	l[podLabel], l["pod-template-hash"] = name, hash
	if injected(&d.Spec.Template, ns) {
		l[mesh.TLSModeLabel] = "istio"
	}
	p.object = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: d.Namespace, Labels: l, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID}},
		},
		Spec: template.Spec,
	}
	p.object.Spec.NodeName = nodeName
	if p.object.Spec.ServiceAccountName == "" {
		p.object.Spec.ServiceAccountName = "default"
	}
	image := p.object.Spec.Containers[0].Image
	program, ok := k.mesh.images[imageName(image)]
	if !ok {
		return nil, fmt.Errorf("deployment %s: no program stands for image %s on the local mesh: give --image %s=PROGRAM", d.Name, image, imageName(image))
	}
	p.program = program
	return p, nil
}

// bringUp writes the pod's objects and starts its processes; it returns when the pod can serve.
func (k *kubelet) bringUp(ctx context.Context, p *pod) error {
	if err := k.writePod(ctx, p, false, "starting"); err != nil {
		return err
	}
	env, err := k.environment(ctx, p)
	if err != nil {
		return err
	}
	if !p.hasSidecar() {
		return k.mesh.startApp(ctx, p, env)
	}
	if _, err := k.istio.NetworkingV1().Sidecars(p.object.Namespace).Create(ctx, p.sidecar(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("sidecar of %s: %w", p.object.Name, err)
	}
	proxy := make(chan error, 1)
	go func() { proxy <- k.mesh.startEnvoy(ctx, p) }()
	return errors.Join(k.mesh.startApp(ctx, p, env), <-proxy)
}

// ended takes note of a pod whose start ended.
func (k *kubelet) ended(ctx context.Context, p *pod) {
	p.ready, p.noted = p.failure == nil, p.failure
	message := ""
	if p.failure != nil {
		message = p.failure.Error()
	}
	if err := k.writePod(ctx, p, p.ready, message); err != nil && ctx.Err() == nil {
		k.mesh.fail(err)
	}
}

// remove ends a pod: off the endpoints first, then its processes and objects.
func (k *kubelet) remove(ctx context.Context, key string, p *pod) error {
	list := k.pods[key]
	for i := range list {
		if list[i] == p {
			k.pods[key] = append(append([]*pod{}, list[:i]...), list[i+1:]...)
			break
		}
	}
	p.ready = false
	k.mesh.mu.Lock()
	delete(k.mesh.pods, p.object.Name)
	k.mesh.mu.Unlock()
	errs := []error{k.writeSlices(ctx)}
	name, ns := p.object.Name, p.object.Namespace
	for _, err := range []error{
		k.istio.NetworkingV1().Sidecars(ns).Delete(ctx, name, metav1.DeleteOptions{}),
		k.objects.Kube.CoreV1().Pods(ns).Delete(ctx, name, metav1.DeleteOptions{}),
	} {
		if !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	k.wg.Add(1)
	go func() {
		defer k.wg.Done()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := p.stop(stopping); err != nil {
			k.mesh.fail(err)
		}
	}()
	return errors.Join(errs...)
}

// sorted lists all pods by name.
func (k *kubelet) sorted() []*pod {
	var out []*pod
	for _, l := range k.pods {
		out = append(out, l...)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].object.Name < out[j].object.Name })
	return out
}
