package kubeapi

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

func pod(name, app, node string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"app":%q}},"spec":{"nodeName":%q,"containers":[{"name":"c","image":"i"}]}}`, name, app, node)
}

const pods = "/api/v1/namespaces/default/pods"

// TestSelectedWatch follows one object in and out of label and field selectors.
func TestSelectedWatch(t *testing.T) {
	a := start(t, Options{})
	c := a.kube().CoreV1().Pods("default")
	var watches []watch.Interface
	for _, opts := range []metav1.ListOptions{
		{LabelSelector: "app in (a,b)"},
		{FieldSelector: "status.phase=Running"},
		{FieldSelector: "metadata.name=p,spec.nodeName!=n2"},
		{},
	} {
		w, err := c.Watch(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		watches = append(watches, w)
	}
	expect := func(step string, want ...string) {
		t.Helper()
		for i, w := range watches {
			if want[i] == "" {
				continue
			}
			if got := named(next(t, w)); got != want[i] {
				t.Errorf("%s: watch %d saw %s, want %s", step, i, got, want[i])
			}
		}
	}
	merge := func(path, body string) { t.Helper(); a.must("PATCH", pods+path, "application/merge-patch+json", body) }
	a.must("POST", pods, "", pod("p", "a", "n1"))
	expect("create", "ADDED p", "", "ADDED p", "ADDED p")
	merge("/p/status", `{"status":{"phase":"Running"}}`)
	expect("running", "MODIFIED p", "ADDED p", "MODIFIED p", "MODIFIED p")
	merge("/p", `{"metadata":{"labels":{"app":"c"}}}`)
	expect("other label", "DELETED p", "MODIFIED p", "MODIFIED p", "MODIFIED p")
	merge("/p", `{"metadata":{"labels":{"app":"b"}}}`)
	expect("label again", "ADDED p", "MODIFIED p", "MODIFIED p", "MODIFIED p")
	merge("/p/status", `{"status":{"phase":"Failed"}}`)
	expect("failed", "MODIFIED p", "DELETED p", "MODIFIED p", "MODIFIED p")
	a.must("DELETE", pods+"/p", "", "")
	expect("delete", "DELETED p", "", "DELETED p", "DELETED p")
	a.must("POST", pods, "", pod("q", "a", "n2"))
	expect("another", "ADDED q", "", "", "ADDED q")
}

func TestWatchResumesAndExpires(t *testing.T) {
	a := start(t, Options{History: 4})
	c := a.kube().CoreV1().ConfigMaps("default")
	first, err := c.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		a.must("POST", configMaps, "", fmt.Sprintf(`{"metadata":{"name":"c%d"}}`, i))
	}
	w, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: first.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if got := named(next(t, w)); got != fmt.Sprintf("ADDED c%d", i) {
			t.Errorf("event %d is %s", i, got)
		}
	}
	w.Stop()
	for i := range 10 {
		a.must("POST", configMaps, "", fmt.Sprintf(`{"metadata":{"name":"d%d"}}`, i))
	}
	if w, err = c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: first.ResourceVersion}); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := next(t, w); e.Type != watch.Error || !errors.IsResourceExpired(errors.FromObject(e.Object)) {
		t.Errorf("too old: %v %v", e.Type, e.Object)
	}
	if _, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "999999"}); !errors.IsTimeout(err) || !errors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Errorf("a revision of the future: %v", err)
	}
}

func TestInitialEventsAndBookmarks(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", configMaps, "", `{"metadata":{"name":"a"}}`)
	a.must("POST", configMaps, "", `{"metadata":{"name":"b"}}`)
	yes := true
	c := a.kube().CoreV1().ConfigMaps("default")
	w, err := c.Watch(t.Context(), metav1.ListOptions{SendInitialEvents: &yes, AllowWatchBookmarks: true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, FieldSelector: "metadata.name!=a"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if got := named(next(t, w)); got != "ADDED b" {
		t.Errorf("first %s", got)
	}
	mark := next(t, w)
	cm, ok := mark.Object.(*corev1.ConfigMap)
	if mark.Type != watch.Bookmark || !ok || cm.Annotations[metav1.InitialEventsAnnotationKey] != "true" || cm.ResourceVersion == "" {
		t.Fatalf("then %v %+v", mark.Type, mark.Object)
	}
	a.must("POST", configMaps, "", `{"metadata":{"name":"c"}}`)
	if got := named(next(t, w)); got != "ADDED c" {
		t.Errorf("then %s", got)
	}
}

func TestWatchTimeoutEndsWithABookmark(t *testing.T) {
	a := start(t, Options{})
	one := int64(1)
	w, err := a.kube().CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: &one, AllowWatchBookmarks: true, ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := next(t, w); e.Type != watch.Bookmark {
		t.Errorf("%v", e)
	}
	select {
	case e, ok := <-w.ResultChan():
		if ok {
			t.Errorf("after the timeout: %v", e)
		}
	case <-time.After(5 * time.Second):
		t.Error("the watch goes on")
	}
}

// TestSlowWatchIsEnded has a client that does not read. Nobody else may wait for it, and its stream ends.
func TestSlowWatchIsEnded(t *testing.T) {
	a := start(t, Options{WatchQueue: 4})
	resp, err := http.Get(a.url + configMaps + "?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	table := a.server.store.tables[schema.GroupResource{Resource: "configmaps"}]
	big := strings.Repeat("x", 1<<20)
	began, sent := time.Now(), 0
	for ; len(watching(a.server, table)) > 0; sent++ {
		if sent > 200 {
			t.Fatal("the watch is still kept")
		}
		a.must("POST", configMaps, "", fmt.Sprintf(`{"metadata":{"name":"c%d"},"data":{"a":%q}}`, sent, big))
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("%d writes took %v", sent, took)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read what was queued: %v", err)
	}
	if n := strings.Count(string(b), `"type":"ADDED"`); n == 0 || n >= sent {
		t.Errorf("%d of %d events came before the end", n, sent)
	}
}

func watching(s *Server, t *table) map[*watcher]struct{} {
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	out := map[*watcher]struct{}{}
	for w := range t.watches {
		out[w] = struct{}{}
	}
	return out
}

func TestInformers(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", configMaps, "", `{"metadata":{"name":"before"}}`)
	a.must("POST", virtuals, "", `{"metadata":{"name":"before"},"spec":{"hosts":["a"]}}`)
	typed := informers.NewSharedInformerFactory(a.kube(), 0)
	cms := typed.Core().V1().ConfigMaps()
	dyn := dynamicinformer.NewDynamicSharedInformerFactory(a.dynamic(), 0)
	vss := dyn.ForResource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"})
	changes := make(chan string, 100)
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { changes <- "add " + keyOf(o) },
		UpdateFunc: func(_, o any) { changes <- "update " + keyOf(o) },
		DeleteFunc: func(o any) { changes <- "delete " + keyOf(o) },
	}
	for _, i := range []cache.SharedIndexInformer{cms.Informer(), vss.Informer()} {
		if _, err := i.AddEventHandler(handler); err != nil {
			t.Fatal(err)
		}
	}
	typed.Start(t.Context().Done())
	dyn.Start(t.Context().Done())
	if !cache.WaitForCacheSync(t.Context().Done(), cms.Informer().HasSynced, vss.Informer().HasSynced) {
		t.Fatal("no sync")
	}
	expect := func(want ...string) {
		t.Helper()
		for range want {
			select {
			case got := <-changes:
				if !strings.Contains(strings.Join(want, "|")+"|", got+"|") {
					t.Errorf("%s, want %v", got, want)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("nothing, want %v", want)
			}
		}
	}
	expect("add default/before", "add default/before")
	a.must("POST", virtuals, "", `{"metadata":{"name":"after"},"spec":{"hosts":["a"]}}`)
	expect("add default/after")
	a.must("PATCH", virtuals+"/after", "application/merge-patch+json", `{"spec":{"hosts":["b"]}}`)
	expect("update default/after")
	a.must("DELETE", virtuals+"/after", "", "")
	expect("delete default/after")
	if l, err := cms.Lister().ConfigMaps("default").List(labels.Everything()); err != nil || len(l) != 1 {
		t.Errorf("%v %v", l, err)
	}
}

func keyOf(o any) string {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return err.Error()
	}
	return key
}

func TestMetadataWatch(t *testing.T) {
	a := start(t, Options{})
	c := metadata.NewForConfigOrDie(a.config).Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"})
	w, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	a.must("POST", configMaps, "", `{"metadata":{"name":"m"},"data":{"a":"b"}}`)
	e := next(t, w)
	if o, ok := e.Object.(*metav1.PartialObjectMetadata); !ok || o.Name != "m" {
		t.Errorf("%T %v", e.Object, e.Object)
	}
}

func TestWatchOfOneName(t *testing.T) {
	a := start(t, Options{})
	resp, err := http.Get(a.url + configMaps + "/b?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a.must("POST", configMaps, "", `{"metadata":{"name":"a"}}`)
	a.must("POST", configMaps, "", `{"metadata":{"name":"b"}}`)
	buf := make([]byte, 4096)
	n, err := resp.Body.Read(buf)
	if err != nil || !strings.Contains(string(buf[:n]), `"name":"b"`) || strings.Contains(string(buf[:n]), `"name":"a"`) {
		t.Errorf("%s %v", buf[:n], err)
	}
}

// FuzzSelectedChange checks that what a selector's watch sees of a change leads from its list before to its list after.
func FuzzSelectedChange(f *testing.F) {
	f.Add("app=a", "status.phase=Running", "a", "b", "Running", "Pending", true, true)
	f.Add("app", "metadata.name!=x", "", "b", "", "", false, true)
	f.Add("app notin (a, c),!x", "", "a", "a", "", "", true, false)
	f.Fuzz(func(t *testing.T, labelText, fieldText, app1, app2, phase1, phase2 string, before, after bool) {
		ls, err := labels.Parse(labelText)
		if err != nil {
			return
		}
		fs, err := fields.ParseSelector(fieldText)
		if err != nil {
			return
		}
		res := &coreResources()[1]
		sel, err := newSelector(res, "", ls, fs)
		if err != nil {
			return
		}
		c := change{rv: 9}
		if before {
			c.old = fuzzPod(res, app1, phase1, 1)
		}
		if after {
			c.new = fuzzPod(res, app2, phase2, 9)
		}
		held := sel.matches(c.old)
		e, seen := c.seen(sel)
		if seen && (e.kind == "ADDED" && held || e.kind != "ADDED" && !held || text(e.o.data, "metadata", "resourceVersion") != "9") {
			t.Fatalf("%s while held is %v, at %v", e.kind, held, e.o.data)
		}
		if seen {
			held = e.kind != "DELETED"
		}
		if held != sel.matches(c.new) {
			t.Fatalf("the watcher thinks %v, the list says %v", held, sel.matches(c.new))
		}
	})
}

func fuzzPod(res *Resource, app, phase string, rv uint64) *object {
	u := unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"phase": phase}}}
	u.SetName("x")
	u.SetLabels(map[string]string{"app": app})
	return newObject(res, u.Object, rv)
}
