package toolchain

import (
	"bufio"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"squall/internal/proc"
)

// goBuild compiles r into dir and returns its version.
func (in *installer) goBuild(ctx context.Context, r recipe, e entry, dir string) (version string, err error) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return "", &Error{r.name, fixGo, errors.New("go, which builds it, is not in PATH")}
	}
	out := filepath.Join(dir, string(r.name))
	spec := proc.Spec{
		Name: "go build of " + string(r.name), Path: goTool, LogFile: e.log,
		Args: []string{"build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w" + r.flags, "-o", out, r.pkg},
		Dir:  filepath.Join(in.opts.Root, filepath.Dir(r.pins[0])),
		Env: append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0",
			"GOOS="+in.goos, "GOARCH="+runtime.GOARCH),
	}
	packages := &packageCount{path: e.log}
	done := in.trackDetail(r, fmt.Sprintf("building %s (first time only, %s)", r.name, r.expect), packages.String)
	defer func() { done(err) }()
	if err := in.run(ctx, r, e, spec); err != nil {
		return "", err
	}
	version, err = goVersion(out, r)
	if r.own && err == nil {
		version = "sources " + strings.TrimPrefix(filepath.Base(e.dir), string(r.name)+"-")
	}
	return version, err
}

// run runs a builder to its end, or kills it and all that it started when ctx is done. Its error says what to do. Its
// temporary files are in the entry's new folder, which a killed builder cannot leave behind for long.
func (in *installer) run(ctx context.Context, r recipe, e entry, spec proc.Spec) (err error) {
	tmp := filepath.Join(e.unfinished(), "tmp")
	if err := errors.Join(os.RemoveAll(e.log), os.Mkdir(tmp, 0o755)); err != nil {
		return explain(r, err, "")
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	spec.Contain = true // compilers are grandchildren
	spec.Env = append(spec.Env, "TMPDIR="+tmp, "GOTMPDIR="+tmp)
	if err = proc.Run(ctx, spec); err == nil || ctx.Err() != nil {
		return err
	}
	output, readErr := os.ReadFile(e.log)
	if errors.Is(readErr, fs.ErrNotExist) {
		readErr = nil // it did not even start
	}
	return explain(r, errors.Join(err, readErr), string(output))
}

// goVersion reads a Go program's own record of what it was built from.
func goVersion(path string, r recipe) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", &Error{r.name, "give another program.", fmt.Errorf("read its version: %w", err)}
	}
	if info.Path != r.pkg {
		return "", &Error{r.name, "give another program.", fmt.Errorf("%s is the program %s, not %s", path, info.Path, r.pkg)}
	}
	version := info.Main.Version
	for _, dep := range info.Deps {
		switch {
		case dep.Path != r.also:
		case info.Main.Version == "(devel)": // a main of the project's own
			version = dep.Version
		default:
			version += fmt.Sprintf(" (%s %s)", dep.Path, dep.Version)
		}
	}
	return version, nil
}

// packageCount counts what go build -v has printed so far.
type packageCount struct {
	path                 string
	offset               int64
	downloaded, compiled int
}

// String reads on in the log, and says how far the build is.
func (c *packageCount) String() string {
	f, err := os.Open(c.path)
	if err != nil {
		return "" // not begun
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewReader(io.NewSectionReader(f, c.offset, 1<<30))
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		c.offset += int64(len(line))
		if strings.HasPrefix(line, "go: downloading ") {
			c.downloaded++
		} else {
			c.compiled++
		}
	}
	switch {
	case c.compiled > 0:
		return fmt.Sprintf("%d packages compiled", c.compiled)
	case c.downloaded > 0:
		return fmt.Sprintf("%d modules downloaded", c.downloaded)
	}
	return ""
}
