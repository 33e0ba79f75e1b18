package step

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// object is a map written as JSON.
func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

func TestConjunction(t *testing.T) {
	for _, c := range []struct{ name, have, narrow, want, conflict string }{
		{"no match", `[]`, `{"uri":{"exact":"/a"}}`, `[{"uri":{"exact":"/a"}}]`, ""},
		{"other fields", `[{"uri":{"exact":"/a"}}]`, `{"headers":{"x":{"exact":"1"}}}`, `[{"uri":{"exact":"/a"},"headers":{"x":{"exact":"1"}}}]`, ""},
		{"the same", `[{"uri":{"exact":"/a"}}]`, `{"uri":{"exact":"/a"}}`, `[{"uri":{"exact":"/a"}}]`, ""},
		{"different texts", `[{"uri":{"exact":"/a"}},{"port":1}]`, `{"uri":{"exact":"/b"}}`, `[{"port":1,"uri":{"exact":"/b"}}]`, ""},
		{"a text below a prefix", `[{"uri":{"prefix":"/a"}}]`, `{"uri":{"exact":"/a/b"}}`, `[{"uri":{"exact":"/a/b"}}]`, ""},
		{"a text beside a prefix", `[{"uri":{"exact":"/b"}}]`, `{"uri":{"prefix":"/a"}}`, `null`, ""},
		{"the longer prefix", `[{"uri":{"prefix":"/a"}}]`, `{"uri":{"prefix":"/a/b"}}`, `[{"uri":{"prefix":"/a/b"}}]`, ""},
		{"prefixes apart", `[{"uri":{"prefix":"/a"}}]`, `{"uri":{"prefix":"/b"}}`, `null`, ""},
		{"a text of an expression", `[{"headers":{"x":{"regex":"a.*"}}}]`, `{"headers":{"x":{"exact":"ab"}}}`, `[{"headers":{"x":{"exact":"ab"}}}]`, ""},
		{"an expression is for the whole text", `[{"headers":{"x":{"regex":"a"}}}]`, `{"headers":{"x":{"exact":"ab"}}}`, `null`, ""},
		{"the same expression", `[{"uri":{"regex":"a.*"}}]`, `{"uri":{"regex":"a.*"}}`, `[{"uri":{"regex":"a.*"}}]`, ""},
		{"two expressions", `[{"uri":{"regex":"a.*"}}]`, `{"uri":{"regex":"b.*"}}`, `null`, "uri"},
		{"an expression and a prefix", `[{"headers":{"x":{"regex":"a.*"}}}]`, `{"headers":{"x":{"prefix":"a"}}}`, `null`, "headers"},
		{"presence", `[{"headers":{"x":{}}}]`, `{"headers":{"x":{"exact":"a"}}}`, `null`, "headers"},
		{"case", `[{"ignoreUriCase":true,"uri":{"exact":"/a"}}]`, `{"uri":{"exact":"/A"}}`, `null`, "uri"},
		{"labels", `[{"sourceLabels":{"app":"a"}}]`, `{"sourceLabels":{"app":"b"}}`, `null`, ""},
		{"the same label", `[{"sourceLabels":{"app":"a"}}]`, `{"sourceLabels":{"app":"a"}}`, `[{"sourceLabels":{"app":"a"}}]`, ""},
	} {
		var have, want []map[string]any
		if err := json.Unmarshal([]byte(c.have), &have); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		before, _ := json.Marshal(have)
		got, conflict := conjunction(have, object(t, c.narrow))
		if !reflect.DeepEqual(got, want) || conflict != c.conflict {
			t.Errorf("%s: got %v and %q, want %v and %q", c.name, got, conflict, want, c.conflict)
		}
		if after, _ := json.Marshal(have); string(after) != string(before) {
			t.Errorf("%s: the given matches were changed to %s", c.name, after)
		}
	}
}

func TestReaches(t *testing.T) {
	request := &Request{Method: "GET", Path: "/a/b?lang=en", Headers: map[string]string{"End-User": "jason"}}
	for _, c := range []struct {
		name, routes string
		request      *Request
		want         []reach
	}{
		{"first come", `[{},{}]`, request, []reach{always, never}},
		{"header", `[{"match":[{"headers":{"end-user":{"exact":"jason"}}}]},{}]`, request, []reach{always, never}},
		{"other header", `[{"match":[{"headers":{"end-user":{"exact":"ann"}}}]},{}]`, request, []reach{never, always}},
		{"no such header", `[{"match":[{"headers":{"x-team":{"exact":"a"}}}]},{}]`, request, []reach{never, always}},
		{"presence", `[{"match":[{"headers":{"end-user":{}}}]},{}]`, request, []reach{always, never}},
		{"a header that proxies add", `[{"match":[{"headers":{"x-forwarded-for":{"exact":"a"}}}]},{}]`, request, []reach{maybe, maybe}},
		{"path without query", `[{"match":[{"uri":{"exact":"/a/b"}}]},{}]`, request, []reach{always, never}},
		{"all of an alternative", `[{"match":[{"uri":{"prefix":"/a"},"method":{"exact":"POST"}}]},{}]`, request, []reach{never, always}},
		{"one alternative", `[{"match":[{"method":{"exact":"POST"}},{"name":"n","queryParams":{"lang":{"regex":"e."}}}]},{}]`, request, []reach{always, never}},
		{"unknown field", `[{"match":[{"port":80}]},{"match":[{"uri":{"prefix":"/a"}}]},{}]`, request, []reach{maybe, maybe, never}},
		{"case", `[{"match":[{"ignoreUriCase":true,"uri":{"exact":"/A/B"}}]},{}]`, request, []reach{maybe, maybe}},
		{"another service's requests", `[{"match":[{"uri":{"exact":"/a"}}]},{},{}]`, nil, []reach{maybe, maybe, never}},
	} {
		var routes []map[string]any
		if err := json.Unmarshal([]byte(c.routes), &routes); err != nil {
			t.Fatal(err)
		}
		if got := reaches(routes, c.request); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestHonouredNamesAreNotRefused has what Istio's pilot still reads, in every version of the API.
func TestHonouredNamesAreNotRefused(t *testing.T) {
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		for kind, spec := range map[string]string{
			"VirtualService": `{hosts: [a], http: [{fault: {delay: {percent: 100, fixedDelay: 1s}, abort: {percentage: {value: 1}, grpcStatus: UNAVAILABLE}},
				mirror: {host: b}, mirrorPercent: 5, corsPolicy: {allowOrigin: [a]}, route: [{destination: {host: a}}]}]}`,
			"DestinationRule": `{host: a, trafficPolicy: {loadBalancer: {simple: LEAST_CONN}, outlierDetection: {consecutive5xxErrors: 5,
				splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1}}}`,
		} {
			u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": networking + "/" + version, "kind": kind}}
			var body map[string]any
			if err := yaml.Unmarshal([]byte(spec), &body); err != nil {
				t.Fatal(err)
			}
			u.Object["spec"] = body
			if got := Refuse(u); len(got) > 0 {
				t.Errorf("%s %s: %v", version, kind, got)
			}
		}
	}
}
