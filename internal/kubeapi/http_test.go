package kubeapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for path, want := range map[string]resourcePath{
		"/api/v1/pods":                            {version: "v1", resource: "pods"},
		"/api/v1/pods/":                           {version: "v1", resource: "pods"},
		"/api/v1/namespaces":                      {version: "v1", resource: "namespaces"},
		"/api/v1/namespaces/x":                    {version: "v1", resource: "namespaces", name: "x"},
		"/api/v1/namespaces/x/status":             {version: "v1", resource: "namespaces", name: "x", subresource: "status"},
		"/api/v1/namespaces/x/pods":               {version: "v1", namespace: "x", resource: "pods"},
		"/api/v1/namespaces/x/pods/y":             {version: "v1", namespace: "x", resource: "pods", name: "y"},
		"/api/v1/namespaces/x/pods/y/status":      {version: "v1", namespace: "x", resource: "pods", name: "y", subresource: "status"},
		"/apis/apps/v1/deployments":               {group: "apps", version: "v1", resource: "deployments"},
		"/apis/a.b/v1/namespaces/x/things/status": {group: "a.b", version: "v1", namespace: "x", resource: "things", name: "status"},
	} {
		if got, ok := parsePath(path); !ok || got != want {
			t.Errorf("%s: %+v %v", path, got, ok)
		}
	}
	for _, path := range []string{"", "/", "/api", "/api/v1", "/apis/apps/v1", "/api//v1/pods", "/api/v1/namespaces//pods", "/metrics",
		"/api/v1/namespaces/x/pods/y/status/z", "/api/v1/../pods"} {
		if got, ok := parsePath(path); ok {
			t.Errorf("%q is taken for %+v", path, got)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/api/v1/pods", "/apis/apps/v1/namespaces/x/deployments/y/scale", "/api/v1/namespaces/x/status", "//", "/api/v1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p, ok := parsePath(path)
		if !ok {
			return
		}
		if p.resource == "" || p.version == "" || p.subresource != "" && p.name == "" {
			t.Fatalf("%q: %+v", path, p)
		}
		for _, s := range []string{p.group, p.version, p.namespace, p.resource, p.name, p.subresource} {
			if strings.Contains(s, "/") || s == ".." {
				t.Fatalf("%q: %+v", path, p)
			}
		}
		built := "/apis/" + p.group
		if p.group == "" {
			built = "/api"
		}
		built += "/" + p.version
		if p.namespace != "" {
			built += "/namespaces/" + p.namespace
		}
		for _, s := range []string{p.resource, p.name, p.subresource} {
			if s != "" {
				built += "/" + s
			}
		}
		if again, ok := parsePath(built); !ok || again != p {
			t.Fatalf("%q is %+v, but as %q %+v", path, p, built, again)
		}
	})
}

const (
	configMaps  = "/api/v1/namespaces/default/configmaps"
	deployments = "/apis/apps/v1/namespaces/default/deployments"
	services    = "/api/v1/namespaces/default/services"
	virtuals    = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
)

func deployment(name string) string {
	return `{"metadata":{"name":"` + name + `"},"spec":{"selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"}},` +
		`"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}]}]}}}}`
}

// TestRefusals is what the API says no to, with what status, reason and words.
func TestRefusals(t *testing.T) {
	a := start(t, Options{})
	a.must("POST", configMaps, "", `{"metadata":{"name":"here"}}`)
	a.must("POST", deployments, "", deployment("here"))
	a.must("POST", virtuals, "", `{"metadata":{"name":"route"},"spec":{}}`)
	strict := "?fieldValidation=Strict"
	for _, c := range []struct {
		name, method, path, media, body string
		code                            int
		reason, words                   string
	}{
		{"no such resource", "GET", "/api/v1/gadgets", "", "", 404, "NotFound", "could not find the requested resource"},
		{"no such version", "GET", "/apis/apps/v2/deployments", "", "", 404, "NotFound", ""},
		{"the Gateway API", "GET", "/apis/gateway.networking.k8s.io/v1/gateways", "", "", 404, "NotFound", ""},
		{"no such subresource", "GET", configMaps + "/here/status", "", "", 404, "NotFound", ""},
		{"cluster resource in a namespace", "GET", "/api/v1/namespaces/default/nodes", "", "", 404, "NotFound", ""},
		{"no such object", "GET", configMaps + "/gone", "", "", 404, "NotFound", `configmaps "gone" not found`},
		{"update of nothing", "PUT", configMaps + "/gone", "", `{"metadata":{"name":"gone"}}`, 404, "NotFound", ""},
		{"patch of nothing", "PATCH", configMaps + "/gone", "application/merge-patch+json", `{}`, 404, "NotFound", ""},
		{"delete of nothing", "DELETE", configMaps + "/gone", "", "", 404, "NotFound", ""},
		{"no such namespace", "POST", "/api/v1/namespaces/gone/configmaps", "", `{"metadata":{"name":"x"}}`, 404, "NotFound", `namespaces "gone" not found`},
		{"create without a namespace", "POST", "/api/v1/configmaps", "", `{"metadata":{"name":"x"}}`, 405, "MethodNotAllowed", ""},
		{"create on a name", "POST", configMaps + "/x", "", `{"metadata":{"name":"x"}}`, 405, "MethodNotAllowed", ""},
		{"write to discovery", "POST", "/apis", "", "", 405, "MethodNotAllowed", ""},
		{"exists", "POST", configMaps, "", `{"metadata":{"name":"here"}}`, 409, "AlreadyExists", `configmaps "here" already exists`},
		{"old revision", "PUT", configMaps + "/here", "", `{"metadata":{"name":"here","resourceVersion":"1"}}`, 409, "Conflict", "the object has been modified"},
		{"custom resource without a revision", "PUT", virtuals + "/route", "", `{"metadata":{"name":"route"},"spec":{}}`, 422, "Invalid", "metadata.resourceVersion: Invalid value: 0: must be specified for an update"},
		{"another object", "PUT", configMaps + "/here", "", `{"metadata":{"name":"here","uid":"x"}}`, 409, "Conflict", "Precondition failed: UID"},
		{"delete of another object", "DELETE", configMaps + "/here", "", `{"preconditions":{"uid":"x"}}`, 409, "Conflict", "Precondition failed: UID"},
		{"delete of an old revision", "DELETE", configMaps + "/here", "", `{"preconditions":{"resourceVersion":"1"}}`, 409, "Conflict", "Precondition failed: ResourceVersion"},
		{"create with a revision", "POST", configMaps, "", `{"metadata":{"name":"x","resourceVersion":"1"}}`, 400, "BadRequest", "resourceVersion should not be set"},
		{"broken JSON", "POST", configMaps, "", `{"metadata":`, 400, "BadRequest", "unrecognized"},
		{"no object", "POST", configMaps, "", `[]`, 400, "BadRequest", "unrecognized"},
		{"null", "POST", configMaps, "", `null`, 400, "BadRequest", "holds no object"},
		{"broken YAML", "POST", configMaps, "application/yaml", "a: b: c", 400, "BadRequest", "YAML"},
		{"CBOR", "POST", configMaps, "application/cbor", "x", 415, "UnsupportedMediaType", "application/yaml"},
		{"wrong kind", "POST", configMaps, "", `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"x"}}`, 400, "BadRequest", "expected kind (ConfigMap)"},
		{"wrong version", "POST", configMaps, "", `{"kind":"ConfigMap","apiVersion":"v2","metadata":{"name":"x"}}`, 400, "BadRequest", "expected API version (v1)"},
		{"wrong namespace", "POST", configMaps, "", `{"metadata":{"name":"x","namespace":"other"}}`, 400, "BadRequest", "does not match the namespace"},
		{"wrong name", "PUT", configMaps + "/here", "", `{"metadata":{"name":"other"}}`, 400, "BadRequest", "does not match the name on the URL"},
		{"no name", "POST", configMaps, "", `{"metadata":{}}`, 422, "Invalid", "name or generateName is required"},
		{"bad name", "POST", configMaps, "", `{"metadata":{"name":"Big_Name"}}`, 422, "Invalid", "RFC 1123"},
		{"bad label", "POST", configMaps, "", `{"metadata":{"name":"x","labels":{"a":"no spaces"}}}`, 422, "Invalid", "metadata.labels"},
		{"label of another type", "POST", virtuals, "", `{"metadata":{"name":"x","labels":{"a":1}},"spec":{}}`, 400, "BadRequest", "cannot be handled as a VirtualService"},
		{"field of another type", "POST", deployments, "", strings.Replace(deployment("x"), `"spec":{"selector"`, `"spec":{"replicas":"two","selector"`, 1), 400, "BadRequest", "cannot be handled as a Deployment"},
		{"unknown field", "POST", deployments + strict, "", strings.Replace(deployment("x"), `"spec":{"selector"`, `"spec":{"replica":2,"selector"`, 1), 400, "BadRequest", `strict decoding error: unknown field "spec.replica"`},
		{"unknown field deep down", "POST", deployments + strict, "", strings.Replace(deployment("x"), `"image"`, `"imago":"x","image"`, 1), 400, "BadRequest", `unknown field "spec.template.spec.containers[0].imago"`},
		{"unknown Istio field", "POST", virtuals + strict, "", `{"metadata":{"name":"x"},"spec":{"http":[{"fault":{"abortt":{}}}]}}`, 400, "BadRequest", `unknown field "spec.http[0].fault.abortt"`},
		{"unknown metadata", "POST", virtuals + strict, "", `{"metadata":{"name":"x","label":{}},"spec":{}}`, 400, "BadRequest", `unknown field "metadata.label"`},
		{"field twice", "POST", configMaps + strict, "", `{"metadata":{"name":"x"},"data":{"a":"1","a":"2"}}`, 400, "BadRequest", `duplicate field "data.a"`},
		{"YAML field twice", "POST", configMaps + strict, "application/yaml", "metadata: {name: x}\ndata: {a: '1', a: '2'}", 400, "BadRequest", `key "a" already set`},
		{"Istio type", "POST", virtuals, "", `{"metadata":{"name":"x"},"spec":{"http":[{"route":[{"destination":{"host":"h"},"weight":"ten"}]}]}}`, 422, "Invalid", "spec.http[0].route[0].weight"},
		{"Istio requirement", "POST", virtuals, "", `{"metadata":{"name":"x"},"spec":{"http":[{"route":[{"weight":1}]}]}}`, 422, "Invalid", "spec.http[0].route[0].destination: Required value"},
		{"Istio alternatives", "POST", virtuals, "", `{"metadata":{"name":"x"},"spec":{"http":[{"match":[{"uri":{"exact":"a","prefix":"b"}}]}]}}`, 422, "Invalid", "oneOf"},
		{"no selector", "POST", deployments, "", `{"metadata":{"name":"x"},"spec":{"template":{}}}`, 422, "Invalid", "spec.selector: Required value"},
		{"selector of other pods", "POST", deployments, "", strings.Replace(deployment("x"), `"app":"a"`, `"app":"b"`, 1), 422, "Invalid", "`selector` does not match template `labels`"},
		{"another selector", "PATCH", deployments + "/here", "application/merge-patch+json", `{"spec":{"selector":{"matchLabels":{"app":"b"}},"template":{"metadata":{"labels":{"app":"b"}}}}}`, 422, "Invalid", "field is immutable"},
		{"no containers", "POST", "/api/v1/namespaces/default/pods", "", `{"metadata":{"name":"x"},"spec":{}}`, 422, "Invalid", "spec.containers: Required value"},
		{"negative replicas", "PUT", deployments + "/here/scale", "", `{"metadata":{"name":"here"},"spec":{"replicas":-1}}`, 422, "Invalid", "greater than or equal to 0"},
		{"no ports", "POST", services, "", `{"metadata":{"name":"x"},"spec":{}}`, 422, "Invalid", "spec.ports: Required value"},
		{"unnamed ports", "POST", services, "", `{"metadata":{"name":"x"},"spec":{"ports":[{"port":1},{"port":2}]}}`, 422, "Invalid", "spec.ports[0].name: Required value"},
		{"port out of range", "POST", services, "", `{"metadata":{"name":"x"},"spec":{"ports":[{"port":70000}]}}`, 422, "Invalid", "between 1 and 65535"},
		{"another kind of kind", "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "", `{"metadata":{"name":"a.b"},"spec":{}}`, 403, "Forbidden", "fixed set of kinds"},
		{"unknown field selector", "GET", configMaps + "?fieldSelector=data.a%3Db", "", "", 400, "BadRequest", "field label not supported: data.a"},
		{"bad label selector", "GET", configMaps + "?labelSelector=a%3D%3D%3Db", "", "", 400, "BadRequest", ""},
		{"bad revision", "GET", configMaps + "?resourceVersion=x", "", "", 400, "BadRequest", "resourceVersion"},
		{"revision of the future", "GET", configMaps + "?resourceVersion=99999999", "", "", 504, "Timeout", "Too large resource version"},
		{"bad continue", "GET", configMaps + "?continue=x", "", "", 400, "BadRequest", "continue key is not valid"},
		{"initial events of a list", "GET", configMaps + "?sendInitialEvents=true", "", "", 422, "Invalid", "forbidden for list"},
		{"unknown dry run", "POST", configMaps + "?dryRun=Some", "", `{"metadata":{"name":"x"}}`, 400, "BadRequest", "dryRun"},
		{"unknown field validation", "POST", configMaps + "?fieldValidation=Some", "", `{"metadata":{"name":"x"}}`, 400, "BadRequest", "fieldValidation"},
		{"patch of no known kind", "PATCH", configMaps + "/here", "application/json", `{}`, 415, "UnsupportedMediaType", "merge-patch"},
		{"strategic patch of an Istio kind", "PATCH", virtuals + "/x", "application/strategic-merge-patch+json", `{}`, 415, "UnsupportedMediaType", "merge-patch"},
		{"broken patch", "PATCH", configMaps + "/here", "application/merge-patch+json", `{`, 400, "BadRequest", ""},
		{"broken JSON patch", "PATCH", configMaps + "/here", "application/json-patch+json", `{}`, 400, "BadRequest", "JSON patch"},
		{"JSON patch test", "PATCH", configMaps + "/here", "application/json-patch+json", `[{"op":"test","path":"/data","value":1}]`, 422, "Invalid", "test"},
		{"patch of the name", "PATCH", configMaps + "/here", "application/merge-patch+json", `{"metadata":{"name":"x"}}`, 400, "BadRequest", "does not match the name"},
		{"patch of the kind", "PATCH", configMaps + "/here", "application/merge-patch+json", `{"kind":"Secret"}`, 400, "BadRequest", "expected kind"},
		{"patch to nothing", "PATCH", configMaps + "/here", "application/json-patch+json", `[{"op":"replace","path":"","value":null}]`, 400, "BadRequest", ""},
		{"apply without a manager", "PATCH", configMaps + "/x", "application/apply-patch+yaml", `{"apiVersion":"v1","kind":"ConfigMap"}`, 400, "BadRequest", "fieldManager"},
		{"read of a review", "GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", "", 405, "MethodNotAllowed", ""},
		{"delete with another body", "DELETE", configMaps + "/here", "", `{"kind":"ConfigMap"}`, 400, "BadRequest", "DeleteOptions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, out := a.call(c.method, c.path, c.media, c.body)
			if code != c.code || out["kind"] != "Status" || out["status"] != "Failure" || out["code"] != float64(c.code) {
				t.Fatalf("%d %v, want %d", code, out, c.code)
			}
			if c.reason != "" && out["reason"] != c.reason {
				t.Errorf("reason %v, want %s", out["reason"], c.reason)
			}
			if m := text(out, "message"); !strings.Contains(m, c.words) {
				t.Errorf("message %q, want %q", m, c.words)
			}
		})
	}
	if data := a.must("GET", configMaps+"/here", "", ""); data["data"] != nil {
		t.Errorf("a refused write has changed the object: %v", data)
	}
}

func TestBodyLimit(t *testing.T) {
	a := start(t, Options{})
	body := fmt.Sprintf(`{"metadata":{"name":"x"},"data":{"a":%q}}`, strings.Repeat("x", maxBody))
	if code, _, out := a.call("POST", configMaps, "", body); code != http.StatusRequestEntityTooLarge || out["reason"] != "RequestEntityTooLarge" {
		t.Errorf("%d %v", code, out)
	}
}

func TestUnknownFieldsWarn(t *testing.T) {
	a := start(t, Options{})
	body := `{"metadata":{"name":"x"},"spec":{"hosts":["a"],"htpp":[]}}`
	code, h, out := a.call("POST", virtuals, "", body)
	if code != http.StatusCreated || !strings.Contains(h.Get("Warning"), `unknown field \"spec.htpp\"`) {
		t.Errorf("%d, warning %q", code, h.Get("Warning"))
	}
	if lookup(out, "spec", "htpp") != nil {
		t.Errorf("the field is kept: %v", out)
	}
	again := fmt.Sprintf(`{"metadata":{"name":"x","resourceVersion":%q},"spec":{"hosts":["a"],"htpp":[]}}`, text(out, "metadata", "resourceVersion"))
	code, h, _ = a.call("PUT", virtuals+"/x?fieldValidation=Ignore", "", again)
	if code != http.StatusOK || h.Get("Warning") != "" {
		t.Errorf("ignored: %d, warning %q", code, h.Get("Warning"))
	}
}

func TestFixedPaths(t *testing.T) {
	a := start(t, Options{})
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/version", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/networking.istio.io/v1beta1", "/openapi/v3"} {
		if code, _, _ := a.call("GET", path, "", ""); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	for _, path := range []string{"/metrics", "/openapi/v2", "/openapi/v3/apis/none/v1", "/apis/none", "/apis/none/v1", "/api/v2"} {
		if code, _, out := a.call("GET", path, "", ""); code != http.StatusNotFound || out["reason"] != "NotFound" {
			t.Errorf("%s: %d %v", path, code, out)
		}
	}
}
