package kind

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	discoveryfake "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
)

func TestGatewayAPIReady(t *testing.T) {
	for name, c := range map[string]struct {
		served []*metav1.APIResourceList
		want   bool
	}{
		"absent":           {nil, false},
		"only its classes": {[]*metav1.APIResourceList{{GroupVersion: "gateway.networking.k8s.io/v1", APIResources: []metav1.APIResource{{Kind: "GatewayClass"}}}}, false},
		"an older version": {[]*metav1.APIResourceList{{GroupVersion: "gateway.networking.k8s.io/v1beta1", APIResources: []metav1.APIResource{{Kind: "HTTPRoute"}}}}, false},
		"there":            {[]*metav1.APIResourceList{{GroupVersion: "gateway.networking.k8s.io/v1", APIResources: []metav1.APIResource{{Kind: "HTTPRoute"}}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := fake.NewClientset().Discovery().(*discoveryfake.FakeDiscovery)
			d.Resources = c.served
			if err := gatewayAPIReady(d); (err == nil) != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
}
