package scenario

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	valid := func(name string) string {
		return "apiVersion: squall/v1alpha1\nkind: Scenario\nmetadata: {name: " + name + ", labels: {a: b}}\nspec:\n" +
			"  hypothesis: It holds.\n  baseline: {skip: none}\n" +
			"  stages: [{name: a, load: {url: http://a, requests: 1}, checks: [p50 < 1s]}]\n"
	}
	for name, text := range map[string]string{
		"circuit.yaml":         valid("circuit"),
		"sub/file-name.yml":    valid("given-name"),
		"twice-a.yaml":         valid("twice"),
		"twice-b.yaml":         valid("twice"),
		"broken.yaml":          "a: [",
		"part.yaml":            "apiVersion: squall/v1alpha1\nkind: Fragment\nspec: {}\n",
		"manifest.yaml":        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n",
		"wrong-version.yaml":   "apiVersion: squal/v1alpha1\nkind: Scenario\n",
		"wrong-kind.yaml":      "apiVersion: squall/v1alpha1\nkind: Scnario\n",
		"notes.txt":            "no scenario",
		"testdata/ignored.yml": valid("ignored"),
		".hidden/ignored.yaml": valid("hidden"),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestList(t *testing.T) {
	list, err := List(folder(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range list {
		names = append(names, l.Name)
		if (l.Err != nil) != slices.Contains([]string{"broken", "wrong-kind", "wrong-version"}, l.Name) {
			t.Errorf("%s: %v", l.Name, l.Err)
		}
		if l.Err == nil && (l.Hypothesis != "It holds." || l.Labels["a"] != "b") {
			t.Errorf("%s: %+v", l.Name, l)
		}
	}
	if got := strings.Join(names, " "); got != "broken circuit given-name twice twice wrong-kind wrong-version" {
		t.Errorf("got %s", got)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(folder(t), link); err != nil {
		t.Fatal(err)
	}
	if linked, err := List(link); err != nil || len(linked) != len(list) || linked[1].File != filepath.Join(link, filepath.Base(list[1].File)) {
		t.Errorf("by a link: %v, %v", linked, err)
	}
	if _, err := List("testdata/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestFind(t *testing.T) {
	dir := folder(t)
	for _, c := range []struct{ name, want, wantErr string }{
		{"circuit", "circuit", ""},
		{"given-name", "given-name", ""},
		{"file-name", "given-name", ""},
		{filepath.Join(dir, "circuit.yaml"), "circuit", ""},
		{"circut", "", `did you mean "circuit"?`},
		{"nonsense", "", "there is: broken, circuit, given-name, twice, twice"},
		{"twice", "", "2 scenarios are named"},
		{"broken", "", "broken YAML"},
	} {
		s, err := Find(dir, c.name, Options{})
		switch {
		case c.wantErr != "":
			if err == nil || !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("%s: got %v, want %s", c.name, err, c.wantErr)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case s.Metadata.Name != c.want:
			t.Errorf("%s: got %s, want %s", c.name, s.Metadata.Name, c.want)
		}
	}
	var missing *NotFoundError
	if _, err := Find(t.TempDir(), "a", Options{}); !errors.As(err, &missing) || !strings.Contains(err.Error(), "there are none") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"circuit", "outlier", "delay", "abort"}
	for word, want := range map[string]string{
		"circiut": "circuit", "CIRCUIT": "circuit", "dely": "delay", "abrot": "abort", "mirror": "", "": "", "x": "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
	if got := DidYouMean("mirror", words); got != "there is abort, circuit, delay, outlier" {
		t.Errorf("got %q", got)
	}
	if got := DidYouMean("a", nil); got != "" {
		t.Errorf("got %q", got)
	}
}
