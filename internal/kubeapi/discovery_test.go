package kubeapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi3"
)

// TestDiscoveryAgrees compares the aggregated discovery with the one that asks group by group.
func TestDiscoveryAgrees(t *testing.T) {
	a := start(t, Options{})
	c := discovery.NewDiscoveryClientForConfigOrDie(a.config)
	groups, lists, err := c.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	c.UseLegacyDiscovery = true
	legacyGroups, legacyLists, err := c.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := resourceLines(groups, lists), resourceLines(legacyGroups, legacyLists); !slices.Equal(got, want) {
		t.Errorf("aggregated discovery differs from the one by group:\n%s\n\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	} else if len(got) < 50 {
		t.Errorf("only %d lines", len(got))
	}
	v, err := c.ServerVersion()
	if err != nil || v.Minor != "37" {
		t.Errorf("%v %v", v, err)
	}
}

func resourceLines(groups []*metav1.APIGroup, lists []*metav1.APIResourceList) []string {
	var out []string
	for _, g := range groups {
		out = append(out, fmt.Sprint("group ", g.Name, g.PreferredVersion, g.Versions))
	}
	for _, l := range lists {
		for _, r := range l.APIResources {
			if strings.Contains(r.Name, "/") {
				r.SingularName = "" // client-go makes one up for subresources in the aggregated form
			}
			out = append(out, fmt.Sprint(l.GroupVersion, " ", r.Name, r.SingularName, r.Kind, r.Namespaced, r.Verbs, r.ShortNames, r.Categories))
		}
	}
	slices.Sort(out)
	return out
}

// TestOpenAPIIsWhole reads every document as kubectl does and follows every reference.
func TestOpenAPIIsWhole(t *testing.T) {
	a := start(t, Options{})
	root := openapi3.NewRoot(discovery.NewDiscoveryClientForConfigOrDie(a.config).OpenAPIV3())
	gvs, err := root.GroupVersions()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []schema.GroupVersion{{Version: "v1"}, {Group: "apps", Version: "v1"}, {Group: "networking.istio.io", Version: "v1alpha3"}} {
		if !slices.Contains(gvs, want) {
			t.Errorf("no document of %s", want)
		}
	}
	reference := regexp.MustCompile(`"\$ref":"#/components/schemas/([^"]+)"`)
	kind := regexp.MustCompile(`"x-kubernetes-group-version-kind":\[`)
	for _, gv := range gvs {
		doc, err := root.GVSpecAsMap(gv)
		if err != nil {
			t.Errorf("%s: %v", gv, err)
			continue
		}
		b := mustJSON(doc)
		for _, m := range reference.FindAllSubmatch(b, -1) {
			if lookup(doc, "components", "schemas", string(m[1])) == nil {
				t.Errorf("%s refers to %s, which it does not have", gv, m[1])
			}
		}
		if gv.Group != "apiextensions.k8s.io" && !kind.Match(b) {
			t.Errorf("%s describes no kind", gv)
		}
	}
}

// TestVersionsAreNotMixed has the schema of each version name that version alone.
func TestVersionsAreNotMixed(t *testing.T) {
	s := New(Options{})
	for _, version := range []string{"v1", "v1beta1", "v1alpha3", "v1"} {
		gv := schema.GroupVersion{Group: "networking.istio.io", Version: version}
		for name, sc := range s.schemas.components(s.in(gv), version) {
			for _, k := range mapsOf(list(sc.Extensions, gvkField)) {
				if k["version"] != version {
					t.Errorf("%s: %s is of %v", gv, name, k)
				}
			}
		}
	}
}
