package toolchain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	opts := Options{Root: project(t), CacheDir: t.TempDir()}
	write(t, opts.Root, "tools/httpbin/go.mod", "", 0o644)
	write(t, opts.Root, "tools/httpbin/go.sum", "", 0o644)
	find := func(name string) Finding {
		t.Helper()
		findings, err := Doctor(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if f.OK == (f.Fix != "") {
				t.Errorf("%+v: a fix is for what is not OK, and for nothing else", f)
			}
			if f.Detail == "" {
				t.Errorf("%s says nothing", f.Name)
			}
		}
		i := slices.IndexFunc(findings, func(f Finding) bool { return f.Name == name })
		if i < 0 {
			t.Fatalf("no finding %s in %+v", name, findings)
		}
		return findings[i]
	}
	if f := find("go"); !f.OK {
		t.Errorf("%+v", f)
	}
	if f := find("loopback addresses"); !f.OK {
		t.Errorf("%+v", f)
	}
	if f := find("names of services"); !strings.Contains(f.Detail, "can call each other by name") {
		t.Errorf("%+v", f)
	}
	if f := find("fortio"); f.OK {
		t.Errorf("a program without a pin: %+v", f)
	}
	if f := find("httpbin"); !f.OK || !strings.Contains(f.Detail, "made when first needed") {
		t.Errorf("%+v", f)
	}
	t.Setenv("PATH", t.TempDir())
	if f := find("go"); f.OK {
		t.Errorf("without go: %+v", f)
	}
	if f := find("python3 with pip"); f.OK || !strings.Contains(f.Fix, "--envoy PATH") {
		t.Errorf("without python3: %+v", f)
	}
	if f := find("names of services"); !strings.Contains(f.Detail, "cannot call each other by name") || !strings.Contains(f.Detail, "util-linux") {
		t.Errorf("without mount: %+v", f)
	}
	opts.Envoy = write(t, t.TempDir(), "envoy", fmt.Sprintf(fakeEnvoy, "1.40.0"), 0o755)
	if f := find("python3 with pip"); !f.OK {
		t.Errorf("without python3, with an Envoy given: %+v", f)
	}
	opts.Envoy = write(t, t.TempDir(), "envoy", fmt.Sprintf(fakeEnvoy, "1.2.3"), 0o755)
	if f := find("envoy"); f.OK || !strings.Contains(f.Detail, "1.2.3") {
		t.Errorf("another Envoy: %+v", f)
	}
}

func TestOlder(t *testing.T) {
	for _, tc := range []struct {
		got, want [2]string
		older     bool
	}{
		{[2]string{"1", "26"}, [2]string{"1", "26"}, false}, {[2]string{"1", "25"}, [2]string{"1", "26"}, true},
		{[2]string{"2", "0"}, [2]string{"1", "26"}, false}, {[2]string{"1", "100"}, [2]string{"1", "26"}, false},
		{[2]string{"1", "x"}, [2]string{"1", "26"}, true},
	} {
		if got := older(tc.got[:], tc.want[:]); got != tc.older {
			t.Errorf("older(%v, %v) = %v", tc.got, tc.want, got)
		}
	}
}
