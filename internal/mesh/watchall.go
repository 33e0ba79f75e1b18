package mesh

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Watched is told of what there is, by a cluster's watches.
type Watched struct {
	Pod     func(Pod)
	Service func(*corev1.Service)
}

// WatchAll tells of all pods that an IP is of, and of all services, of all namespaces, and of each that comes or changes, until ctx ends. It
// returns when all that there were have been told.
func (o *Objects) WatchAll(ctx context.Context, to Watched) error {
	factory := informers.NewSharedInformerFactory(o.Kube, 0)
	pods, services := factory.Core().V1().Pods(), factory.Core().V1().Services()
	tell := func(x any) {
		p, ok := x.(*corev1.Pod)
		if !ok || p.Status.PodIP == "" || p.Spec.HostNetwork {
			return
		}
		if Ended(p) {
			return // it keeps its IP in its status, though the network may have given it to another one
		}
		list, err := services.Lister().Services(p.Namespace).List(labels.Everything())
		if err != nil {
			return // the lister has what it has: it asks nobody
		}
		all := make([]corev1.Service, len(list))
		for i, s := range list {
			all[i] = *s
		}
		to.Pod(Pod{p, selecting(all, p)})
	}
	_, err1 := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(x any) {
			if s, ok := x.(*corev1.Service); ok {
				to.Service(s)
			}
		},
		UpdateFunc: func(_, x any) {
			if s, ok := x.(*corev1.Service); ok {
				to.Service(s)
			}
		},
	})
	if err1 != nil {
		return err1
	}
	informer := services.Informer()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) { // so that each pod finds its services
		return errors.Join(errors.New("the cluster's services cannot be watched"), context.Cause(ctx))
	}
	handle, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, x any) { tell(x) }})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), handle.HasSynced) {
		return errors.Join(errors.New("the cluster's pods cannot be watched"), context.Cause(ctx))
	}
	return nil
}
