package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"squall/internal/record"
)

// AwaitSlices waits until the Services have an endpoint for each ready pod that they select, told by the API's watch. Services without
// a selector have whatever somebody gives them.
func AwaitSlices(ctx context.Context, o *Objects, services []*unstructured.Unstructured) error {
	for _, s := range services {
		selector, _, err := unstructured.NestedStringMap(s.Object, "spec", "selector")
		if err != nil {
			return fmt.Errorf("selector of %s: %w", RefOf(s), err)
		}
		if len(selector) == 0 {
			continue
		}
		if err := awaitSlices(ctx, o, s, selector); err != nil {
			return err
		}
	}
	return nil
}

func awaitSlices(ctx context.Context, o *Objects, s *unstructured.Unstructured, selector map[string]string) error {
	c := o.Kube.DiscoveryV1().EndpointSlices(s.GetNamespace())
	for {
		pods, err := o.Kube.CoreV1().Pods(s.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: labels.FormatLabels(selector)})
		if err != nil {
			return fmt.Errorf("pods of %s: %w", RefOf(s), err)
		}
		of := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.GetName()}
		list, err := c.List(ctx, of)
		if err != nil {
			return fmt.Errorf("endpoints of %s: %w", RefOf(s), err)
		}
		have, want := mostAddresses(list.Items), readyPods(pods.Items)
		if have == want {
			return nil
		}
		of.ResourceVersion = list.ResourceVersion
		w, err := c.Watch(ctx, of)
		if err != nil {
			return fmt.Errorf("watch endpoints of %s: %w", RefOf(s), err)
		}
		if err := nextEvent(ctx, w); err != nil {
			return fmt.Errorf("%s has %d endpoints, not %d: %w", RefOf(s), have, want, err)
		}
	}
}

func readyPods(pods []corev1.Pod) (n int) {
	for i := range pods {
		if pods[i].DeletionTimestamp == nil && IsReady(&pods[i]) {
			n++
		}
	}
	return n
}

// mostAddresses is how many ready addresses there are of the kind of address of which there are most: a pod may have one of each kind.
func mostAddresses(list []discoveryv1.EndpointSlice) (most int) {
	byKind := map[discoveryv1.AddressType]int{}
	for i, s := range list {
		byKind[s.AddressType] += len(readyAddresses(list[i : i+1]))
		most = max(most, byKind[s.AddressType])
	}
	return most
}

// readyAddresses are the addresses of the ready endpoints.
func readyAddresses(list []discoveryv1.EndpointSlice) (out []string) {
	for _, s := range list {
		for _, e := range s.Endpoints {
			if serves(e) {
				out = append(out, e.Addresses...)
			}
		}
	}
	return out
}

// serves says whether an endpoint is ready; one that does not say so is.
func serves(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }

// AwaitEndpoints waits until each proxy that knows a service of the namespace would send to exactly the service's ready
// endpoints.
func AwaitEndpoints(ctx context.Context, env Env, o *Objects, proxies []record.Proxy, namespace string) error {
	list, err := o.Kube.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("endpoints of %s: %w", namespace, err)
	}
	want := wantedEndpoints(list.Items)
	for _, p := range proxies {
		err := poll(ctx, pollEvery, func() (bool, error, error) {
			have, err := Endpoints(ctx, env, p.Pod)
			if err != nil {
				return false, nil, err
			}
			why := missingEndpoints(have, want, namespace)
			if why != nil {
				why = fmt.Errorf("the proxy of %s: %w", p.Pod, why)
			}
			return why == nil, why, nil
		})
		if err != nil {
			return fmt.Errorf("endpoints are not known: %w", err)
		}
	}
	return nil
}

// addresses are those of a service's ready endpoints, by their kind: a pod may have one of each.
type addresses map[discoveryv1.AddressType][]string

// wantedEndpoints are the addresses of the services.
func wantedEndpoints(list []discoveryv1.EndpointSlice) map[string]addresses {
	out := map[string]addresses{}
	for i, s := range list {
		service := s.Labels[discoveryv1.LabelServiceName]
		if out[service] == nil {
			out[service] = addresses{}
		}
		out[service][s.AddressType] = append(out[service][s.AddressType], readyAddresses(list[i:i+1])...)
	}
	return out
}

// are reports whether a proxy's addresses are those of one kind, of which there are as many as of any, or those of all.
func (a addresses) are(ips []string) bool {
	most := 0
	var all []string
	for _, of := range a {
		most = max(most, len(of))
		all = append(all, of...)
	}
	for _, of := range a {
		if len(of) == most && sameSet(of, ips) {
			return true
		}
	}
	return sameSet(all, ips)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func (a addresses) String() string {
	var all []string
	for _, of := range a {
		all = append(all, of...)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func missingEndpoints(have map[string][]string, want map[string]addresses, namespace string) error {
	var errs []error
	for service, of := range want {
		suffix := "||" + service + "." + namespace + ".svc."
		for cluster, hosts := range have {
			if !strings.Contains(cluster, suffix) || !strings.HasPrefix(cluster, "outbound|") {
				continue
			}
			var ips []string
			for _, h := range hosts {
				ip, _, err := net.SplitHostPort(h)
				if err != nil {
					return fmt.Errorf("%s: %w", cluster, err)
				}
				ips = append(ips, ip)
			}
			if !of.are(ips) {
				errs = append(errs, fmt.Errorf("%s has the endpoints [%s], not [%s]", cluster, strings.Join(ips, " "), of))
			}
		}
	}
	return errors.Join(errs...)
}
