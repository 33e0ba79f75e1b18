package kind

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"

	"squall/internal/gatewayapi"
	"squall/internal/mesh"
	"squall/internal/toolchain"
)

// servedWithin is how long the API takes to serve a kind after its definition was stored.
const servedWithin = 30 * time.Second

// gatewayAPIReady fails unless the cluster serves HTTPRoutes. Of which release they are is for who installed them to say.
func gatewayAPIReady(d discovery.DiscoveryInterface) error {
	list, err := d.ServerResourcesForGroupVersion(gatewayapi.Group + "/" + gatewayapi.Version)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for the Gateway API: %w", err)
	}
	if err == nil {
		for _, r := range list.APIResources {
			if r.Kind == gatewayapi.Kind {
				return nil
			}
		}
	}
	return errors.New("the Gateway API is not installed")
}

// installGatewayAPI applies the CRDs of the release that the pinned Istio reads, unless there are some, and waits until they are served.
func (c *cluster) installGatewayAPI(ctx context.Context, client kubernetes.Interface) (err error) {
	if gatewayAPIReady(client.Discovery()) == nil {
		return nil
	}
	done := toolchain.Track(c.Progress, c.update("installing the Gateway API (about a second)"), nothing)
	defer func() { done(err) }()
	config, err := mesh.Connect(c.Kubeconfig(), c.context())
	if err != nil {
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	objects, err := mesh.NewObjects(config)
	if err != nil {
		return err
	}
	crds, err := gatewayapi.CRDs()
	if err != nil {
		return err
	}
	for _, crd := range crds {
		if _, err := objects.Apply(ctx, &unstructured.Unstructured{Object: crd}); err != nil {
			return fmt.Errorf("install the Gateway API: %w", err)
		}
	}
	return awaitGatewayAPI(ctx, client)
}

// awaitGatewayAPI waits until the API serves HTTPRoutes, which no watch tells.
func awaitGatewayAPI(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithTimeoutCause(ctx, servedWithin, fmt.Errorf("it took longer than %v", servedWithin))
	defer cancel()
	tick := time.NewTicker(apiPoll)
	defer tick.Stop()
	for {
		err := gatewayAPIReady(client.Discovery())
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("install the Gateway API: %w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
