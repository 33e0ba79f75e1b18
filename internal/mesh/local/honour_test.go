package local_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"squall/internal/mesh/local"
)

func decode(t *testing.T, manifests string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, doc := range bytes.Split([]byte(manifests), []byte("\n---\n")) {
		var o map[string]any
		if err := yaml.Unmarshal(doc, &o); err != nil {
			t.Fatal(err)
		}
		if o != nil {
			out = append(out, o)
		}
	}
	return out
}

func facts(t *testing.T) local.Facts {
	t.Helper()
	f, err := local.ReadFacts(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.FirstPort = 1024
	return f
}

func TestUpstreamSamplesAreHonoured(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("samples: %v %v", files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects := decode(t, string(b))
		if len(objects) == 0 {
			t.Errorf("%s: no objects", file)
		}
		for _, p := range local.Check(objects, facts(t)) {
			t.Errorf("%s: object %d: %s: %s (%s)", file, p.Index, p.Path, p.What, p.Hint)
		}
	}
}

const base = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec:
      containers: [{name: a, image: mccutchen/go-httpbin, ports: [{containerPort: 8080, name: http}]}]
`

// edit sets the field of the base Deployment that a path of keys and "0" names.
func edit(t *testing.T, path string, value string) map[string]any {
	t.Helper()
	o := decode(t, base)[0]
	var v any
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		t.Fatal(err)
	}
	at, keys := o, strings.Split(path, "/")
	for i, key := range keys[:len(keys)-1] {
		switch x := at[key].(type) {
		case map[string]any:
			at = x
		case []any:
			at = x[0].(map[string]any)
		case nil:
			next := map[string]any{}
			at[key], at = next, next
		default:
			t.Fatalf("%s: %T at %d", path, x, i)
		}
	}
	at[keys[len(keys)-1]] = v
	return o
}

func TestCheckDeployment(t *testing.T) {
	const pod, container = "spec/template/spec/", "spec/template/spec/containers/"
	const atPod, at0 = "spec.template.spec.", "spec.template.spec.containers[0]."
	for _, c := range []struct{ field, value, path, what string }{
		// honoured
		{"spec/replicas", "3", "", ""},
		{"spec/strategy", "{type: Recreate}", "", ""},
		{pod + "terminationGracePeriodSeconds", "5", "", ""},
		{container + "env", "[{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}]", "", ""},
		{container + "readinessProbe", "{tcpSocket: {port: http}, periodSeconds: 3, initialDelaySeconds: 1, timeoutSeconds: 2, failureThreshold: 4}", "", ""},
		{container + "envFrom", "[{secretRef: {name: s}}]", "", ""},
		// without meaning
		{container + "imagePullPolicy", "Always", "", ""},
		{container + "resources", "{requests: {cpu: 100m}}", "", ""},
		{container + "securityContext", "{runAsUser: 1000, privileged: false, capabilities: {drop: [ALL]}}", "", ""},
		{pod + "volumes", "[{name: tmp, emptyDir: {}}]", "", ""},
		{container + "lifecycle", "{preStop: {sleep: {seconds: 2}}}", "", ""},
		{pod + "hostNetwork", "false", "", ""},
		{pod + "initContainers", "[]", "", ""},
		{"spec/strategy", "{rollingUpdate: {maxSurge: 1}}", "", ""},
		{"status", "{replicas: 1}", "", ""},
		// problems
		{"spec/replica", "3", "spec.replica", "does not know"},
		{"spec/replicas", "two", "spec.replicas", "is a string"},
		{"spec/paused", "true", "spec.paused", "at once"},
		{"spec/selector", "{matchLabels: {app: b}}", "spec.selector", "does not match"},
		{"spec/selector", "null", "spec.selector", "is missing"},
		{"apiVersion", "apps/v1beta1", "apiVersion", "has no Deployment"},
		{"kind", "StatefulSet", "kind", "Deployments only"},
		{"metadata/finalizers", "[a/b]", "metadata.finalizers", "finalizer"},
		{pod + "hostNetwork", "true", atPod + "hostNetwork", "cannot honour"},
		{pod + "initContainers", "[{name: i, image: i}]", atPod + "initContainers", "init containers"},
		{pod + "containers", "[{name: a, image: squall/load}, {name: b, image: squall/load}]", atPod + "containers", "exactly one container, not 2"},
		{pod + "containers", "[]", atPod + "containers", "exactly one container, not 0"},
		{pod + "volumes", "[{name: c, configMap: {name: c}}]", atPod + "volumes[0]", "no volumes of configMap"},
		{pod + "restartPolicy", "Never", atPod + "restartPolicy", "Never"},
		{pod + "securityContext", "{sysctls: [{name: a, value: b}]}", atPod + "securityContext.sysctls", "kernel"},
		{pod + "containers", "[{name: a, image: nginx}]", at0 + "image", "no program stands for the image nginx"},
		{container + "command", "[/bin/sh, -c, exit]", "", ""},
		{container + "command", "[sh]", at0 + "command", "neither the program"},
		{container + "command", "[/nosuch/program]", at0 + "command", "neither the program"},
		{container + "livenessProbe", "{httpGet: {port: 8080}}", "", ""},
		{container + "startupProbe", "{httpGet: {port: 8080}}", at0 + "startupProbe", "does not restart"},
		{container + "readinessProbe", "{exec: {command: [a]}}", at0 + "readinessProbe.exec", "not here"},
		{container + "readinessProbe", "{httpGet: {port: 9090}}", at0 + "readinessProbe.httpGet.port", "declares no port 9090"},
		{container + "readinessProbe", "{httpGet: {port: admin}}", at0 + "readinessProbe.httpGet.port", "declares no port admin"},
		{container + "readinessProbe", "{httpGet: {port: 8080, scheme: HTTPS}}", at0 + "readinessProbe.httpGet.scheme", "HTTPS"},
		{container + "resources", "{limits: {cpu: 1}}", at0 + "resources.limits", "limits"},
		{container + "ports", "[{containerPort: 5353, protocol: UDP}]", at0 + "ports[0].protocol", "UDP"},
		{container + "ports", "[{containerPort: 80}]", at0 + "ports[0].containerPort", "below 1024"},
		{container + "ports", "[{containerPort: http}]", at0 + "ports[0].containerPort", "is a string"},
		{container + "env", "[{name: A, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}]", at0 + "env[0].valueFrom.fieldRef.fieldPath", "metadata.uid"},
		{container + "env", "[{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]", at0 + "env[0].valueFrom.resourceFieldRef", "resources"},
		{container + "lifecycle", "{preStop: {exec: {command: [a]}}}", at0 + "lifecycle.preStop.exec", "hooks"},
		{container + "lifecycle", "{postStart: {sleep: {seconds: 2}}}", at0 + "lifecycle.postStart", "hooks"},
		{"spec/template/metadata/annotations", `{"sidecar.istio.io/proxyImage": x}`, `spec.template.metadata.annotations["sidecar.istio.io/proxyImage"]`, "cannot honour"},
		{"spec/template/metadata/annotations", `{"proxy.istio.io/config": "concurrency: 2"}`, `spec.template.metadata.annotations["proxy.istio.io/config"]`, "concurrency"},
		{"spec/template/metadata/labels", `{app: a, "istio.io/rev": x}`, `spec.template.metadata.labels["istio.io/rev"]`, "revision"},
	} {
		t.Run(c.field+"="+c.value, func(t *testing.T) {
			expect(t, local.Check([]map[string]any{edit(t, c.field, c.value)}, facts(t)), c.path, c.what)
		})
	}
}

// expect wants one problem, or none when path is "".
func expect(t *testing.T, got []local.Problem, path, what string) {
	t.Helper()
	switch {
	case path == "" && len(got) != 0:
		t.Errorf("problems: %+v", got)
	case path != "" && (len(got) != 1 || got[0].Path != path || !strings.Contains(got[0].What, what)):
		t.Errorf("got %+v, want %s: …%s…", got, path, what)
	}
}

func TestCheckOtherKinds(t *testing.T) {
	service := func(spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: " + spec + "\n"
	}
	for _, c := range []struct{ manifest, path, what string }{
		{service("{selector: {app: a}, ports: [{port: 8000, targetPort: http}]}"), "", ""},
		{service("{type: LoadBalancer, ports: [{port: 8000, nodePort: 30000}]}"), "", ""},
		{service("{type: NodePort, externalTrafficPolicy: Local, ports: [{port: 8000}]}"), "", ""},
		{service("{type: ExternalName}"), "spec.type", "ExternalName"},
		{service("{clusterIP: None, ports: [{port: 8000}]}"), "spec.clusterIP", "headless"},
		{service("{clusterIP: 10.0.0.1, ports: [{port: 8000}]}"), "spec.clusterIP", "loopback"},
		{service("{sessionAffinity: ClientIP, ports: [{port: 8000}]}"), "spec.sessionAffinity", "ClientIP"},
		{service("{ports: [{port: 80}]}"), "spec.ports[0].port", "below 1024"},
		{service("{ports: [{port: 8000, protocol: SCTP}]}"), "spec.ports[0].protocol", "SCTP"},
		{service("3"), "spec", ""},
		{"apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {istio-injection: enabled}}", "", ""},
		{"apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {istio.io/dataplane-mode: ambient}}", `metadata.labels["istio.io/dataplane-mode"]`, "ambient"},
		{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\nimmutable: true", "", ""},
		{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: 1}", "data.a", "has to be a string"},
		{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {version: 1}}", "metadata.labels.version", "has to be a string"},
		{"apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: b}", "", ""},
		{"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\nimagePullSecrets: [{name: x}]", "", ""},
		{"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: x}", "kind", "volumes"},
		{"apiVersion: v1\nkind: Pod\nmetadata: {name: x}", "kind", "Deployments only"},
		{"apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}", "kind", "Deployments only"},
		{"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: x}", "kind", "ingress"},
		{"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}", "kind", "NetworkPolicy"},
		{"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}", "", ""},
		{"apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: x}", "kind", "does nothing for a TLSRoute"},
		{"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: x}", "kind", "Sidecar of its own"},
		{"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [a]}", "", ""},
		{"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [a], gateways: [g, mesh]}", "", ""},
		{"apiVersion: networking.istio.io/v1beta1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [a], gateways: [g]}", "", ""},
		{gatewayOf("{selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: s, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: c}}]}"), "", ""},
		{gatewayOf("{}"), "", ""},
		{gatewayOf("{selector: {istio: egressgateway}}"), "spec.selector", "selects no gateway"},
		{gatewayOf("{selector: {istio: edge}}") + "\n---\n" + gatewayPod("image: auto"), "", ""},
		{gatewayOf("{selector: {istio: other}}") + "\n---\n" + gatewayPod("image: auto"), "spec.selector", "istio=other"},
		{gatewayOf("{servers: [{bind: 10.0.0.1}]}"), "spec.servers[0].bind", "its pod's address"},
		{gatewayOf("{servers: [{hosts: [a]}, {tls: {mode: SIMPLE, serverCertificate: /etc/a}}]}"), "spec.servers[1].tls.serverCertificate", "not here"},
		{gatewayOf("{servers: [{tls: {mode: AUTO_PASSTHROUGH}}]}"), "spec.servers[0].tls.mode", "AUTO_PASSTHROUGH"},
		{gatewayPod("image: docker.io/istio/proxyv2:1.31.0"), "spec.template.spec.containers[0].image", "own proxy"},
		{gatewayPod("image: auto, args: [x]"), "spec.template.spec.containers[0]", "no command, args"},
		{strings.Replace(gatewayPod("image: fortio/fortio"), "templates: gateway", "templates: sidecar", 1), `spec.template.metadata.annotations["inject.istio.io/templates"]`, "sidecar"},
	} {
		t.Run(strings.ReplaceAll(c.manifest, "\n", " "), func(t *testing.T) {
			expect(t, local.Check(decode(t, c.manifest), facts(t)), c.path, c.what)
		})
	}
}

func gatewayOf(spec string) string {
	return "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: x}\nspec: " + spec
}

// gatewayPod is the Deployment of a gateway with the label istio: edge.
func gatewayPod(container string) string {
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: edge}\nspec:\n  selector: {matchLabels: {istio: edge}}\n" +
		"  template:\n    metadata: {labels: {istio: edge}, annotations: {inject.istio.io/templates: gateway}}\n" +
		"    spec: {containers: [{name: istio-proxy, " + container + "}]}"
}

func TestCheckServiceAgainstItsPods(t *testing.T) {
	service := "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {app: a}, ports: [{port: 8000, targetPort: PORT}]}\n"
	for port, what := range map[string]string{"http": "", "8080": "", "9090": "declares no port 9090", "web": "declares no port web"} {
		path := ""
		if what != "" {
			path = "spec.ports[0].targetPort"
		}
		got := local.Check(decode(t, base+strings.Replace(service, "PORT", port, 1)), facts(t))
		expect(t, got, path, what)
		if len(got) == 1 && got[0].Index != 1 {
			t.Errorf("index %d", got[0].Index)
		}
	}
}

func TestAcceptedNamesEachFieldOnceWithItsReason(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range local.Accepted() {
		key := m.Kind + " " + m.Path
		if m.Path == "" || m.Why == "" || seen[key] {
			t.Errorf("%+v", m)
		}
		seen[key] = true
	}
	if !seen["Deployment spec.template.spec.containers[].imagePullPolicy"] {
		t.Error("imagePullPolicy is not in the table")
	}
}

func TestReadFacts(t *testing.T) {
	f, err := local.ReadFacts(map[string]string{"registry.example/team/app:1": "sh -c true"})
	if err != nil || !slices.Contains(f.Images, "team/app") || !slices.Contains(f.Images, local.LoadImage) || f.FirstPort < 1 {
		t.Errorf("%+v %v", f, err)
	}
	for line, what := range map[string]string{"": "write NAME=PROGRAM", "  ": "write NAME=PROGRAM", "./nosuch/program": "cannot be run", "nosuchprogram -x": "cannot be run"} {
		if _, err := local.ReadFacts(map[string]string{"app": line}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(base)
	f.Add("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 1}]}")
	f.Fuzz(func(t *testing.T, manifest string) {
		var o map[string]any
		if yaml.Unmarshal([]byte(manifest), &o) != nil {
			return
		}
		for _, p := range local.Check([]map[string]any{o}, local.Facts{}) {
			if p.What == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}

func TestGatewayAPIIsHonouredForServices(t *testing.T) {
	const route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n  parentRefs: [{%s}]\n"
	for manifest, want := range map[string]string{
		fmt.Sprintf(route, `group: "", kind: Service, name: a, port: 80`):                     "",
		fmt.Sprintf(route, `name: a`):                                                         "spec.parentRefs[0]",
		fmt.Sprintf(route, `kind: Service, name: a`):                                          "spec.parentRefs[0]",
		"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}":        "kind",
		"apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute\nmetadata: {name: a}":       "kind",
		"apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: a}": "",
	} {
		var got string
		for _, p := range local.Check(decode(t, manifest), facts(t)) {
			got += p.Path
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", manifest, got, want)
		}
	}
}
