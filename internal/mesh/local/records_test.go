package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"squall/internal/mesh"
	"squall/internal/traffic"
	"squall/internal/traffic/als"
)

// kept is a sink that keeps records.
type kept struct {
	mu   sync.Mutex
	list []traffic.Record
}

func (k *kept) Put(_ context.Context, records []traffic.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, records...)
	return nil
}

// of are the records of a path, by who told.
func (k *kept) of(path string) map[traffic.Reporter]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := map[traffic.Reporter]int{}
	for i := range k.list {
		if k.list[i].Path == path {
			n[k.list[i].Reporter]++
		}
	}
	return n
}

// connections are the records of TCP.
func (k *kept) connections() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.list {
		if k.list[i].Protocol == "TCP" {
			n++
		}
	}
	return n
}

// takeRecords serves the mesh's access logs until the test's end.
func takeRecords(t *testing.T, l net.Listener) *kept {
	t.Helper()
	redactor, err1 := traffic.NewRedactor(traffic.Rules{})
	names, err2 := traffic.NewInterfaces(traffic.Caps{})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	sink := &kept{}
	server := als.New(als.Options{Sink: sink, Prepare: traffic.NewPreparer(redactor, names, nil)})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return sink
}

// Access logs come by the filter that runs apply, and as on any mesh by a Telemetry with an extension provider, each request once from
// each proxy.
func TestRecords(t *testing.T) {
	t.Parallel()
	m := up(t, nil)
	l, objects, err := m.Records(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	sink := takeRecords(t, l)
	host, _, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	const ns = "logged"
	m.namespace(t, ns)
	m.apply(t, ns, httpbin("", ""))
	m.ready(t, ns)
	m.answers(t, ns, "httpbin", "/status/200", 200)

	n := 0
	arrive := func() {
		t.Helper()
		eventually(t, func() error { // a change takes a moment to reach both proxies
			n++
			path := fmt.Sprintf("/anything/%d", n)
			if code, body := m.call(t, ns, "httpbin", path); code != 200 {
				return fmt.Errorf("%d %s", code, body)
			}
			got := map[traffic.Reporter]int{}
			for range 400 { // Envoy sends what it has each second, or sooner where it is told to
				if got = sink.of(path); got[traffic.Source] == 1 && got[traffic.Destination] == 1 {
					return nil
				}
				if err := mesh.Pause(t.Context(), 5*time.Millisecond); err != nil {
					return err
				}
			}
			return fmt.Errorf("of one request there are %v", got)
		})
	}
	telemetry := strings.NewReplacer("HOST", host).Replace(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: squall-records}
spec:
  hosts: [squall-records.squall.svc.cluster.local]
  ports: [{number: 15017, name: grpc, protocol: GRPC}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{address: HOST}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: records}
spec:
  accessLogging: [{providers: [{name: envoy}, {name: squall-records}, {name: squall-records-tcp}]}]`)
	m.apply(t, ns, telemetry)
	arrive()
	if err := m.o.Delete(t.Context(), mesh.Ref{APIVersion: "telemetry.istio.io/v1", Kind: "Telemetry", Namespace: ns, Name: "records"}); err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if _, err := m.o.Apply(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	arrive()
	if n := sink.connections(); n > 0 {
		t.Errorf("%d requests came as TCP connections too", n)
	}
}
