package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"squall/internal/mesh"
)

func TestSeveralIstiods(t *testing.T) {
	const v1, v2 = `{"kind":"VirtualService","metadata":{"name":"a","resourceVersion":"1"}}`, `{"kind":"VirtualService","metadata":{"name":"a","resourceVersion":"2"}}`
	for _, tc := range []struct{ path, in, want string }{
		{"/debug/syncz", `[{"a":1}]`, `[{"a":1}]`},
		{"/debug/syncz", `[{"a":1}]|[{"b":2},{"c":3}]`, `[{"a":1},{"b":2},{"c":3}]`},
		{"/debug/syncz", `[]|[1]|null|[ ]`, `[1]`},
		{"/debug/syncz", `[1]|{"error":"x"}`, "is no list"},
		{"/debug/configz", "[" + v1 + "]|[" + v1 + "]", "[" + v1 + "]"},
		{"/debug/configz", "[" + v1 + "]|[" + v2 + "]", "[]"},
		{"/debug/configz", "[" + v2 + "]|[]", "[]"},
	} {
		var answers [][]byte
		for l := range strings.SplitSeq(tc.in, "|") {
			answers = append(answers, []byte(l))
		}
		got, err := combined(tc.path, answers)
		if text := string(got) + fmt.Sprint(err); !strings.HasPrefix(text, tc.want) && (err == nil || !strings.Contains(text, tc.want)) {
			t.Errorf("%s of %s: %s", tc.path, tc.in, text)
		}
	}
}

func TestKnownVersions(t *testing.T) {
	for version, ok := range map[string]bool{"1.31.1": true, "1.24.0-distroless": true, "1.23.9": false, "1.99.0": false, "2.0.0": false, "latest": true, "unknown": true} {
		if err := known(version); (err == nil) != ok {
			t.Errorf("%s: %v", version, err)
		}
	}
}

// A log is read anew from a whole second: what was read already must neither be lost nor counted twice.
func TestFollowerGoesOnBehindTheLastLine(t *testing.T) {
	m := &Mesh{log: mesh.NewAccessLogs()}
	f := &follower{mesh: m, key: key{"squall", "pod"}}
	at := func(ns int, text string) []byte {
		return []byte(time.Unix(100, int64(ns)).UTC().Format(time.RFC3339Nano) + " " + text + "\n")
	}
	entry := `{"method":"GET","squall":"access"}`
	for i, connection := range [][][]byte{
		{at(1, entry), at(5, "2026 info xds push"), at(5, entry), at(5, entry)},
		{at(1, entry), at(5, "2026 info xds push"), at(5, entry), at(5, entry), at(5, entry), at(9, entry)}, // two more
		{at(9, entry), at(9, `{"method":"GET"}`), []byte("half a line\n"), at(10, `{"method":null,"squall":"access"}`), at(11, entry)},
	} {
		skip := f.same
		for _, line := range connection {
			skip = f.line(line, skip)
		}
		if got, want := m.log.Total("pod"), []int64{3, 5, 6}[i]; got != want {
			t.Errorf("after %d connections: %d entries, want %d", i+1, got, want)
		}
	}
}

func TestPrepare(t *testing.T) {
	m, err := New(Options{Name: "kind", Config: &rest.Config{Host: "http://127.0.0.1:1"}, RunID: "circuit-20261126-065110-b4a390", Image: func(ref string) string {
		return strings.Replace(ref, "squall/load", "docker.io/squall/load:1", 1)
	}})
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: load}
spec:
  template:
    metadata: {annotations: {proxy.istio.io/config: "concurrency: 1\nproxyStatsMatcher: {inclusionRegexps: [mine]}"}}
    spec:
      containers: [{name: a, image: squall/load}, {name: istio-proxy, image: auto}, {name: b, image: "x:1", imagePullPolicy: Always}]
`), &u.Object); err != nil {
		t.Fatal(err)
	}
	if err := m.Prepare(u); err != nil {
		t.Fatal(err)
	}
	containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	var got []string
	for _, c := range containers {
		c := c.(map[string]any)
		got = append(got, fmt.Sprintf("%v %v", c["image"], c["imagePullPolicy"]))
	}
	if text := strings.Join(got, " "); text != "docker.io/squall/load:1 IfNotPresent auto IfNotPresent x:1 Always" {
		t.Error(text)
	}
	config, _, _ := unstructured.NestedString(u.Object, "spec", "template", "metadata", "annotations", configAnnotation)
	for _, want := range append(mesh.StatsInclusion(), "concurrency: 1", "mine", "drainDuration: 1s") {
		if !strings.Contains(config, strings.Trim(want, "`")) {
			t.Errorf("%s is missing in\n%s", want, config)
		}
	}
	if l := u.GetLabels(); l[mesh.ManagedByLabel] != "squall" || l[mesh.RunIDLabel] != "circuit-20261126-065110-b4a390" {
		t.Error(l)
	}
	service := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "x"}, "spec": map[string]any{}}}
	if err := m.Prepare(service); err != nil {
		t.Error(err)
	}
	broken := u.DeepCopy()
	_ = unstructured.SetNestedField(broken.Object, "][", "spec", "template", "metadata", "annotations", configAnnotation)
	if err := m.Prepare(broken); err == nil {
		t.Error("a configuration that is no YAML is taken")
	}
}

func TestInstruments(t *testing.T) {
	m, err := New(Options{Config: &rest.Config{Host: "http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	list := m.Instruments([]string{"squall", mesh.RootNamespace})
	if len(list) != 2 {
		t.Fatal(list)
	}
	if _, ok, _ := unstructured.NestedMap(list[0].Object, "spec", "workloadSelector"); ok || list[0].GetNamespace() != "squall" {
		t.Error("the namespace's is not for all of its proxies")
	}
	if _, ok, _ := unstructured.NestedMap(list[1].Object, "spec", "workloadSelector"); !ok {
		t.Error("that of the root namespace would be for the whole mesh")
	}
	patches, _, _ := unstructured.NestedSlice(list[0].Object, "spec", "configPatches")
	if len(patches) != 3 || !strings.Contains(fmt.Sprint(patches), "always_set_request_id_in_response:true") {
		t.Error(patches)
	}
}

func TestFineTimes(t *testing.T) {
	for fine, want := range map[bool]int{false: 0, true: 3} {
		m, err := New(Options{Config: &rest.Config{Host: "http://127.0.0.1:1"}, FineTimes: fine})
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(m.Instruments([]string{"squall"})[0].Object)
		if got := strings.Count(text, "duration_us:%COMMON_DURATION("); got != want || strings.Count(text, "load:%REQ(X-SQUALL-LOAD)%") != 3 {
			t.Errorf("fine %t: %d of %d\n%s", fine, got, want, text)
		}
	}
}

func TestPermissions(t *testing.T) {
	m, err := New(Options{Config: &rest.Config{Host: "http://127.0.0.1:1"}, Namespaces: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range m.Permissions() {
		texts = append(texts, p.String())
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{"create pods/portforward in shop", "get pods/log in shop", "patch virtualservices.networking.istio.io in shop", "create pods/portforward in istio-system"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(all, "deployments.apps in istio-system") {
		t.Error("a run that does not use the gateway changes nothing in the root namespace")
	}
	rule := func(verbs, groups, resources string, names ...string) authorizationv1.ResourceRule {
		return authorizationv1.ResourceRule{Verbs: strings.Fields(verbs), APIGroups: strings.Split(groups, " "), Resources: strings.Fields(resources), ResourceNames: names}
	}
	p := Permission{Verb: "create", Resource: "pods", Subresource: "portforward", Namespace: "shop"}
	for _, tc := range []struct {
		rule authorizationv1.ResourceRule
		want bool
	}{
		{rule("*", "*", "*"), true}, {rule("create get", "", "pods/portforward"), true}, {rule("create", "", "pods"), false},
		{rule("get", "", "pods/portforward"), false}, {rule("create", "", "pods/portforward", "one"), false},
	} {
		if got := granted([]authorizationv1.ResourceRule{tc.rule}, p); got != tc.want {
			t.Errorf("%+v: %t", tc.rule, got)
		}
	}
}

// Nobody listens: the error names the server and says what to look at.
func TestNoAPIServer(t *testing.T) {
	m, err := New(Options{Name: "kind", Config: &rest.Config{Host: "http://127.0.0.1:1"}, Namespaces: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Up(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the API server at http://127.0.0.1:1 does not answer") || !strings.Contains(err.Error(), "--context") {
		t.Error(err)
	}
	if err := m.Down(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPermissionsOfActions holds a run to ask for what its steps do to pods and nodes, and for no more.
func TestPermissionsOfActions(t *testing.T) {
	for kind, want := range map[string]string{
		"kill": "delete pods in squall", "evict": "create pods/eviction in squall", "partition": "create networkpolicies.networking.k8s.io in squall",
		"cordon": "patch nodes",
	} {
		m := &Mesh{opts: Options{Namespaces: []string{"squall"}}}
		has := func() bool {
			return slices.ContainsFunc(m.Permissions(), func(p Permission) bool { return p.String() == want })
		}
		if has() {
			t.Errorf("every run asks for %q", want)
		}
		m.opts.Actions = []string{kind}
		if !has() {
			t.Errorf("a run that has %s does not ask for %q", kind, want)
		}
	}
}
