package step

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/fields"
	"squall/internal/scenario"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n--- got\n%s--- want\n%s", file, got, want)
	}
}

// read loads a scenario and the objects of its fixtures.
func read(t *testing.T, file string) (*scenario.Scenario, []*unstructured.Unstructured) {
	t.Helper()
	s, err := scenario.Load(file, scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for _, fixture := range s.Spec.Fixtures {
		list, err := scenario.LoadManifests(filepath.Join(filepath.Dir(file), fixture))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			u := &unstructured.Unstructured{Object: o.Object}
			u.SetNamespace(s.Spec.Namespace)
			objects = append(objects, u)
		}
	}
	return s, objects
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("%s: no files: %v", pattern, err)
	}
	return list
}

func options(s *scenario.Scenario, target string) Options {
	return Options{Namespace: s.Spec.Namespace, Marker: "squall-1a2b-s1", Target: target, Client: "squall-load"}
}

func target(s *scenario.Scenario) string {
	u, err := url.Parse(s.Spec.Baseline.Load.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// request is what the load of a stage sends.
func request(s *scenario.Scenario, stage scenario.Stage) *Request {
	load := stage.Load
	if load == nil {
		load = s.Spec.Baseline.Load
	}
	u, err := url.Parse(load.URL)
	if err != nil {
		return nil
	}
	return &Request{Method: "GET", Path: u.RequestURI(), Headers: load.Headers}
}

func TestCompile(t *testing.T) {
	for _, file := range append(files(t, "testdata/good/*.yaml"), files(t, "testdata/cluster/*.yaml")...) {
		t.Run(strings.TrimPrefix(file, "testdata/"), func(t *testing.T) {
			s, objects := read(t, file)
			untouched := deepCopies(objects)
			var out bytes.Buffer
			for _, stage := range s.Spec.Stages {
				opts := options(s, target(s))
				opts.Request = request(s, stage)
				opts.Cluster = filepath.Base(filepath.Dir(file)) == "cluster"
				compiled, err := Compile(NewSet(objects), stage.Apply, opts)
				if err != nil {
					t.Fatalf("%s: %v", stage.Name, err)
				}
				fmt.Fprintf(&out, "######## %s\n", stage.Name)
				write(t, &out, compiled)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", out.Bytes())
			if !reflect.DeepEqual(objects, untouched) {
				t.Error("the given objects were changed")
			}
		})
	}
}

func deepCopies(list []*unstructured.Unstructured) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, len(list))
	for i, u := range list {
		out[i] = u.DeepCopy()
	}
	return out
}

func write(t *testing.T, out *bytes.Buffer, c Compiled) {
	t.Helper()
	for _, change := range c.Changes {
		verb := "creates"
		if change.Before != nil {
			verb = "changes"
		}
		fmt.Fprintf(out, "### %s %s\n# host %s, marks %v\n", strings.Join(change.Steps, ", "), verb, change.Host, change.Marks)
		data, err := yaml.Marshal(change.After.Object)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	for _, a := range c.Actions {
		fmt.Fprintf(out, "### %s: %s\n", a.Step, cmp.Or(a.String(), "is looked at"))
	}
	fmt.Fprintf(out, "### proofs of %s\n", strings.Join(c.Faults, ", "))
	for _, p := range c.Proofs {
		fmt.Fprintf(out, "- %s: %s\n  %s\n", p.Step, p.Text, p.Expr)
	}
	for _, u := range c.Unproven {
		fmt.Fprintf(out, "- %s is not proven: %s\n", u.Step, u.Reason)
	}
}

func TestBadSteps(t *testing.T) {
	for _, file := range files(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, objects := read(t, file)
			var out bytes.Buffer
			for _, stage := range s.Spec.Stages {
				compiled, err := Compile(NewSet(objects), stage.Apply, options(s, ""))
				var problems scenario.Problems
				if !errors.As(err, &problems) || len(compiled.Changes) > 0 {
					t.Fatalf("%s: got %v and %v, want problems", stage.Name, compiled, err)
				}
				fmt.Fprintf(&out, "%v\n", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", out.Bytes())
		})
	}
}

// TestUntouchedFieldsSurvive takes out of the changed objects what the steps set, and compares the rest exactly.
func TestUntouchedFieldsSurvive(t *testing.T) {
	s, objects := read(t, "testdata/good/merge.yaml")
	compiled, err := Compile(NewSet(objects), s.Spec.Stages[1].Apply[:1], options(s, ""))
	if err != nil {
		t.Fatal(err)
	}
	change := compiled.Changes[0]
	strip := func(u *unstructured.Unstructured) map[string]any {
		c := u.DeepCopy()
		for _, route := range fields.Maps(specOf(c), "http") {
			delete(route, "fault")
			delete(route, "name")
		}
		return c.Object
	}
	if before, after := strip(change.Before), strip(change.After); !reflect.DeepEqual(before, after) {
		t.Errorf("got %v\nwant %v", after, before)
	}
}

func TestEveryKindHasAnEntry(t *testing.T) {
	for kind := range scenario.Kinds() {
		if entry, ok := table()[kind]; !ok || entry.compile == nil || entry.proofs == nil {
			t.Errorf("%s cannot be compiled", kind)
		}
	}
	if len(table()) != len(scenario.Kinds()) {
		t.Errorf("%d kinds are compiled, %d can be written", len(table()), len(scenario.Kinds()))
	}
}

func TestPlaintextCaller(t *testing.T) {
	s, objects := read(t, "testdata/good/new-objects.yaml")
	opts := options(s, "")
	opts.Plaintext = true
	_, err := Compile(NewSet(objects), s.Spec.Stages[2].Apply, opts)
	if err == nil || strings.Count(err.Error(), "the load generator has none (set spec.client.sidecar to true)") != 2 {
		t.Errorf("a fault for a caller without a proxy: %v", err)
	}
	compiled, err := Compile(NewSet(objects), s.Spec.Stages[7].Apply[:1], opts)
	if err != nil {
		t.Fatal(err)
	}
	want := `access("httpbin").count == 0 && count(error == "reset") + count(error == "eof") > 0`
	if got := compiled.Proofs[0].Expr; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestStepsOfOneEnvironment compiles steps where they cannot be: they are refused with what to use instead.
func TestStepsOfOneEnvironment(t *testing.T) {
	s, objects := read(t, "testdata/good/faults.yaml")
	opts := options(s, target(s))
	held := s.Spec.Stages[len(s.Spec.Stages)-1].Apply
	opts.Cluster = true
	_, err := Compile(NewSet(objects), held[:1], opts)
	if err == nil || !strings.Contains(err.Error(), "does not let Squall stop a program of a pod (use partition") {
		t.Errorf("stop on a cluster: %v", err)
	}
	opts.Cluster, opts.Midway = false, true
	_, err = Compile(NewSet(objects), held[1:], opts)
	if err == nil || !strings.Contains(err.Error(), "cannot be proven, since its own proxies are cut off too") {
		t.Errorf("a cut under load, further on: %v", err)
	}
}

func TestResolve(t *testing.T) {
	_, objects := read(t, "testdata/good/merge.yaml")
	set := NewSet(objects)
	for name, want := range map[string]string{
		"httpbin":                               "httpbin.squall.svc.cluster.local",
		"httpbin.squall":                        "httpbin.squall.svc.cluster.local",
		"httpbin.squall.svc":                    "httpbin.squall.svc.cluster.local",
		"httpbin.squall.svc.cluster.local":      "httpbin.squall.svc.cluster.local",
		"api.example.com":                       "api.example.com",
		"httpbin.other":                         "",
		"http":                                  "",
		"":                                      "",
		"httpbin.squall.svc.cluster.local.more": "",
	} {
		if h, ok := set.Resolve(name, "squall"); h.FQDN != want || ok != (want != "") {
			t.Errorf("%q: got %q, want %q", name, h.FQDN, want)
		}
	}
}

func TestMarksAreOfRoutesThatAllCallersHave(t *testing.T) {
	for _, c := range []struct{ name, routes, want string }{
		{"no match", `[{"route":[{}]}]`, "default.m"},
		{"named", `[{"name":"a","route":[{}]}]`, "a.m"},
		{"a match for some callers comes first", `[{"match":[{"sourceLabels":{"a":"b"}}]},{"name":"b"}]`, "b.m"},
		{"an alternative for all", `[{"match":[{"gateways":["g"]},{"name":"x","uri":{"prefix":"/"}}]}]`, "default.m.x"},
		{"none for all", `[{"match":[{"sourceNamespace":"n"}]}]`, ""},
		{"one without a match is best", `[{"match":[{"uri":{"exact":"/"}}]},{"name":"c"},{"name":"d"}]`, "c.m"},
		{"unreachable", `[{"delegate":{"name":"d"}},{"name":"b"}]`, ""},
	} {
		var routes []map[string]any
		if err := json.Unmarshal([]byte(c.routes), &routes); err != nil {
			t.Fatal(err)
		}
		marks := (&compiler{opts: Options{Marker: "m"}}).markRoutes(routes)
		got := ""
		if len(marks) > 0 {
			got = marks[0].Name
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
