package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"squall/internal/proc"
)

// The files of the machine that say what a name stands for. Each program sees a hosts file of its own pod in place of the first.
const (
	hostsFile     = "/etc/hosts"
	switchFile    = "/etc/nsswitch.conf"
	nscdSocket    = "/var/run/nscd/socket"
	unconnectable = "/dev/null" // in place of a socket
)

// naming is whether and how programs can call services by name.
type naming struct {
	machine string // the machine's own hosts file

	known chan struct{} // closed when the rest is known
	err   error         // why they cannot
	binds []proc.Bind   // beside the pod's hosts file
}

func newNaming() (*naming, error) {
	b, err := os.ReadFile(hostsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // then nothing can take its place, which learn finds out
		return nil, fmt.Errorf("names of the machine: %w", err)
	}
	return &naming{machine: string(b), known: make(chan struct{})}, nil
}

// learn finds out whether a program can see other files than the machine's.
func (n *naming) learn(ctx context.Context, dir string) error {
	defer close(n.known)
	if n.err = proc.CanBind(ctx, hostsFile); n.err != nil {
		return nil
	}
	var err error
	n.binds, err = otherSources(dir, "/")
	return err
}

// await returns the files that a program sees in place of the machine's. unnamed is why it cannot call services by name.
func (n *naming) await(ctx context.Context, p *pod) (binds []proc.Bind, unnamed, err error) {
	select {
	case <-n.known:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if n.err != nil {
		return nil, n.err, nil
	}
	return n.bindsOf(p), nil, nil
}

// bindsOf are the files that a program sees where it can.
func (n *naming) bindsOf(p *pod) []proc.Bind {
	return append([]proc.Bind{{From: p.hosts.path, To: hostsFile}}, n.binds...)
}

// otherSources keeps what would answer in place of the hosts file away from programs: services that nsswitch.conf has the C
// library ask first, and its cache. root is / but in tests.
func otherSources(dir, root string) ([]proc.Bind, error) {
	var out []proc.Bind
	path := filepath.Join(root, switchFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if text, changed := filesFirst(string(b)); changed {
		own := filepath.Join(dir, "nsswitch.conf")
		if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
			return nil, err
		}
		out = append(out, proc.Bind{From: own, To: path})
	}
	if socket := filepath.Join(root, nscdSocket); exists(socket) {
		out = append(out, proc.Bind{From: unconnectable, To: socket})
	}
	return out, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// filesFirst is nsswitch.conf with the hosts file as the first source of hosts, and whether that is a change.
func filesFirst(text string) (out string, changed bool) {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		rule, _, _ := strings.Cut(line, "#")
		sources, ok := strings.CutPrefix(strings.TrimSpace(rule), "hosts:")
		if fields := strings.Fields(sources); ok && (len(fields) == 0 || fields[0] != "files") {
			lines[i], changed = "hosts: files "+strings.Join(fields, " ")+"\n", true
		}
	}
	return strings.Join(lines, ""), changed
}

// serviceNames are the names of a service in a namespace, the longest first.
func serviceNames(s *corev1.Service, namespace string) []string {
	name := s.Name + "." + s.Namespace
	out := []string{name + ".svc." + trustDomain, name + ".svc", name}
	if s.Namespace == namespace && s.Name != "localhost" {
		out = append(out, s.Name)
	}
	return out
}

// hosts is a pod's hosts file. It is written in place, with one write, and what does not change stays where it is, so that a reader
// never misses a name that was there before and after.
type hosts struct {
	path  string
	lines []string // a line that is not wanted any more is blank
}

// hostsLines are a pod's names: those of the services stand for where the pod's proxy takes its calls. Without a proxy they
// stand for the cluster IPs, which the forwarder takes. What the machine says of other names is kept.
func hostsLines(p *pod, services []*corev1.Service, machine string) []string {
	var own []string
	taken := map[string]bool{}
	for _, s := range services {
		address := p.calls.String()
		if !p.hasSidecar() {
			address = s.Spec.ClusterIP
		}
		if _, err := netip.ParseAddr(address); err != nil {
			continue // a service without an address
		}
		names := serviceNames(s, p.object.Namespace)
		for _, name := range names {
			taken[name] = true
		}
		own = append(own, address+"\t"+strings.Join(names, " ")+"\n")
	}
	var out []string
	localhost := false
	for line := range strings.Lines(machine) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		fields = slices.DeleteFunc(fields, func(name string) bool { return taken[strings.ToLower(name)] })
		if len(fields) > 1 {
			out = append(out, fields[0]+"\t"+strings.Join(fields[1:], " ")+"\n")
			localhost = localhost || slices.Contains(fields, "localhost")
		}
	}
	if !localhost {
		out = append(out, "127.0.0.1\tlocalhost\n")
	}
	return append(out, own...)
}

// update makes the file have the lines wanted, in any order.
func (h *hosts) update(want []string) error {
	changed := false
	for i, line := range h.lines {
		if strings.TrimSpace(line) != "" && !slices.Contains(want, line) {
			h.lines[i], changed = strings.Repeat("\n", len(line)), true
		}
	}
	for _, line := range want {
		if slices.Contains(h.lines, line) {
			continue
		}
		changed = true
		free := slices.IndexFunc(h.lines, func(l string) bool { return len(l) == len(line) && strings.TrimSpace(l) == "" })
		if free < 0 {
			h.lines = append(h.lines, line)
		} else {
			h.lines[free] = line
		}
	}
	if !changed {
		return nil
	}
	f, err := os.OpenFile(h.path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(strings.Join(h.lines, "")), 0) // it never gets shorter
	return errors.Join(err, f.Close())
}

// writeHosts keeps the pods' hosts files as the services say.
func (k *kubelet) writeHosts(pods ...*pod) error {
	services, err := k.sortedServices()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pods {
		if p.program.Builtin {
			continue // Squall itself knows where the proxy is
		}
		if err := p.hosts.update(hostsLines(p, services, k.mesh.naming.machine)); err != nil {
			errs = append(errs, fmt.Errorf("names of the services for %s: %w", p.object.Name, err))
		}
	}
	return errors.Join(errs...)
}

// sayUnnamed says in the log of a program why it cannot call services by name.
func (m *Mesh) sayUnnamed(p *pod, why error) error {
	f, err := os.OpenFile(m.opts.Log(p.object.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of %s: %w", p.object.Name, err)
	}
	text := fmt.Sprintf("squall: this program cannot call other services by name: it cannot see another %s than the machine's: %v\n"+
		"squall: 'squall doctor' says what to do", hostsFile, why)
	if p.hasSidecar() {
		text += fmt.Sprintf("; the program's own calls can go to %s, with the service in the Host header", p.calls)
	}
	_, err = fmt.Fprintln(f, text)
	return errors.Join(err, f.Close())
}
