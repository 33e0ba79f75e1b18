package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no files: %v", pattern, err)
	}
	return files
}

func TestBadFilesReportEveryProblem(t *testing.T) {
	for _, file := range glob(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := Load(file, Options{})
			var problems Problems
			if !errors.As(err, &problems) || s != nil {
				t.Fatalf("got %v and %v, want problems", s, err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", []byte(err.Error()+"\n"))
		})
	}
}

func TestGoodFiles(t *testing.T) {
	for _, file := range glob(t, "testdata/good/*.yaml") {
		if strings.HasSuffix(file, ".frag.yaml") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := Load(file, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			encoder := json.NewEncoder(&out)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(s); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".json", out.Bytes())
		})
	}
}

func TestShippedScenariosAreValid(t *testing.T) {
	list, err := List("../../scenarios")
	if err != nil || len(list) == 0 {
		t.Fatalf("%d scenarios, %v", len(list), err)
	}
	for _, l := range list {
		if l.Err != nil {
			t.Error(l.Err)
		}
	}
}

func TestPlaces(t *testing.T) {
	s, err := Load("testdata/good/full.yaml", Options{})
	if err != nil {
		t.Fatal(err)
	}
	stage := s.Spec.Stages[0]
	for _, c := range []struct{ what, got, want string }{
		{"a value", s.At("spec.stages[0].name").String(), "testdata/good/full.yaml:30:11"},
		{"a field that is not there", s.At("spec.stages[0].load.nothing").String(), "testdata/good/full.yaml:46:5"},
		{"a fragment's value", s.At("spec.client.labels.zone").String(), "testdata/good/deeper.frag.yaml:5:36"},
		{"a quoted key", s.At(`spec.images["docker.io/a/b:1"]`).String(), "testdata/good/full.yaml:17:31"},
		{"a plain check", s.Spec.Baseline.Checks[0].At(7).String(), "testdata/good/full.yaml:28:13"},
		{"a quoted check", stage.Checks[0].At(1).String(), "testdata/good/full.yaml:61:8"},
		{"a check with a variable", stage.Checks[1].At(7).String(), "testdata/good/full.yaml:62:7"},
		{"a folded check", stage.Checks[2].At(9).String(), "testdata/good/full.yaml:63:7"},
		{"a halt", s.Spec.Halt[0].At(1).String(), "testdata/good/full.yaml:71:5"},
		{"a step", stage.Apply[0].At("").String(), "testdata/good/full.yaml:33:7"},
		{"a step's field", stage.Apply[7].At("subsets.v2").String(), "testdata/good/full.yaml:40:54"},
		{"a step's file", stage.Apply[10].Resolve("file", "extra.yaml"), "testdata/good/extra.yaml"},
		{"a later problem", s.Problem("spec.fixtures[0]", "no such folder", "").Error(),
			"testdata/good/full.yaml:16:14: spec.fixtures[0]: no such folder"},
	} {
		if c.got != c.want {
			t.Errorf("%s is at %s, want %s", c.what, c.got, c.want)
		}
	}
}

func TestVariables(t *testing.T) {
	document := func(url, requests string) []byte {
		return []byte(`apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: v}
spec:
  hypothesis: It holds.
  variables: {host: httpbin, n: 50, debug: false, one: 1}
  baseline: {skip: none}
  stages:
  - name: a
    load: {url: "` + url + `", requests: "` + requests + `"}
    checks: [count() > 0]
`)
	}
	for _, c := range []struct {
		name, url, requests string
		set                 map[string]string
		wantURL             string
		wantRequests        int64
		wantErr             string
	}{
		{"defaults", "http://${host}:8000", "${n}", nil, "http://httpbin:8000", 50, ""},
		{"override", "http://${host}:8000", "${n}", map[string]string{"n": "7", "host": "x"}, "http://x:8000", 7, ""},
		{"escape", "http://a/$${host}", "${one}", nil, "http://a/${host}", 1, ""},
		{"number in a text", "http://a/${n}/${debug}", "${one}", nil, "http://a/50/false", 1, ""},
		{"unknown override", "http://a", "${one}", map[string]string{"hots": "x"}, "", 0,
			`--set hots: the scenario has no variable "hots" (did you mean "host"?)`},
		{"wrong type", "http://a", "${one}", map[string]string{"n": "many"}, "", 0,
			`--set n: "many" is not a number, as the default is`},
		{"wrong truth", "http://a", "${one}", map[string]string{"debug": "perhaps"}, "", 0,
			`--set debug: "perhaps" is neither true nor false, as the default is`},
		{"override of a type that does not fit", "http://a", "${n}", map[string]string{"n": "0.5"}, "", 0,
			`v.yaml:10:39: spec.stages[0].load.requests: must be a whole number, not a number`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse("v.yaml", document(c.url, c.requests), Options{Set: c.set})
			if c.wantErr != "" {
				if err == nil || err.Error() != c.wantErr {
					t.Fatalf("got %v, want %s", err, c.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if l := s.Spec.Stages[0].Load; l.URL != c.wantURL || l.Requests != c.wantRequests {
				t.Errorf("got %s %d, want %s %d", l.URL, l.Requests, c.wantURL, c.wantRequests)
			}
		})
	}
}

func TestHugeFileIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "huge.yaml")
	if err := os.WriteFile(file, bytes.Repeat([]byte("# filler\n"), 1<<18), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file, Options{})
	if err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestMissingFileKeepsItsCause(t *testing.T) {
	if _, err := Load("testdata/none.yaml", Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestTooManyIncludes(t *testing.T) {
	dir := t.TempDir()
	for i := range maxIncludes + 2 {
		text := fmt.Sprintf("apiVersion: squall/v1alpha1\nkind: Fragment\nspec: {include: [f%d.yaml]}\n", i+1)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d.yaml", i)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data := []byte("apiVersion: squall/v1alpha1\nkind: Scenario\nspec: {include: [f0.yaml]}\n")
	_, err := Parse(filepath.Join(dir, "main.yaml"), data, Options{})
	if err == nil || !strings.Contains(err.Error(), "more than 64 files are included") {
		t.Errorf("got %v", err)
	}
}
