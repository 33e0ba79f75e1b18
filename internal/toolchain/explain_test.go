package toolchain

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestExplain(t *testing.T) {
	for file, want := range map[string]string{
		"go-checksum.txt":    "not what the project pins",
		"go-disk.txt":        "free some space",
		"go-network.txt":     "check the network",
		"go-old.txt":         "install Go 1.26",
		"go-sum-missing.txt": "restore them from the project",
		"pip-disk.txt":       "free some space",
		"pip-hash.txt":       "not what the project pins",
		"pip-missing.txt":    "install Python 3 with pip",
		"pip-network.txt":    "check the network",
		"pip-nomatch.txt":    "glibc 2.31",
	} {
		t.Run(file, func(t *testing.T) {
			output, err := os.ReadFile(filepath.Join("testdata/output", file))
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, explain(tiny(), errors.New("exit status 1"), string(output)), "exit status 1", want)
		})
	}
	full := &os.PathError{Op: "write", Path: "/x", Err: os.ErrInvalid}
	wantError(t, explain(tiny(), full, ""), "write /x", "see the error above")
	if err := explain(tiny(), context.Canceled, "no such host"); !errors.Is(err, context.Canceled) || errors.As(err, new(*Error)) {
		t.Errorf("a cancelled build is explained as %v", err)
	}
}

func TestSupported(t *testing.T) {
	for _, tc := range []struct {
		name         Name
		goos, goarch string
		ok           bool
	}{
		{Envoy, "linux", "amd64", true}, {Envoy, "linux", "arm64", true}, {Envoy, "linux", "riscv64", false},
		{Envoy, "darwin", "arm64", false}, {Istiod, "darwin", "arm64", true},
	} {
		err := supported(tc.name, tc.goos, tc.goarch)
		if (err == nil) != tc.ok {
			t.Errorf("%s on %s/%s: %v", tc.name, tc.goos, tc.goarch, err)
		}
		if err != nil {
			wantError(t, err, tc.goos+"/"+tc.goarch, "--envoy PATH")
		}
	}
}

func TestUpdateAndLines(t *testing.T) {
	var b strings.Builder
	lines := Lines(&b)
	for _, u := range []Update{
		{Tool: Istiod, Activity: "building istiod"},
		{Tool: Envoy, Activity: "fetching envoy"},
		{Tool: Istiod, Activity: "building istiod", Elapsed: time.Second},
		{Tool: Istiod, Activity: "building istiod", Detail: "412 packages compiled", Elapsed: 37 * time.Second},
		{Tool: Istiod, Activity: "building istiod", Elapsed: 38 * time.Second},
		{Tool: Envoy, Activity: "fetching envoy", Elapsed: 3 * time.Second, Done: true},
		{Tool: Istiod, Activity: "building istiod", Elapsed: 50 * time.Second, Done: true, Err: errors.New("x")},
	} {
		lines(u)
	}
	want := `building istiod… 0 s
fetching envoy… 0 s
building istiod… 37 s, 412 packages compiled
fetching envoy… 3 s, done
building istiod… 50 s, failed
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
