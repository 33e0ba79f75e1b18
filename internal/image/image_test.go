package image

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// build compiles a program that says word.
func build(t *testing.T, word string, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"go.mod":  "module shop\n\ngo 1.26\n",
		"main.go": "package main\n\nfunc main() { println(\"" + word + "\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", "program", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append([]string{"GOOS=linux", "CGO_ENABLED=0", "GOWORK=off"}, env...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "program")
}

func mustBuild(t *testing.T, p Program) Image {
	t.Helper()
	i, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// The same program gives the same image wherever and whenever it is built; all that changes the image changes its tag.
func TestTagFollowsContent(t *testing.T) {
	path := build(t, "one")
	base := Program{Name: "squall/shop", Path: path, Version: "1"}
	first := mustBuild(t, base)
	elsewhere := filepath.Join(t.TempDir(), "other")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(elsewhere, text, 0o700)
	}
	if err == nil {
		err = os.Chtimes(elsewhere, time.Unix(1, 0), time.Unix(1, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	again := base
	again.Path = elsewhere
	if got := mustBuild(t, again); got.Ref != first.Ref || got.Digest != first.Digest {
		t.Errorf("the same program elsewhere: %s %s, want %s %s", got.Ref, got.Digest, first.Ref, first.Digest)
	}
	if !strings.HasPrefix(first.Ref, "docker.io/squall/shop:sha-") || len(first.Ref) != len("docker.io/squall/shop:sha-")+tagDigits {
		t.Errorf("ref %q", first.Ref)
	}
	for what, p := range map[string]Program{
		"another program": {Name: base.Name, Path: build(t, "two"), Version: "1"},
		"another version": {Name: base.Name, Path: path, Version: "2"},
		"arguments":       {Name: base.Name, Path: path, Version: "1", Args: []string{"a"}},
		"certificates":    {Name: base.Name, Path: path, Version: "1", CACerts: []byte("PEM")},
	} {
		if got := mustBuild(t, p); got.Ref == first.Ref {
			t.Errorf("%s: the tag is the same", what)
		}
	}
}

// files are what an image holds.
func files(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers: %d, %v", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*tar.Header{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = h
	}
}

func TestLayoutAndArchive(t *testing.T) {
	p := Program{Name: "squall/shop", Path: build(t, "one"), Version: "v1.2.3", Args: []string{"serve"}, Env: []string{"A=b"}, CACerts: []byte("PEM")}
	i := mustBuild(t, p)
	file := filepath.Join(t.TempDir(), "shop.tar")
	if err := i.Archive(file); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(i.Ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal([]any{c.OS, c.Architecture, c.Config.User, c.Config.Entrypoint, c.Config.Cmd, c.Config.Env, c.Config.Labels})
	if err != nil {
		t.Fatal(err)
	}
	want := `["linux","` + runtime.GOARCH + `","65532:65532",["/shop"],["serve"],["PATH=/","HOME=/tmp","A=b"],` +
		`{"org.opencontainers.image.title":"squall/shop","org.opencontainers.image.version":"v1.2.3"}]`
	if string(got) != want {
		t.Errorf("configuration\n%s, want\n%s", got, want)
	}
	all := files(t, img)
	for path, mode := range map[string]int64{"shop": 0o755, "tmp/": 0o1777, "etc/passwd": 0o644, "etc/ssl/certs/ca-certificates.crt": 0o644} {
		h := all[path]
		if h == nil || h.Mode != mode || h.Uid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s is %+v, want mode %o, root's, without a time", path, h, mode)
		}
	}
}

func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	i := mustBuild(t, Program{Name: "squall/shop", Path: build(t, "one")})
	for range 2 { // the second time there is nothing to send
		ref, err := i.Push(t.Context(), host+"/team/")
		if err != nil {
			t.Fatal(err)
		}
		if want := host + "/team/squall/shop:" + i.Ref[strings.LastIndexByte(i.Ref, ':')+1:]; ref != want {
			t.Errorf("pushed %s, want %s", ref, want)
		}
		tag, err := name.NewTag(ref)
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(tag, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if id, err := img.ConfigName(); err != nil || id.String() != i.Digest {
			t.Errorf("the registry has %s, %v; want %s", id, err, i.Digest)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		r, err := layers[0].Compressed()
		if err == nil {
			_, err = gzip.NewReader(r)
		}
		if err != nil {
			t.Errorf("the layer is not compressed: %v", err)
		}
	}
}

func TestPushFailures(t *testing.T) {
	i := mustBuild(t, Program{Name: "squall/shop", Path: build(t, "one")})
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	host := strings.TrimPrefix(refusing.URL, "http://")
	for repo, want := range map[string]string{
		host + "/team":     "docker login " + host,
		"127.0.0.1:1/team": "check the registry's name and the network",
		"Not A Registry":   "write it as registry.example.com/team",
	} {
		if _, err := i.Push(t.Context(), repo); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("push to %s: %v, want %q", repo, err, want)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		script:                                 "it is no program for Linux",
		build(t, "one", "GOOS=darwin"):         "it is no program for Linux",
		build(t, "one", "GOARCH=s390x"):        "nothing is known about its machine",
		filepath.Join(dir, "there is no such"): "no such file",
	} {
		if _, err := Build(Program{Name: "squall/shop", Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if sh, err := exec.LookPath("sh"); err == nil && runtime.GOOS == "linux" {
		if _, err := Build(Program{Name: "squall/shop", Path: sh}); err == nil || !strings.Contains(err.Error(), "not static") {
			t.Errorf("a dynamic program: %v", err)
		}
	}
}

func TestResolve(t *testing.T) {
	m := Mapping([]Image{{Name: "squall/bookinfo", Ref: "docker.io/squall/bookinfo:sha-1"}})
	for ref, want := range map[string]string{
		"docker.io/squall/bookinfo:1.0.0":           "docker.io/squall/bookinfo:sha-1",
		"squall/bookinfo":                           "docker.io/squall/bookinfo:sha-1",
		"localhost:5000/squall/bookinfo:x":          "docker.io/squall/bookinfo:sha-1",
		"docker.io/mccutchen/go-httpbin:2.26.0":     "docker.io/mccutchen/go-httpbin:2.26.0",
		"registry.example.com/team/squall/bookinfo": "registry.example.com/team/squall/bookinfo",
		"not an image":                              "not an image",
	} {
		if got := Resolve(m, ref); got != want {
			t.Errorf("%s becomes %s, want %s", ref, got, want)
		}
	}
	if got := Name("mysql:8"); got != "mysql" {
		t.Errorf("name of mysql:8 is %s", got)
	}
}

// Every image that a fixture names is made here or known to be pulled.
func TestFixturesImagesAreKnown(t *testing.T) {
	known := append(Upstream(), "squall/bookinfo", "squall/es-flowcontrol", "squall/issuer")
	seen := map[string]bool{}
	err := filepath.WalkDir("../../fixtures", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" || strings.Contains(path, "testdata") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, line := range strings.Split(string(text), "\n") {
			ref, ok := strings.CutPrefix(strings.TrimLeft(line, " -"), "image: ")
			if !ok {
				continue
			}
			seen[Name(ref)] = true
			if !slices.Contains(known, Name(ref)) {
				t.Errorf("%s names %s, which is neither built nor listed", path, ref)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(Upstream(), "squall/bookinfo", "squall/es-flowcontrol", "squall/issuer") { // squall/load is the run's own
		if !seen[name] {
			t.Errorf("no fixture names %s", name)
		}
	}
}
