package local

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
	"sync"
	"time"

	istio "istio.io/client-go/pkg/clientset/versioned"
	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	istiolisters "istio.io/client-go/pkg/listers/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"squall/internal/mesh"
)

// missingGrace is how long a Deployment may wait for an object that it names before that is a failure: objects that are
// applied together come in any order.
const missingGrace = time.Second

// kubelet makes the processes be what the API's Deployments say, and the API's Pods, Sidecars, EndpointSlices and Deployment status
// be what the processes are. All decisions are taken by one goroutine.
type kubelet struct {
	mesh         *Mesh
	objects      *mesh.Objects
	istio        istio.Interface
	factory      informers.SharedInformerFactory
	istioFactory istioinformers.SharedInformerFactory

	deployments appslisters.DeploymentLister
	services    corelisters.ServiceLister
	namespaces  corelisters.NamespaceLister
	accounts    corelisters.ServiceAccountLister
	configMaps  corelisters.ConfigMapLister
	secrets     corelisters.SecretLister
	objectsOf   corelisters.PodLister
	gateways    istiolisters.GatewayLister
	slicesBy    discoverylisters.EndpointSliceLister

	wake   chan struct{} // something changed; holds one
	events chan func(context.Context)
	wg     sync.WaitGroup // the pods' lives and ends

	pods     map[string][]*pod   // by namespace/deployment, in the order of their start
	leaving  map[string]int      // by namespace/deployment: pods that are being ended
	refused  map[string]*refusal // by namespace/deployment
	counter  map[string]int      // by the Deployment's name alone: a pod's name is unique in the mesh
	slices   map[string]string   // what was last written, by namespace/service
	sidecars map[string]string   // what was last written, by pod
	ingress  bool                // the ingress gateway was brought

	unforwarded string // what was last said of cluster IPs
}

// refusal is a template that the kubelet cannot make a pod of.
type refusal struct {
	hash  string
	err   error
	since time.Time
}

// missingError is an object that a template names and that is not there yet.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what + " is not there" }

// final reports whether waiting will not help any more.
func (r *refusal) final() bool {
	var missing *missingError
	return !errors.As(r.err, &missing) || time.Since(r.since) >= missingGrace
}

func newKubelet(m *Mesh) (*kubelet, error) {
	ic, err := istio.NewForConfig(m.rest)
	if err != nil {
		return nil, fmt.Errorf("istio client: %w", err)
	}
	f := informers.NewSharedInformerFactory(m.objects.Kube, 0)
	core := f.Core().V1()
	istioFactory := istioinformers.NewSharedInformerFactory(ic, 0)
	gateways := istioFactory.Networking().V1().Gateways()
	k := &kubelet{
		mesh: m, objects: m.objects, istio: ic, factory: f,
		deployments: f.Apps().V1().Deployments().Lister(), services: core.Services().Lister(), namespaces: core.Namespaces().Lister(),
		accounts: core.ServiceAccounts().Lister(), configMaps: core.ConfigMaps().Lister(), secrets: core.Secrets().Lister(),
		objectsOf: core.Pods().Lister(), gateways: gateways.Lister(), istioFactory: istioFactory,
		slicesBy: f.Discovery().V1().EndpointSlices().Lister(),
		wake:     make(chan struct{}, 1), events: make(chan func(context.Context)),
		pods: map[string][]*pod{}, leaving: map[string]int{}, refused: map[string]*refusal{}, counter: map[string]int{},
		slices: map[string]string{}, sidecars: map[string]string{},
	}
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { k.poke() }, UpdateFunc: func(any, any) { k.poke() }, DeleteFunc: func(any) { k.poke() },
	}
	for _, inf := range []cache.SharedIndexInformer{
		f.Apps().V1().Deployments().Informer(), core.Services().Informer(), core.Namespaces().Informer(),
		core.ServiceAccounts().Informer(), core.ConfigMaps().Informer(), core.Secrets().Informer(),
		core.Pods().Informer(), gateways.Informer(), f.Discovery().V1().EndpointSlices().Informer(),
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

// tell has the loop call f, unless ctx ends first.
func (k *kubelet) tell(ctx context.Context, f func(context.Context)) {
	select {
	case k.events <- f:
	case <-ctx.Done():
	}
}

// run works until ctx ends, then waits for the lives and ends of pods that are under way.
func (k *kubelet) run(ctx context.Context) error {
	k.factory.Start(ctx.Done())
	k.istioFactory.Start(ctx.Done())
	k.factory.WaitForCacheSync(ctx.Done())
	k.istioFactory.WaitForCacheSync(ctx.Done())
	defer k.istioFactory.Shutdown()
	defer k.factory.Shutdown()
	defer k.wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-k.events:
			f(ctx)
		case <-k.wake:
		}
		if err := k.reconcile(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("local kubelet: %w", err)
		}
	}
}

func (k *kubelet) reconcile(ctx context.Context) error {
	if err := k.ensureIngress(ctx); err != nil {
		return err
	}
	all, err := k.deployments.List(labels.Everything())
	if err != nil {
		return err
	}
	want := map[string]*appsv1.Deployment{}
	for _, d := range all {
		want[d.Namespace+"/"+d.Name] = d
	}
	var errs []error
	for _, key := range sortedKeys(k.pods) {
		if want[key] == nil {
			errs = append(errs, k.remove(ctx, key, k.pods[key]...))
			delete(k.pods, key)
		} else {
			errs = append(errs, k.remove(ctx, key, k.deleted(key)...))
		}
	}
	for key := range k.refused {
		if want[key] == nil {
			delete(k.refused, key)
		}
	}
	for _, key := range sortedKeys(want) {
		errs = append(errs, k.scale(ctx, key, want[key]))
	}
	errs = append(errs, k.writeHosts(append(k.sorted(), k.mesh.istiodHosts)...), k.writeSidecars(ctx), k.writeSlices(ctx), k.forwardClusterIPs())
	for _, key := range sortedKeys(want) {
		errs = append(errs, k.writeStatus(ctx, key, want[key]))
	}
	return errors.Join(errs...)
}

// deleted are the pods whose objects somebody else deleted; a new pod takes the place of each. One that was given no time to end
// crashes.
func (k *kubelet) deleted(key string) []*pod {
	var out []*pod
	for _, p := range k.pods[key] {
		o, err := k.objectsOf.Pods(p.object.Namespace).Get(p.object.Name)
		if err == nil && o.UID == p.object.UID && o.DeletionTimestamp != nil {
			p.crashes = o.DeletionGracePeriodSeconds != nil && *o.DeletionGracePeriodSeconds == 0
			out = append(out, p)
		}
	}
	return out
}

// scale starts pods that are missing and removes pods that are too many. Pods of an older template go when as many of the
// new one as are wanted are ready, or first when the strategy is Recreate.
func (k *kubelet) scale(ctx context.Context, key string, d *appsv1.Deployment) error {
	hash := templateHash(d)
	replicas := wanted(d)
	var current, old []*pod
	for _, p := range k.pods[key] {
		if p.hash == hash {
			current = append(current, p)
		} else {
			old = append(old, p)
		}
	}
	recreate := d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && len(current) == 0
	if recreate {
		if err := k.remove(ctx, key, old...); err != nil || k.leaving[key] > 0 {
			return err
		}
		old = nil
	}
	if err := k.startMissing(ctx, key, d, replicas-len(current)); err != nil {
		return err
	}
	// The pods that are ready stay, then the oldest.
	slices.SortStableFunc(current, func(a, b *pod) int { return rank(a) - rank(b) })
	surplus := current[min(replicas, len(current)):]
	ready := len(current) >= replicas && !slices.ContainsFunc(current[:replicas], func(p *pod) bool { return !p.ready })
	if !ready {
		old = nil // a rollout keeps the old pods until the new ones serve
	}
	return k.remove(ctx, key, append(surplus, old...)...)
}

func wanted(d *appsv1.Deployment) int {
	if d.Spec.Replicas == nil {
		return 1
	}
	return int(*d.Spec.Replicas)
}

func rank(p *pod) int {
	if p.ready {
		return 0
	}
	return 1
}

// startMissing starts n pods, or notes why the template gives none.
func (k *kubelet) startMissing(ctx context.Context, key string, d *appsv1.Deployment, n int) error {
	hash := templateHash(d)
	for range n {
		p, err := k.newPod(d, hash)
		if err != nil {
			k.refuse(key, hash, err)
			return nil
		}
		if err := k.start(ctx, key, p); err != nil {
			return err
		}
	}
	delete(k.refused, key)
	return nil
}

func (k *kubelet) refuse(key, hash string, err error) {
	r := k.refused[key]
	if r == nil || r.hash != hash {
		r = &refusal{hash: hash, since: time.Now()}
		k.refused[key] = r
		time.AfterFunc(missingGrace, k.poke)
	}
	r.err = err
}

func templateHash(d *appsv1.Deployment) string {
	h := fnv.New32a()
	b, _ := d.Spec.Template.Marshal() // a value that was decoded can be encoded
	_, _ = h.Write(b)                 // a hash never fails
	return fmt.Sprintf("%08x", h.Sum32())
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
