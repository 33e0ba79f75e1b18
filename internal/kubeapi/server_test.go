package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// api is a running server and the ways to talk to it.
type api struct {
	t      testing.TB
	server *Server
	url    string
	config *rest.Config
}

// start runs a server until the test ends, and fails the test if the server does not end well.
func start(t testing.TB, opts Options) *api {
	t.Helper()
	s := New(opts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Serve did not end within 5 s of its context")
		}
	})
	a := &api{t: t, server: s, url: "http://" + l.Addr().String()}
	if a.config, err = clientcmd.RESTConfigFromKubeConfig(s.Kubeconfig(a.url, "")); err != nil {
		t.Fatal(err)
	}
	a.config.QPS, a.config.Burst = -1, -1
	return a
}

func (a *api) kube() *kubernetes.Clientset {
	a.t.Helper()
	c, err := kubernetes.NewForConfig(a.config)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *api) dynamic() *dynamic.DynamicClient {
	a.t.Helper()
	c, err := dynamic.NewForConfig(a.config)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// call makes one plain request and decodes the answer, if there is one.
func (a *api) call(method, path, contentType, body string) (int, http.Header, map[string]any) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("User-Agent", "test/1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	var out map[string]any
	if bytes.HasPrefix(b, []byte("{")) {
		if err := json.Unmarshal(b, &out); err != nil {
			a.t.Fatalf("%s %s: %v\n%s", method, path, err, b)
		}
	}
	return resp.StatusCode, resp.Header, out
}

// must is call for a request that has to succeed.
func (a *api) must(method, path, contentType, body string) map[string]any {
	a.t.Helper()
	code, _, out := a.call(method, path, contentType, body)
	if code/100 != 2 {
		a.t.Fatalf("%s %s: %d %v", method, path, code, out["message"])
	}
	return out
}

func (a *api) context() context.Context { return a.t.Context() }

// next is the next event of a watch.
func next(t testing.TB, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch has ended")
		}
		return e
	case <-time.After(5 * time.Second):
		t.Fatal("no event within 5 s")
	}
	return watch.Event{}
}

// named describes an event in one word.
func named(e watch.Event) string {
	if m, ok := e.Object.(metav1.Object); ok {
		return string(e.Type) + " " + m.GetName()
	}
	return string(e.Type)
}

func TestServeEndsWatchesAtOnce(t *testing.T) {
	s := New(Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/api/v1/pods?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	idle, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	began := time.Now()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("Serve took %v to end", took)
	}
	if n := len(s.store.tables[schema.GroupResource{Resource: "pods"}].watches); n != 0 {
		t.Errorf("%d watches are left", n)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the watch ended with %v, not at an end of its stream", err)
	}
}

func TestServeSaysWhyItEnded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := New(Options{}).Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Serve on a closed listener: %v, want an error that names the address", err)
	}
}

func TestNewServerHoldsWhatAClusterDoes(t *testing.T) {
	s := New(Options{})
	have := map[string]bool{}
	for _, o := range s.Snapshot() {
		have[text(o, "kind")+" "+text(o, "metadata", "namespace")+"/"+text(o, "metadata", "name")] = true
	}
	for _, want := range []string{"Namespace /default", "Namespace /kube-system", "ServiceAccount default/default",
		"CustomResourceDefinition /virtualservices.networking.istio.io"} {
		if !have[want] {
			t.Errorf("no %s", want)
		}
	}
}

func TestKubeconfigNamesTheNamespace(t *testing.T) {
	c, err := clientcmd.Load(New(Options{}).Kubeconfig("http://127.0.0.1:1", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := c.Contexts[c.CurrentContext]
	if ctx == nil || ctx.Namespace != "shop" || c.Clusters[ctx.Cluster].Server != "http://127.0.0.1:1" {
		t.Errorf("kubeconfig: %+v", c)
	}
}

func TestServiceAddresses(t *testing.T) {
	a := start(t, Options{ServiceCIDR: netip.MustParsePrefix("127.17.128.0/30")})
	const path = "/api/v1/namespaces/default/services"
	create := func(name, extra string) (int, map[string]any) {
		code, _, out := a.call("POST", path, "", `{"metadata":{"name":"`+name+`"},"spec":{"ports":[{"port":80}]`+extra+`}}`)
		return code, out
	}
	_, first := create("a", "")
	if ip := text(first, "spec", "clusterIP"); ip != "127.17.128.1" {
		t.Errorf("first address %q", ip)
	}
	port := mapsOf(list(first, "spec", "ports"))[0]
	if port["protocol"] != "TCP" || port["targetPort"] != float64(80) || text(first, "spec", "type") != "ClusterIP" {
		t.Errorf("defaults: %v", first["spec"])
	}
	if _, none := create("headless", `,"clusterIP":"None"`); text(none, "spec", "clusterIP") != "None" {
		t.Errorf("headless: %v", none)
	}
	for name, extra := range map[string]string{"outside": `,"clusterIP":"10.0.0.1"`, "taken": `,"clusterIP":"127.17.128.1"`, "nonsense": `,"clusterIP":"x"`} {
		if code, out := create(name, extra); code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %v", name, code, out["message"])
		}
	}
	if _, second := create("b", ""); text(second, "spec", "clusterIP") != "127.17.128.2" {
		t.Errorf("second: %v", second)
	}
	if code, out := create("c", ""); code != http.StatusInternalServerError || !strings.Contains(text(out, "message"), "is full") {
		t.Errorf("a full range: %d %v", code, out["message"])
	}
	a.must("DELETE", path+"/a", "", "")
	if _, again := create("d", ""); text(again, "spec", "clusterIP") != "127.17.128.1" {
		t.Errorf("a freed address is given again: %v", again)
	}
	kept := a.must("PUT", path+"/d", "", `{"metadata":{"name":"d"},"spec":{"ports":[{"port":81}]}}`)
	if text(kept, "spec", "clusterIP") != "127.17.128.1" {
		t.Errorf("an update without an address: %v", kept["spec"])
	}
}
