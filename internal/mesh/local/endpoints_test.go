package local

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestEndpoints(t *testing.T) {
	yes, no, http, grpc, empty, nine, ten := true, false, "http", "grpc", "", int32(9), int32(10)
	at := func(ready *bool, addresses ...string) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: addresses, Conditions: discoveryv1.EndpointConditions{Ready: ready}}
	}
	named := []discoveryv1.EndpointPort{{Name: &http, Port: &nine}, {Name: &grpc, Port: &ten}, {Name: &http}}
	for _, c := range []struct {
		name, port string
		slices     []*discoveryv1.EndpointSlice
		want       []string
	}{
		{"no slice", "http", nil, nil},
		{"of all slices, and ready unless they say no", "http", []*discoveryv1.EndpointSlice{
			{Ports: named, Endpoints: []discoveryv1.Endpoint{at(&yes, "127.0.0.1"), at(&no, "127.0.0.2"), at(nil, "127.0.0.3")}},
			{Ports: named, Endpoints: []discoveryv1.Endpoint{at(nil), at(nil, "host"), at(nil, "127.0.0.4", "127.0.0.5")}},
		}, []string{"127.0.0.1:9", "127.0.0.3:9", "127.0.0.4:9"}},
		{"another port", "grpc", []*discoveryv1.EndpointSlice{{Ports: named, Endpoints: []discoveryv1.Endpoint{at(nil, "127.0.0.1")}}}, []string{"127.0.0.1:10"}},
		{"a port without a name", "", []*discoveryv1.EndpointSlice{
			{Ports: []discoveryv1.EndpointPort{{Port: &nine}, {Name: &empty, Port: &ten}}, Endpoints: []discoveryv1.Endpoint{at(nil, "127.0.0.1")}},
		}, []string{"127.0.0.1:9", "127.0.0.1:10"}},
		{"a name that no port has", "http", []*discoveryv1.EndpointSlice{
			{Ports: []discoveryv1.EndpointPort{{Port: &nine}}, Endpoints: []discoveryv1.Endpoint{at(nil, "127.0.0.1")}},
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, a := range endpoints(c.slices, c.port) {
				got = append(got, a.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// What takes no calls is said once, and again when that is something else.
func TestUnforwardedIsSaidOnce(t *testing.T) {
	dir := t.TempDir()
	k := &kubelet{mesh: &Mesh{opts: Options{Log: func(process string) string { return filepath.Join(dir, process) }}}}
	first, second := errors.New("127.9.128.1:80: permission denied"), errors.New("127.9.128.2:80: permission denied")
	for _, err := range []error{nil, first, first, nil, first, second} {
		if err := k.sayUnforwarded(err); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "cluster-ips"))
	if err != nil || strings.Count(string(b), first.Error()) != 1 || strings.Count(string(b), "\n") != 2 {
		t.Errorf("the log says %q, %v", b, err)
	}
}
