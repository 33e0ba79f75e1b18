package run_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"squall/internal/check"
	"squall/internal/load"
	"squall/internal/load/worker"
	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/record"
	"squall/internal/scenario"
)

// workerMesh is a local mesh in which each pod of the load generator has a real worker process beside its proxy.
type workerMesh struct {
	*local.Mesh
	t       *testing.T
	program string

	mu      sync.Mutex
	workers map[string]*exec.Cmd
	address map[string]string
}

var _ mesh.Dialer = (*workerMesh)(nil)

// Dial connects to the pod's worker.
func (m *workerMesh) Dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	if namespace != "squall" || port != worker.Port || !strings.HasPrefix(pod, "squall-load") {
		return nil, fmt.Errorf("dialled %s/%s:%d", namespace, pod, port)
	}
	addr, err := m.start(pod)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (m *workerMesh) start(pod string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if addr := m.address[pod]; addr != "" {
		return addr, nil
	}
	cmd := exec.Command(m.program, "-port", "0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	m.workers[pod], m.address[pod] = cmd, strings.TrimSpace(strings.TrimPrefix(line, "listening at "))
	return m.address[pod], err
}

func (m *workerMesh) kill(pod string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.workers[pod].Process.Kill(); err != nil {
		m.t.Error(err)
	}
}

// runWithWorkers is run with worker processes; kill names the pod whose worker dies in the stage.
func (w *whole) runWithWorkers(kill string) {
	w.t.Helper()
	program := filepath.Join(w.t.TempDir(), "squall-worker")
	if out, err := exec.Command("go", "build", "-o", program, "squall/cmd/squall-worker").CombinedOutput(); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	w.runOn("workers", func(m *local.Mesh) mesh.Env {
		env := &workerMesh{Mesh: m, t: w.t, program: program, workers: map[string]*exec.Cmd{}, address: map[string]string{}}
		w.hooks.load = func(phase string, s load.Snapshot) {
			if kill != "" && phase == "more" {
				env.kill(kill)
			}
		}
		return env
	})
}

// A load that real worker processes drive, each through a proxy of its own, is judged as one of Squall's own process is.
func TestWorkersOfTheirOwn(t *testing.T) {
	w := prepare(t, "workers.yaml")
	w.runWithWorkers("")
	w.expect(check.Pass, 0)
	l, err := w.out.Record.Load("more")
	if err != nil || len(l.Workers) != 3 || l.Count != 1500 || l.Complete != "ok" || !l.Scheduled {
		t.Fatalf("%+v, %v", l, err)
	}
	counts := map[int]int64{}
	for q, err := range w.out.Record.Requests("more") {
		if err != nil || q.Start < l.Start || q.Start+q.Latency > l.Start+l.Seconds+0.01 {
			t.Fatalf("%+v of %+v, %v", q, l, err)
		}
		counts[q.Worker]++
	}
	for i, x := range l.Workers {
		if x.Count != 500 || counts[i] != 500 || x.Clock <= 0 || x.Clock > 0.1 || x.P99 < x.P50 || x.P50 <= 0 {
			t.Errorf("%+v with %d records", x, counts[i])
		}
	}
	if skew, ok := l.Skew(func(x record.WorkerLoad) float64 { return x.QPS }); !ok || skew > 1.5 {
		t.Errorf("the workers' rates are %v", l.Workers)
	}
}

// Nothing is judged by a load that lost a worker, and the verdict names it.
func TestAWorkerIsLost(t *testing.T) {
	w := prepareWith(t, "workers.yaml", scenario.Options{Set: map[string]string{"requests": "20000"}})
	w.runWithWorkers("squall-load-1")
	w.expect(check.Inconclusive, 4, "worker squall-load-1 was lost")
	if w.man.Ended != record.Lost || w.man.Rollback.Objects != "ok" {
		t.Errorf("%+v", w.man)
	}
	l, err := w.out.Record.Load("more")
	if err != nil || l.Lost == "" || l.Count == 0 || l.Seconds > 5 {
		t.Errorf("%+v, %v", l, err)
	}
	for _, p := range w.out.Result.Phases {
		for _, o := range p.Outcomes {
			if p.Name == "more" && o.Verdict != check.Inconclusive {
				t.Errorf("a load that is not whole gives %+v", o)
			}
		}
	}
}

// A load that may lose a worker goes on, and what is known of it is judged.
func TestAWorkerMayBeLost(t *testing.T) {
	w := prepareWith(t, "workers.yaml", scenario.Options{Set: map[string]string{"allow": "1"}})
	w.runWithWorkers("squall-load-2")
	l, err := w.out.Record.Load("more")
	if err != nil || l.Lost != "" || l.Interrupted != "" || l.Count >= 1500 || l.Count < 1000 || l.Workers[2].Lost == "" || l.Workers[1].Count != 500 {
		t.Fatalf("%+v, %v", l, err)
	}
	for _, p := range w.out.Result.Phases {
		if p.Name == "more" && p.Verdict != check.Pass {
			t.Errorf("%s: %s", p.Verdict, p.Reason)
		}
	}
}
