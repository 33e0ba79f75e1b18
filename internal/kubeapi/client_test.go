package kubeapi

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	istiov1 "istio.io/api/networking/v1alpha3"
	istioclient "istio.io/client-go/pkg/apis/networking/v1"
	istioalpha "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istiobeta "istio.io/client-go/pkg/apis/networking/v1beta1"
	"istio.io/client-go/pkg/clientset/versioned"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

func webDeployment() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web",
					Ports:          []corev1.ContainerPort{{ContainerPort: 80}},
					ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ok"}}}}}},
			},
		},
	}
}

func TestTypedLifeOfADeployment(t *testing.T) {
	for _, media := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(media, func(t *testing.T) {
			a := start(t, Options{})
			config := rest.CopyConfig(a.config)
			config.ContentType, config.AcceptContentTypes = media, media+",application/json"
			c := kubernetes.NewForConfigOrDie(config).AppsV1().Deployments("default")
			d, err := c.Create(t.Context(), webDeployment(), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			probe := d.Spec.Template.Spec.Containers[0].ReadinessProbe
			if *d.Spec.Replicas != 1 || d.Generation != 1 || d.UID == "" || d.CreationTimestamp.IsZero() ||
				d.Spec.Template.Spec.Containers[0].Ports[0].Protocol != corev1.ProtocolTCP || probe.PeriodSeconds != 10 || probe.FailureThreshold != 3 {
				t.Errorf("created: %+v", d)
			}
			old := d.DeepCopy()
			two := int32(2)
			d.Spec.Replicas = &two
			d.Status.Replicas = 7
			if d, err = c.Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if d.Generation != 2 || d.Status.Replicas != 0 {
				t.Errorf("updated: generation %d, status %+v", d.Generation, d.Status)
			}
			if _, err := c.Update(t.Context(), old, metav1.UpdateOptions{}); !errors.IsConflict(err) {
				t.Errorf("update from an old revision: %v", err)
			}
			d.Spec.Replicas = nil
			d.Status.Replicas, d.Status.ReadyReplicas = 2, 1
			if d, err = c.UpdateStatus(t.Context(), d, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if d.Generation != 2 || *d.Spec.Replicas != 2 || d.Status.ReadyReplicas != 1 {
				t.Errorf("status: generation %d, %d replicas, %+v", d.Generation, *d.Spec.Replicas, d.Status)
			}
			again, err := c.UpdateStatus(t.Context(), d, metav1.UpdateOptions{})
			if err != nil || again.ResourceVersion != d.ResourceVersion {
				t.Errorf("an update that changes nothing: %v, revision %s, was %s", err, again.ResourceVersion, d.ResourceVersion)
			}
			if err := c.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Get(t.Context(), "web", metav1.GetOptions{}); !errors.IsNotFound(err) {
				t.Errorf("after the delete: %v", err)
			}
		})
	}
}

func TestScale(t *testing.T) {
	a := start(t, Options{})
	c := a.kube().AppsV1().Deployments("default")
	if _, err := c.Create(t.Context(), webDeployment(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	scale, err := c.GetScale(t.Context(), "web", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 1 || scale.Status.Selector != "app=web" || scale.CreationTimestamp.IsZero() {
		t.Fatalf("%+v %v", scale, err)
	}
	stale := scale.DeepCopy()
	scale.Spec.Replicas = 3
	if scale, err = c.UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{}); err != nil || scale.Spec.Replicas != 3 {
		t.Fatalf("%+v %v", scale, err)
	}
	if _, err := c.UpdateScale(t.Context(), "web", stale, metav1.UpdateOptions{}); !errors.IsConflict(err) {
		t.Errorf("scale from an old revision: %v", err)
	}
	for kind, body := range map[types.PatchType]string{types.MergePatchType: `{"spec":{"replicas":5}}`, types.JSONPatchType: `[{"op":"replace","path":"/spec/replicas","value":5}]`} {
		d, err := c.Patch(t.Context(), "web", kind, []byte(body), metav1.PatchOptions{}, "scale")
		if err != nil {
			t.Errorf("%s: %v %v", kind, d, err)
		}
	}
	d, err := c.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || *d.Spec.Replicas != 5 || d.Generation != 3 {
		t.Errorf("%v, generation %d, %v", *d.Spec.Replicas, d.Generation, err)
	}
}

func TestPatches(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", deployments, "", deployment("d"))
	for _, c := range []struct {
		kind       types.PatchType
		body, path string
		want       any
	}{
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"1"}]}]}}}}`,
			"spec.template.spec.containers", `[{"env":[{"name":"A","value":"1"}],"image":"i","name":"c","ports":[{"containerPort":80,"protocol":"TCP"}]}]`},
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"$patch":"delete","name":"c"},{"name":"e","image":"j"}]}}}}`,
			"spec.template.spec.containers", `[{"image":"j","name":"e"}]`},
		{types.MergePatchType, `{"metadata":{"labels":{"a":"b"}}}`, "metadata.labels", `{"a":"b"}`},
		{types.MergePatchType, `{"metadata":{"labels":null}}`, "metadata.labels", `null`},
		{types.JSONPatchType, `[{"op":"add","path":"/metadata/annotations","value":{"x/y":"z"}}]`, "metadata.annotations", `{"x/y":"z"}`},
		{types.JSONPatchType, `[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":4}]`, "spec.replicas", `4`},
	} {
		out := a.must("PATCH", deployments+"/d", string(c.kind), c.body)
		if got := string(mustJSON(lookup(out, strings.Split(c.path, ".")...))); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", configMaps, "", `{"metadata":{"name":"here"},"data":{"a":"1"}}`)
	before := fmt.Sprint(a.server.Snapshot())
	for _, c := range [][3]string{
		{"POST", configMaps, `{"metadata":{"name":"new"}}`},
		{"POST", "/api/v1/namespaces", `{"metadata":{"name":"new"}}`},
		{"PUT", configMaps + "/here", `{"metadata":{"name":"here"},"data":{"a":"2"}}`},
		{"DELETE", configMaps + "/here", ``},
		{"DELETE", configMaps, ``},
		{"DELETE", "/api/v1/namespaces/default", ``},
	} {
		a.must(c[0], c[1]+"?dryRun=All", "", c[2])
	}
	out := a.must("PATCH", configMaps+"/here?dryRun=All", string(types.MergePatchType), `{"data":{"a":"3"}}`)
	if text(out, "data", "a") != "3" {
		t.Errorf("the answer shows what would be: %v", out)
	}
	if after := fmt.Sprint(a.server.Snapshot()); after != before {
		t.Errorf("a dry run has changed\n%s\nto\n%s", before, after)
	}
}

func TestIstioVersionsAreOneObject(t *testing.T) {
	a := start(t, Options{})
	c := versioned.NewForConfigOrDie(a.config)
	vs := &istiobeta.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: "r", Namespace: "default"}}
	vs.Spec.Hosts = []string{"reviews"}
	vs.Spec.Http = []*istiov1.HTTPRoute{{Route: []*istiov1.HTTPRouteDestination{{Destination: &istiov1.Destination{Host: "reviews"}, Weight: 100}}}}
	if _, err := c.NetworkingV1beta1().VirtualServices("default").Create(t.Context(), vs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	v1, err := c.NetworkingV1().VirtualServices("default").Get(t.Context(), "r", metav1.GetOptions{})
	if err != nil || v1.Spec.Http[0].Route[0].Weight != 100 {
		t.Fatalf("%v %v", v1, err)
	}
	w, err := c.NetworkingV1alpha3().VirtualServices("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: v1.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	v1.Spec.Hosts = []string{"ratings"}
	if v1, err = c.NetworkingV1().VirtualServices("default").Update(t.Context(), v1, metav1.UpdateOptions{}); err != nil || v1.Generation != 2 {
		t.Fatalf("%v %v", v1, err)
	}
	e := next(t, w)
	if _, ok := e.Object.(*istioalpha.VirtualService); !ok || named(e) != "MODIFIED r" {
		t.Errorf("%s as %T", named(e), e.Object)
	}
	var l *istioclient.VirtualServiceList
	if l, err = c.NetworkingV1().VirtualServices("").List(t.Context(), metav1.ListOptions{}); err != nil || len(l.Items) != 1 || l.Items[0].Spec.Hosts[0] != "ratings" {
		t.Errorf("%v %v", l, err)
	}
}

func TestPages(t *testing.T) {
	a := start(t, Options{})
	c := a.kube().CoreV1().ConfigMaps("default")
	for _, name := range []string{"c", "a", "e", "b", "d"} {
		if _, err := c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	opts := metav1.ListOptions{Limit: 2}
	var revision string
	for {
		l, err := c.List(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range l.Items {
			got = append(got, o.Name)
		}
		if revision == "" {
			revision = l.ResourceVersion
			if *l.RemainingItemCount != 3 {
				t.Errorf("%d remain", *l.RemainingItemCount)
			}
			// The later pages are of the list as it was at the first.
			a.must("DELETE", configMaps+"/d", "", "")
			a.must("POST", configMaps, "", `{"metadata":{"name":"cc"}}`)
		}
		if l.ResourceVersion != revision {
			t.Errorf("revision %s, was %s", l.ResourceVersion, revision)
		}
		if opts.Continue = l.Continue; opts.Continue == "" {
			break
		}
	}
	if want := []string{"a", "b", "c", "d", "e"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	l, err := c.List(t.Context(), metav1.ListOptions{ResourceVersion: revision, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if err != nil || len(l.Items) != 5 {
		t.Errorf("exactly at %s: %d objects, %v", revision, len(l.Items), err)
	}
}

func TestExpiredPage(t *testing.T) {
	a := start(t, Options{History: 2})
	for i := range 3 {
		a.must("POST", configMaps, "", fmt.Sprintf(`{"metadata":{"name":"c%d"}}`, i))
	}
	token := text(a.must("GET", configMaps+"?limit=1", "", ""), "metadata", "continue")
	for i := range 10 {
		a.must("POST", configMaps, "", fmt.Sprintf(`{"metadata":{"name":"d%d"}}`, i))
	}
	if code, _, out := a.call("GET", configMaps+"?limit=1&continue="+token, "", ""); code != 410 || out["reason"] != "Expired" {
		t.Errorf("%d %v", code, out)
	}
}

func TestMetadataClient(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", configMaps, "", `{"metadata":{"name":"m","labels":{"a":"b"}},"data":{"secret":"x"}}`)
	c := metadata.NewForConfigOrDie(a.config).Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"})
	l, err := c.Namespace("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(l.Items) != 1 || l.Items[0].Labels["a"] != "b" {
		t.Fatalf("%v %v", l, err)
	}
	o, err := c.Namespace("default").Get(t.Context(), "m", metav1.GetOptions{})
	if err != nil || o.Name != "m" || o.Labels["a"] != "b" {
		t.Errorf("%v %v", o, err)
	}
}

func TestGenerateName(t *testing.T) {
	a := start(t, Options{})
	seen := map[string]bool{}
	for range 5 {
		name := text(a.must("POST", configMaps, "", `{"metadata":{"generateName":"g-"}}`), "metadata", "name")
		if !strings.HasPrefix(name, "g-") || len(name) != 7 || seen[name] {
			t.Errorf("name %q", name)
		}
		seen[name] = true
	}
}

func TestSecretsAndNamespacesAreCompleted(t *testing.T) {
	a := start(t, Options{})
	secret := a.must("POST", "/api/v1/namespaces/default/secrets", "", `{"metadata":{"name":"s"},"stringData":{"a":"b"}}`)
	if text(secret, "data", "a") != "Yg==" || secret["stringData"] != nil || secret["type"] != "Opaque" {
		t.Errorf("secret: %v", secret)
	}
	ns := a.must("POST", "/api/v1/namespaces", "", `{"metadata":{"name":"shop"}}`)
	if text(ns, "metadata", "labels", "kubernetes.io/metadata.name") != "shop" || text(ns, "status", "phase") != "Active" {
		t.Errorf("namespace: %v", ns)
	}
	a.must("GET", "/api/v1/namespaces/shop/serviceaccounts/default", "", "")
	node := a.must("POST", "/api/v1/nodes", "", `{"metadata":{"name":"n"},"status":{"phase":"Running"}}`)
	if text(node, "status", "phase") != "Running" {
		t.Errorf("node: %v", node)
	}
	pod := a.must("POST", "/api/v1/namespaces/default/pods", "", `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]},"status":{"phase":"Running"}}`)
	if text(pod, "status", "phase") != "Pending" || text(pod, "spec", "serviceAccountName") != "default" {
		t.Errorf("pod: %v", pod)
	}
}

// TestConcurrentWritersLoseNothing has many clients count in one object and watch it.
func TestConcurrentWritersLoseNothing(t *testing.T) {
	a := start(t, Options{})
	const writers, each = 8, 25
	c := a.kube().CoreV1().ConfigMaps("default")
	cm, err := c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Data: map[string]string{}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: cm.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := range each {
				for {
					cm, err := c.Get(t.Context(), "n", metav1.GetOptions{})
					if err != nil {
						t.Error(err)
						return
					}
					if cm.Data == nil {
						cm.Data = map[string]string{}
					}
					cm.Data[fmt.Sprintf("%d-%d", i, n)] = "x"
					if _, err = c.Update(t.Context(), cm, metav1.UpdateOptions{}); err == nil {
						break
					}
					if !errors.IsConflict(err) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for i := range writers * each {
		e := next(t, w)
		if got := len(e.Object.(*corev1.ConfigMap).Data); got != i+1 {
			t.Fatalf("event %d has %d entries", i+1, got)
		}
	}
	wg.Wait()
}

// BenchmarkWriteToWatch is the time from sending an update to a watch having it: one request and one event.
func BenchmarkWriteToWatch(b *testing.B) {
	a := start(b, Options{})
	c := a.kube().CoreV1().ConfigMaps("default")
	cm, err := c.Create(b.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Data: map[string]string{}}, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	w, err := c.Watch(b.Context(), metav1.ListOptions{ResourceVersion: cm.ResourceVersion})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop()
	var late time.Duration
	for i := 0; b.Loop(); i++ {
		cm.Data = map[string]string{"i": fmt.Sprint(i)}
		cm.ResourceVersion = ""
		if _, err := c.Update(b.Context(), cm, metav1.UpdateOptions{}); err != nil {
			b.Fatal(err)
		}
		answered := time.Now()
		next(b, w)
		late += time.Since(answered)
	}
	b.ReportMetric(float64(late.Nanoseconds())/float64(b.N), "ns-after-answer/op")
}
