package kubeapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzWrite sends any write to a server that holds a few objects. Whatever comes, the answer is an object or a Status
// that says the same code, and the server goes on.
func FuzzWrite(f *testing.F) {
	for _, seed := range [][4]string{
		{"POST", configMaps, "", `{"metadata":{"name":"x"},"data":{"a":"b"}}`},
		{"PUT", deployments + "/d", "application/yaml", "metadata: {name: d}\nspec: {}"},
		{"PATCH", deployments + "/d", "application/strategic-merge-patch+json", `{"spec":{"template":{"spec":{"containers":[{"$patch":"delete","name":"c"},{"$patch":"replace"}],"$setElementOrder/containers":[{"name":"c"}]}}}}`},
		{"PATCH", deployments + "/d", "application/json-patch+json", `[{"op":"move","from":"/spec","path":"/spec/template"},{"op":"add","path":"","value":[]}]`},
		{"PATCH", virtuals + "/v", "application/merge-patch+json", `{"spec":{"http":[{"match":[null],"route":7}]},"metadata":{"finalizers":[1]}}`},
		{"PATCH", virtuals + "/v?fieldManager=f&force=true", "application/apply-patch+yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: {hosts: [a]}"},
		{"PATCH", deployments + "/d?fieldManager=f", "application/apply-patch+yaml", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"spec":{"containers":[{"name":"c"},{"name":"c"}]}}}}`},
		{"PATCH", deployments + "/d/scale", "application/merge-patch+json", `{"spec":{"replicas":1e30}}`},
		{"PATCH", deployments + "/d/status", "application/merge-patch+json", `{"status":{"conditions":[{}]}}`},
		{"DELETE", "/api/v1/namespaces/default", "", `{"propagationPolicy":"Orphan"}`},
		{"DELETE", configMaps + "?labelSelector=a", "", `{"preconditions":{}}`},
		{"POST", services, "application/vnd.kubernetes.protobuf", "k8s\x00\n\x03v1"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	whole := New(Options{})
	f.Fuzz(func(t *testing.T, method, path, media, body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
		if err != nil || method == http.MethodGet || method == "" {
			return
		}
		if media != "" {
			r.Header.Set("Content-Type", media)
		}
		s := &Server{resources: whole.resources, cidr: whole.cidr, now: whole.now, schemas: whole.schemas, managers: whole.managers,
			store: newStore(whole.resources, 10, 10)}
		if err := s.seed(nil); err != nil {
			t.Fatal(err)
		}
		for at, body := range map[string]string{configMaps: `{"metadata":{"name":"m","labels":{"a":"b"}}}`, deployments: deployment("d"),
			virtuals: `{"metadata":{"name":"v"},"spec":{"hosts":["a"]}}`} {
			if code := send(t, s, httptest.NewRequest("POST", at, strings.NewReader(body))); code != http.StatusCreated {
				t.Fatalf("%s: %d", at, code)
			}
		}
		send(t, s, r)
		if code := send(t, s, httptest.NewRequest("GET", configMaps, nil)); code != http.StatusOK {
			t.Fatalf("afterwards: %d", code)
		}
		for _, o := range s.Snapshot() {
			if text(o, "metadata", "name") == "" || text(o, "metadata", "uid") == "" || text(o, "kind") == "" {
				t.Fatalf("stored: %v", o)
			}
		}
	})
}

func send(t *testing.T, s *Server, r *http.Request) int {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Body.String() == "ok" {
		return w.Code
	}
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%s %s: %d %v in %q", r.Method, r.URL, w.Code, err, w.Body.String())
	}
	if code, ok := out["code"].(float64); ok && out["kind"] == "Status" && int(code) != w.Code {
		t.Fatalf("%s %s: %d, but the Status says %v", r.Method, r.URL, w.Code, out)
	}
	if w.Code == http.StatusInternalServerError {
		t.Fatalf("%s %s %q: %v", r.Method, r.URL, r.Header.Get("Content-Type"), out["message"])
	}
	return w.Code
}
