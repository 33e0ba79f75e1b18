package run_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"squall/internal/check"
	"squall/internal/load"
	"squall/internal/load/fortiorest"
	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/record"
	"squall/internal/scenario"
)

// stockMesh is a local mesh in which the load generator's pod has a real server of Fortio beside its proxy.
type stockMesh struct {
	*local.Mesh
	t       *testing.T
	program string

	mu      sync.Mutex
	cmd     *exec.Cmd
	address string
	// spoil changes or drops an entry of the load generator's access log before it is captured; nil leaves it.
	spoil func(entry []byte) []byte
}

var _ mesh.Dialer = (*stockMesh)(nil)

// Dial connects to the pod's server, which is started.
func (m *stockMesh) Dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	if namespace != "squall" || port != fortiorest.Port || !strings.HasPrefix(pod, "squall-load") {
		return nil, fmt.Errorf("dialled %s/%s:%d", namespace, pod, port)
	}
	if err := m.start(); err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", m.address)
}

func (m *stockMesh) start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		return nil
	}
	args := fortiorest.Args()
	args[2] = "127.0.0.1:0"
	cmd := exec.Command(m.program, args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	cmd.Stdout = cmd.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	// It says where it listens, once its log is read.
	address := regexp.MustCompile(`http-echo[^\n]*127\.0\.0\.1:(\d+)`)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if found := address.FindStringSubmatch(lines.Text()); found != nil {
			m.cmd, m.address = cmd, "127.0.0.1:"+found[1]
			go func() {
				for lines.Scan() { // so that it can go on to write
				}
			}()
			return nil
		}
	}
	return fmt.Errorf("Fortio does not say where it listens: %w", lines.Err())
}

func (m *stockMesh) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.cmd.Process.Kill(); err != nil {
		m.t.Error(err)
	}
}

// CaptureAccess spoils the load generator's entries.
func (m *stockMesh) CaptureAccess(open func(pod string) (mesh.LineWriter, error)) (mesh.Capture, error) {
	return m.Mesh.CaptureAccess(func(pod string) (mesh.LineWriter, error) {
		w, err := open(pod)
		if err != nil || m.spoil == nil || !strings.HasPrefix(pod, "squall-load") {
			return w, err
		}
		return &spoiled{w, m.spoil}, nil
	})
}

type spoiled struct {
	mesh.LineWriter
	spoil func([]byte) []byte
}

func (s *spoiled) Line(entry []byte) error {
	if entry = s.spoil(entry); entry == nil {
		return nil
	}
	return s.LineWriter.Line(entry)
}

// runWithFortio is run with a server of Fortio; prepare changes the mesh before.
func (w *whole) runWithFortio(change func(*stockMesh)) {
	w.t.Helper()
	w.compiled.Plan.Generator = plan.Fortio
	w.runOn("stock", func(m *local.Mesh) mesh.Env {
		env := &stockMesh{Mesh: m, t: w.t, program: w.config.Tools.Fortio}
		if change != nil {
			change(env)
		}
		return env
	})
}

// A load by Fortio's server is judged as one of Squall's own process is, by records made of the proxy's access log.
func TestStockGenerator(t *testing.T) {
	w := prepare(t, "stock.yaml")
	w.runWithFortio(nil)
	w.expect(check.Pass, 0)
	l, err := w.out.Record.Load("aborted")
	if err != nil || l.Count != 1000 || l.Asked != 1000 || l.Complete != "ok" || l.Scheduled || l.WarmUp != 5 {
		t.Fatalf("%+v, %v", l, err)
	}
	if g := l.Generator; g == nil || g.Name != "fortio" || g.Version == "" || g.Codes[200]+g.Codes[503] != 1000 || g.Codes[503] == 0 || g.Mean <= 0 {
		t.Errorf("%+v", l.Generator)
	}
	n, joined := 0, 0
	for s, err := range w.out.Record.Samples("aborted") {
		if err != nil || s.Start < l.Start-0.01 || s.Start+s.Latency > l.Start+l.Seconds+0.01 {
			t.Fatalf("%+v of %+v, %v", s, l, err)
		}
		n++
		if s.Joined && (s.Code == 503) == (s.Pod == "") {
			joined++
		}
	}
	if n != 1000 || joined != 1000 {
		t.Errorf("%d calls, of which %d are joined", n, joined)
	}
}

// Nothing is judged by a load of which the proxy's log does not say what Fortio counted.
func TestStockGeneratorAndItsProxyDisagree(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"an entry is missing": func([]byte) []byte { return nil },
		"another status":      func(b []byte) []byte { return []byte(strings.Replace(string(b), `"code":200`, `"code":201`, 1)) },
		"no mark":             func(b []byte) []byte { return []byte(strings.Replace(string(b), `.aborted"`, `.else"`, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, "stock.yaml")
			w.runWithFortio(func(m *stockMesh) {
				spoiled := false
				m.spoil = func(b []byte) []byte {
					if spoiled || !strings.Contains(string(b), `"code":200`) || !strings.Contains(string(b), `.aborted"`) {
						return b
					}
					spoiled = true
					return spoil(b)
				}
			})
			w.expect(check.Inconclusive, 4, "Fortio counted 1000 calls", "the access log of its proxy has ")
			if w.man.Ended != record.Lost || w.man.Rollback.Objects != "ok" {
				t.Errorf("%+v", w.man)
			}
		})
	}
}

// Nothing is judged by a load whose server died.
func TestStockGeneratorDies(t *testing.T) {
	w := prepareWith(t, "stock.yaml", scenario.Options{Set: map[string]string{"requests": "100000"}})
	w.runWithFortio(func(m *stockMesh) {
		w.hooks.load = func(phase string, s load.Snapshot) {
			if phase == "aborted" {
				m.kill()
			}
		}
	})
	w.expect(check.Inconclusive, 4, "worker squall-load-0 was lost: Fortio")
	if l, err := w.out.Record.Load("aborted"); err != nil || l.Lost == "" || l.Count == 0 || l.Generator != nil {
		t.Errorf("%+v, %v", l, err)
	}
	if w.man.Ended != record.Lost || w.man.Rollback.Objects != "ok" {
		t.Errorf("%+v", w.man)
	}
}

// A halt condition stops Fortio while it calls.
func TestStockGeneratorIsHalted(t *testing.T) {
	w := prepareWith(t, "stock.yaml", scenario.Options{Set: map[string]string{"requests": "100000", "percent": "100"}})
	w.runWithFortio(nil)
	w.expect(check.Halted, 5, "ratio(code == 503) > 0.9")
	l, err := w.out.Record.Load("aborted")
	if err != nil || l.Interrupted == "" || l.Count < 100 || l.Count > 20000 || l.Lost != "" || l.Generator.Codes[503] != l.Count {
		t.Errorf("%+v, %v", l, err)
	}
}
