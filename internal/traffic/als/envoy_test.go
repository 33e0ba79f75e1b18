package als

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"squall/internal/proc"
	"squall/internal/toolchain"
	"squall/internal/traffic"
)

type object = map[string]any

func port(t *testing.T, addr string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	must(t, err)
	n, err := strconv.Atoi(p)
	must(t, err)
	return n
}

func at(p int) object {
	return object{"socket_address": object{"address": "127.0.0.1", "port_value": p}}
}

func cluster(name string, p int, http2 bool) object {
	c := object{"name": name, "type": "STATIC", "load_assignment": object{"cluster_name": name, "endpoints": []object{{"lb_endpoints": []object{{"endpoint": object{"address": at(p)}}}}}}}
	if http2 {
		c["typed_extension_protocol_options"] = object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
			"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": object{"http2_protocol_options": object{}}}}
	}
	return c
}

// loggers are all ways of Envoy's to write to the server.
func loggers(tcp bool, file string) []object {
	common := object{"log_name": "squall", "transport_api_version": "V3", "grpc_service": object{"envoy_grpc": object{"cluster_name": "als"}}, "buffer_flush_interval": "0.1s"}
	kind := "Http"
	if tcp {
		kind = "Tcp"
	}
	grpc := object{"@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3." + kind + "GrpcAccessLogConfig", "common_config": common}
	if !tcp {
		grpc["additional_request_headers_to_log"] = []string{"traceparent", "authorization"}
	}
	var attributes []object
	for name, format := range LogLabels() {
		attributes = append(attributes, object{"key": name, "value": object{"string_value": format}})
	}
	return []object{
		{"name": "envoy.access_loggers." + strings.ToLower(kind) + "_grpc", "typed_config": grpc},
		{"name": "envoy.access_loggers.open_telemetry", "typed_config": object{
			"@type": "type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig", "common_config": common,
			"attributes": object{"values": attributes}}},
		{"name": "envoy.access_loggers.file", "typed_config": object{
			"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": file, "log_format": object{"json_format": LogFormat()}}},
	}
}

func bootstrap(httpPort, tcpPort, appPort, alsPort int, file string) object {
	const manager, proxy = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	const app = "outbound|80|v2|app.shop.svc.cluster.local"
	return object{
		"node": object{"id": "sidecar~127.0.0.1~front-1.shop~shop.svc.cluster.local", "cluster": "front.shop",
			"metadata": object{"NAMESPACE": "shop", "NAME": "front-1", "WORKLOAD_NAME": "front", "LABELS": object{"app": "front", "version": "v1"}}},
		"static_resources": object{
			"clusters": []object{cluster(app, appPort, false), cluster("als", alsPort, true)},
			"listeners": []object{
				{"name": "http", "address": at(httpPort), "filter_chains": []object{{"filters": []object{{"name": "http", "typed_config": object{
					"@type": manager, "stat_prefix": "http", "access_log": loggers(false, file),
					"route_config": object{"virtual_hosts": []object{{"name": "all", "domains": []string{"*"}, "routes": []object{{"name": "to-app", "match": object{"prefix": "/"}, "route": object{"cluster": app}}}}}},
					"http_filters": []object{{"name": "router", "typed_config": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
				}}}}}},
				{"name": "tcp", "address": at(tcpPort), "filter_chains": []object{{"filters": []object{{"name": "tcp", "typed_config": object{
					"@type": proxy, "stat_prefix": "tcp", "access_log": loggers(true, file), "cluster": app,
				}}}}}},
			},
		},
	}
}

// A real Envoy writes by both protocols and to a file, of HTTP and of TCP: all say the same.
func TestEnvoy(t *testing.T) {
	root, err := toolchain.FindRoot(".")
	must(t, err)
	tools, err := toolchain.Ensure(t.Context(), toolchain.Options{Root: root, Need: []toolchain.Name{toolchain.Envoy}, Progress: toolchain.Lines(os.Stderr)})
	must(t, err)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusBadGateway)
		}
		fmt.Fprint(w, "hello")
	}))
	defer app.Close()
	sink := &kept{}
	s := newServer(t, sink, nil)
	addr, _ := serve(t, s)
	ports := make([]int, 2)
	for i := range ports {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		must(t, err)
		ports[i] = port(t, l.Addr().String())
		must(t, l.Close())
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	config, err := json.Marshal(bootstrap(ports[0], ports[1], port(t, app.Listener.Addr().String()), port(t, addr), file+".access"))
	must(t, err)
	must(t, os.WriteFile(file, config, 0o600))
	group := proc.NewGroup(nil)
	t.Cleanup(func() { must(t, group.StopAll(context.WithoutCancel(t.Context()))) })
	envoy, err := group.Start(t.Context(), proc.Spec{Name: "envoy", Path: tools.Envoy, LogFile: file + ".log", Args: []string{"-c", file, "--disable-hot-restart", "--concurrency", "1"}})
	must(t, err)

	until(t, envoy, file+".log", func() bool { return get(t, ports[0], "/items/17?user=alice") == http.StatusOK })
	if code := get(t, ports[1], "/through-tcp"); code != http.StatusOK {
		t.Fatal(code)
	}
	if code := get(t, ports[0], "/broken"); code != http.StatusBadGateway {
		t.Fatal(code)
	}
	until(t, envoy, file+".log", func() bool { return s.Counts().Records >= 6 })
	must(t, envoy.Stop(t.Context()))
	log, err := os.Open(file + ".access")
	must(t, err)
	self := traffic.Workload{Namespace: "shop", Name: "front", Service: "front", Version: "v1", Pod: "front-1"}
	must(t, errors.Join(s.Read(t.Context(), Proxy{IP: "127.0.0.1", Self: self}, log), log.Close()))

	sink.mu.Lock()
	defer sink.mu.Unlock()
	by := map[string][]traffic.Record{}
	for _, r := range sink.records {
		by[r.Protocol+" "+r.Path] = append(by[r.Protocol+" "+r.Path], r)
	}
	for key, interf := range map[string]string{"HTTP/1.1 /items/17?user=REDACTED": "/items/{id}", "HTTP/1.1 /broken": "/broken", "TCP ": ""} {
		list := by[key]
		if len(list) != 3 {
			t.Errorf("%d records of %s, want one of each way: %+v", len(list), key, sink.records)
			continue
		}
		a := list[0]
		if a.Interface != interf || a.Destination.Service != "app" || a.Destination.Namespace != "shop" || a.Reporter != traffic.Source || a.Source.Pod != "front-1" ||
			a.Duration < 0 || list[1].Duration < 0 || list[2].Duration < 0 || a.Valid() != nil || time.Since(a.Time) > time.Hour {
			t.Errorf("%+v", a)
		}
		for i := range list { // what they tell in other words
			r := &list[i]
			r.ID, r.Duration, r.Upstream, r.FirstByte, r.Headers = traffic.ID{}, 0, 0, 0, nil
			r.Source.Name, r.Source.Service, r.Source.Version = "", "", ""
		}
		for _, b := range list[1:] {
			if fmt.Sprintf("%+v", list[0]) != fmt.Sprintf("%+v", b) {
				t.Errorf("of one %s\n%+v\n%+v", key, list[0], b)
			}
		}
	}
	if c := s.Counts(); c.Entries != c.Records || c.Malformed != 0 {
		t.Errorf("%+v", c)
	}
}

// get makes one request on a connection of its own; 0 is no answer.
func get(t *testing.T, port int, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	must(t, err)
	req.Close = true
	req.Header.Set("X-Request-Id", "id-of-"+strings.Trim(path, "/"))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_, err = io.Copy(io.Discard, res.Body)
	must(t, errors.Join(err, res.Body.Close()))
	return res.StatusCode
}

func until(t *testing.T, envoy *proc.Process, log string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); runtime.Gosched() {
		select {
		case <-envoy.Done():
			text, _ := os.ReadFile(log)
			t.Fatalf("envoy ended: %v\n%s", envoy.Err(), text)
		default:
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log)
			t.Fatalf("it does not come\n%s", text[max(0, len(text)-3000):])
		}
	}
}
