package traffic

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func names(t *testing.T, caps Caps, templates ...string) *Interfaces {
	t.Helper()
	var list []Template
	for _, s := range templates {
		parsed, err := ParseTemplate(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, parsed)
	}
	in, err := NewInterfaces(caps, list...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestLearned(t *testing.T) {
	in := names(t, Caps{})
	for path, want := range map[string]string{
		"/":                           "/",
		"":                            "/",
		"/get?a=1/2#x":                "/get",
		"/get/":                       "/get",
		"//get":                       "/get",
		"http://h:8000/get":           "/get",
		"http://h":                    "/",
		"/api/v1/products/17/reviews": "/api/v1/products/{id}/reviews",
		"/s3/oauth2/ipv4":             "/s3/oauth2/ipv4",
		"/status/503":                 "/status/{id}",
		"/o/1c9d6cc3-93b3-9a5c-a0ab-7c9f0a7e3d11": "/o/{id}",
		"/o/deadbeefcafe42":                       "/o/{id}",
		"/o/deadbeef":                             "/o/deadbeef",
		"/o/01ARZ3NDEKTSV4RRFFQ69G5FAV":           "/o/{id}",
		"/o/2024-01-15":                           "/o/{id}",
		"/o/10.0.0.1":                             "/o/{id}",
		"/o/order-17":                             "/o/order-{id}",
		"/o/order-17.json":                        "/o/order-{id}.json",
		"/o/17.json":                              "/o/{id}.json",
		"/o/a@b.com":                              "/o/{id}",
		"/o/" + strings.Repeat("x", 99):           "/o/{id}",
		"/a;jsessionid=1/b":                       "/a/b",
		strings.Repeat("/a", 40):                  strings.Repeat("/a", 16) + "/{rest}",
		"/o/\xff1\n":                              "/o/\uFFFD1\uFFFD",
	} {
		if got := in.Of(Key{"n", "s"}, "GET", path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
}

func TestGiven(t *testing.T) {
	in := names(t, Caps{}, "/products/{id}", "GET /products/top", "POST /products/{id}", "/files/{path...}", "/{a}/{b}/end")
	for path, want := range map[string]string{
		"/products/0": "/products/{id}", "/products/top": "/products/top", "/files": "/files/{path...}", "/files/a/b": "/files/{path...}",
		"/products/x/end": "/{a}/{b}/end", "/elsewhere/9": "/elsewhere/{id}",
	} {
		if got := in.Of(Key{"n", "s"}, "GET", path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
	if got := in.Of(Key{"n", "s"}, "PUT", "/products/top"); got != "/products/{id}" {
		t.Errorf("a template of another method was taken: %s", got)
	}
	for _, bad := range []string{"", "products", "FETCH /a", "/a?b", "/{a", "/a{b}", "/{}", "/{a...}/b", "/{...}"} {
		if tpl, err := ParseTemplate(bad); err == nil {
			t.Errorf("%q is a template: %+v", bad, tpl)
		}
	}
	if _, err := NewInterfaces(Caps{}, Template{Path: "/a/{b}"}, Template{Path: "/a/{c}"}); err == nil {
		t.Error("two templates that take the same paths were taken")
	}
}

// A client may ask for as many paths as it likes: the interfaces stay few, and what has no name is counted.
func TestMillionPaths(t *testing.T) {
	in := names(t, Caps{PerService: 100, Total: 150}, "/given/{id}")
	seen := map[string]int{}
	for i := range 1_000_000 {
		word := letters(i)
		var path string
		switch i % 4 {
		case 0:
			path = "/users/" + word
		case 1:
			path = "/" + word + "/" + word
		case 2:
			path = "/given/" + word
		case 3:
			path = fmt.Sprintf("/item/%d", i)
		}
		seen[in.Of(Key{"n", "s"}, "GET", path)]++
	}
	if len(seen) > 103 {
		t.Errorf("%d interfaces", len(seen))
	}
	if seen["/given/{id}"] != 250_000 || seen["/item/{id}"] != 250_000 || seen["/users/{value}"] < 249_950 || seen["/{value}/{value}"] < 249_950 {
		t.Errorf("%v", seen)
	}
	for i := range 1000 { // services and methods, too
		seen[in.Of(Key{"n", letters(i)}, letters(i), "/")]++
	}
	if len(in.learned) > 151 || in.total > 150 {
		t.Errorf("%d services, %d interfaces", len(in.learned), in.total)
	}
	if seen[Other] == 0 || in.Others() != uint64(seen[Other]) {
		t.Errorf("%d others, %d counted", seen[Other], in.Others())
	}
}

func letters(i int) string {
	b := []byte("z")
	for ; i > 0; i /= 26 {
		b = append(b, byte('a'+i%26))
	}
	return string(b)
}

func TestOpenAPI(t *testing.T) {
	const doc = `
openapi: 3.0.0
servers: [{url: "https://h/{base}/v1/"}]
paths:
  /products/{id}: {get: {}, delete: {}, summary: x, x-other: {}}
  /files/{name}.{ext}: {get: {}}
`
	list, err := OpenAPI(Key{"n", "s"}, []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInterfaces(Caps{}, list...)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/products/zzz": "/products/{id}", "/base/v1/products/z": "/base/v1/products/{id}", "/files/a.b": "/files/{name.ext}"} {
		if got := in.Of(Key{"n", "s"}, "GET", path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
	if got := in.Of(Key{"n", "t"}, "GET", "/products/zzz"); got != "/products/zzz" {
		t.Errorf("another service's path is %s", got)
	}
	for _, bad := range []string{"", "a: [", "openapi: 3.0.0", "paths: {/a: {get: {}}}", "openapi: 3\npaths: {a: {get: {}}}"} {
		if list, err := OpenAPI(Key{}, []byte(bad)); err == nil {
			t.Errorf("%q has the interfaces %v", bad, list)
		}
	}
}

func FuzzInterface(f *testing.F) {
	f.Add("/a/1?b#c")
	f.Add("http://x/%2e/..;a=b")
	in, err := NewInterfaces(Caps{}, Template{Path: "/given/{x}"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := in.Of(Key{"n", "s"}, "GET", path)
		if got != Other && got[0] != '/' || got != clean(got, 4096) || len(got) > 17*(3*maxSegment+2) {
			t.Errorf("%q is %q", path, got)
		}
		if again := in.Of(Key{"n", "s"}, "GET", path); again != got && got != Other {
			t.Errorf("%q is %q, then %q", path, got, again)
		}
	})
}

func BenchmarkInterface(b *testing.B) {
	in, err := NewInterfaces(Caps{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		in.Of(Key{"bookinfo", "reviews"}, "GET", "/api/v1/products/17/reviews?user=x")
	}
}

func BenchmarkPrepare(b *testing.B) {
	in, err1 := NewInterfaces(Caps{})
	red, err2 := NewRedactor(Rules{})
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	p := NewPreparer(red, in, nil)
	b.ReportAllocs()
	for b.Loop() {
		r := Record{Time: time.Unix(1e9, 0), Path: "/api/v1/products/17/reviews?user=x", Method: "GET", UserAgent: "curl/8.1.2", Authority: "reviews:9080",
			RequestID: "1c9d6cc3-93b3-9a5c-a0ab-7c9f0a7e3d11", Protocol: "HTTP/1.1", Code: 200}
		p.Prepare(&r, "node", "stream")
	}
}
