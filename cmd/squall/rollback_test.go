package main

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/check"
	"squall/internal/kubeapi"
	"squall/internal/kubeapi/kubeapitest"
	"squall/internal/mesh"
	"squall/internal/proc"
	"squall/internal/record"
	"squall/internal/run"
)

const (
	beforeRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin, namespace: squall, labels: {team: sea}, annotations: {note: ours}}
spec: {host: httpbin, trafficPolicy: {connectionPool: {tcp: {maxConnections: 100}}}}`
	firstRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin, namespace: squall, labels: {team: sea}, annotations: {note: ours}}
spec: {host: httpbin, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}`
	secondRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin, namespace: squall, labels: {team: sea}, annotations: {note: ours}}
spec: {host: httpbin, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}, outlierDetection: {consecutive5xxErrors: 1}}}`
	newService = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin, namespace: squall}
spec: {hosts: [httpbin], http: [{timeout: 1s, route: [{destination: {host: httpbin}}]}]}`
)

func object(text string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		panic(err)
	}
	return u
}

// makeChanges is a run that notes and makes changes through an API, as run does, and then waits to be killed.
func makeChanges(dir, kubeconfig string) error {
	ctx := context.Background()
	objects, err := connect(kubeconfig)
	if err != nil {
		return err
	}
	rec, err := record.Open(dir)
	if err != nil {
		return err
	}
	self, err := proc.Self()
	if err != nil {
		return err
	}
	if err := rec.WriteJSON(run.OwnerFile, run.Owner{Identity: self}); err != nil {
		return err
	}
	journal, err := run.OpenJournal(rec.Path(record.JournalFile))
	if err != nil {
		return err
	}
	for _, text := range []string{firstRule, newService, secondRule} {
		after := object(text)
		before, err := objects.Get(ctx, mesh.RefOf(after))
		if err != nil {
			return err
		}
		if err := journal.Add("breaker", "step", mesh.RefOf(after), before); err != nil {
			return err
		}
		stored, err := objects.Apply(ctx, after)
		if err != nil {
			return err
		}
		if _, err := journal.Made(stored); err != nil {
			return err
		}
	}
	// an undo that is on disk, and whose change was never sent
	if err := journal.Add("breaker", "never sent", mesh.RefOf(object(strings.ReplaceAll(newService, "name: httpbin", "name: never"))), nil); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("changed\n"); err != nil {
		return err
	}
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

// api serves an in-memory API and returns a kubeconfig for it.
func api(t *testing.T) (server *kubeapi.Server, kubeconfig string) {
	t.Helper()
	server = kubeapi.New(kubeapi.Options{})
	url := kubeapitest.Serve(t, server)
	return server, write(t, filepath.Join(t.TempDir(), "kubeconfig"), string(server.Kubeconfig(url, "squall")))
}

// objectsOf are those of the API that a kubeconfig leads to.
func objectsOf(t *testing.T, kubeconfig string) *mesh.Objects {
	t.Helper()
	cfg, err := mesh.Connect(kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := mesh.NewObjects(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// snapshot is all that the API holds, less what it counts itself.
func snapshot(server *kubeapi.Server) []map[string]any {
	var out []map[string]any
	for _, o := range server.Snapshot() {
		u := &unstructured.Unstructured{Object: o}
		u.SetResourceVersion("")
		u.SetGeneration(0)
		u.SetManagedFields(nil)
		out = append(out, u.Object)
	}
	return out
}

// same expects of the API what it held before.
func same(t *testing.T, before []map[string]any, server *kubeapi.Server) {
	t.Helper()
	if after := snapshot(server); !reflect.DeepEqual(before, after) {
		t.Errorf("before: %v\nafter:  %v", before, after)
	}
}

// killRun is a run that changed objects through the API and was killed with SIGKILL.
func killRun(t *testing.T, reports, kubeconfig string) (id string) {
	t.Helper()
	id = "cluster-run"
	rec, err := record.Create(reports, id)
	if err != nil {
		t.Fatal(err)
	}
	man := record.Manifest{RunID: id, Scenario: "circuit", Env: "cluster", Start: time.Now().UTC()}
	spec := check.Spec{Scenario: "circuit", Namespace: "squall", Phases: []check.PhaseSpec{{Name: "breaker"}}}
	if err := rec.WriteJSON(record.ManifestFile, man); err != nil {
		t.Fatal(err)
	}
	if err := rec.WriteJSON(record.SpecFile, spec); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, rec.Dir(), kubeconfig)
	cmd.Env = append(os.Environ(), roleEnv+"=changes")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "changed\n" {
		t.Fatalf("%q, %v", line, err)
	}
	code, out, errs := squall(t, "rollback", id, "--reports", reports, "--kubeconfig", kubeconfig)
	want(t, 2, []string{"is under way"}, code, out, errs)
	code, out, errs = squall(t, "rollback", "--reports", reports, "--kubeconfig", kubeconfig)
	want(t, 0, []string{"is under way", "no run was killed"}, code, out, errs)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the run ended with %v", err)
	}
	return id
}

func TestRollbackThroughTheAPI(t *testing.T) {
	atRoot(t)
	server, kubeconfig := api(t)
	objects := objectsOf(t, kubeconfig)
	if _, err := objects.Apply(t.Context(), mesh.Namespace("squall")); err != nil {
		t.Fatal(err)
	}
	if _, err := objects.Apply(t.Context(), object(beforeRule)); err != nil {
		t.Fatal(err)
	}
	before := snapshot(server)
	reports := t.TempDir()
	id := killRun(t, reports, kubeconfig)
	if reflect.DeepEqual(before, snapshot(server)) {
		t.Fatal("the run has changed nothing")
	}

	dir := savedRun(t, reports) // a run on the local mesh that was killed too
	editManifest(t, dir, func(m *record.Manifest) { m.Env, m.End, m.Ended, m.Rollback = "local", nil, "", record.Rollback{} })
	code, out, errs := squall(t, "rollback", id, "--reports", reports)
	want(t, 2, []string{"was on a cluster: give --kubeconfig"}, code, out, errs)
	code, out, errs = squall(t, "rollback", "--reports", reports)
	want(t, 6, []string{"r1: nothing is left to restore", id + ": failed: ", "was on a cluster: give --kubeconfig", "not rolled back: nothing was sent"}, code, out, errs)
	code, out, errs = squall(t, "rollback", "--reports", reports, "-o", "json")
	want(t, 6, nil, code, out, errs)
	if list := fromJSON[[]restored](t, out); len(list) != 1 || list[0].RunID != id || len(list[0].Errors) != 1 {
		t.Errorf("the local run is done, the other is not: %s", out)
	}

	nobody := write(t, filepath.Join(t.TempDir(), "kubeconfig"), string(server.Kubeconfig("http://127.0.0.1:1", "squall")))
	code, out, errs = squall(t, "rollback", "--reports", reports, "--kubeconfig", nobody)
	want(t, 6, []string{"the rollback failed", "connection refused"}, code, out, errs)
	code, out, errs = squall(t, "judge", id, "--reports", reports)
	want(t, 6, []string{"connection refused"}, code, out, errs)

	code, out, errs = squall(t, "rollback", "--reports", reports, "--kubeconfig", kubeconfig, "-o", "json")
	want(t, 0, nil, code, out, errs)
	done := fromJSON[[]restored](t, out)
	if len(done) != 1 || done[0].RunID != id || len(done[0].Undone) != 4 || len(done[0].Errors) > 0 {
		t.Errorf("rolled back: %s", out)
	}
	same(t, before, server)
	code, out, errs = squall(t, "judge", id, "--reports", reports)
	want(t, 3, []string{"ERROR circuit: " + killedReason}, code, out, errs)

	code, out, errs = squall(t, "rollback", "--reports", reports, "--kubeconfig", kubeconfig)
	want(t, 0, []string{"no run was killed"}, code, out, errs)
	code, out, errs = squall(t, "rollback", id, "--reports", reports, "--kubeconfig", kubeconfig)
	want(t, 0, []string{"nothing was left to restore"}, code, out, errs)
}

// patchRule changes the rule as Flagger.
func patchRule(t *testing.T, kubeconfig, patch string) {
	t.Helper()
	cfg, err := mesh.Connect(kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	url := cfg.Host + "/apis/networking.istio.io/v1/namespaces/squall/destinationrules/httpbin?fieldManager=flagger"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, url, strings.NewReader(patch))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/merge-patch+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res.Status, err)
	}
}

// TestRollbackOfWhatOthersChanged leaves a rule alone that somebody else has changed, until it is decided what becomes of it.
func TestRollbackOfWhatOthersChanged(t *testing.T) {
	for decision, c := range map[string]struct {
		connections int64
		texts       []string
		judged      []string
		code        int
	}{
		"--force": {100, []string{"restored DestinationRule squall/httpbin", "are what they were before the run"}, []string{killedReason}, 3},
		"--keep":  {7, []string{"kept DestinationRule squall/httpbin as others have changed it"}, []string{"kept as others have changed it"}, 6},
	} {
		t.Run(decision, func(t *testing.T) {
			atRoot(t)
			_, kubeconfig := api(t)
			objects := objectsOf(t, kubeconfig)
			for _, u := range []*unstructured.Unstructured{mesh.Namespace("squall"), object(beforeRule)} {
				if _, err := objects.Apply(t.Context(), u); err != nil {
					t.Fatal(err)
				}
			}
			reports := t.TempDir()
			id := killRun(t, reports, kubeconfig)
			patchRule(t, kubeconfig, `{"spec":{"trafficPolicy":{"connectionPool":{"tcp":{"maxConnections":7}}}}}`)
			args := []string{"rollback", "--reports", reports, "--kubeconfig", kubeconfig}
			connections := func() int64 {
				u, err := objects.Get(t.Context(), mesh.RefOf(object(beforeRule)))
				if err != nil || u == nil {
					t.Fatal(u, err)
				}
				n, _, _ := unstructured.NestedInt64(u.Object, "spec", "trafficPolicy", "connectionPool", "tcp", "maxConnections")
				return n
			}
			for range 2 { // it stays undecided
				code, out, errs := squall(t, args...)
				want(t, 6, []string{"DestinationRule squall/httpbin is not what the run made of it (Flagger (flagger) changed spec.trafficPolicy.connectionPool.tcp.maxConnections)",
					"left as it is", "'squall rollback " + id + "' with --force overwrites", "with --keep it stays"}, code, out, errs)
				if n := connections(); n != 7 {
					t.Fatalf("%d connections", n)
				}
			}
			code, out, errs := squall(t, append(args, decision)...)
			want(t, 2, []string{"name the runs to " + decision}, code, out, errs)
			code, out, errs = squall(t, append(args, decision, id)...)
			want(t, 0, c.texts, code, out, errs)
			if n := connections(); n != c.connections {
				t.Errorf("%d connections, want %d", n, c.connections)
			}
			code, out, errs = squall(t, args...)
			want(t, 0, []string{"no run was killed"}, code, out, errs)
			code, out, errs = squall(t, "judge", id, "--reports", reports)
			want(t, c.code, c.judged, code, out, errs)
		})
	}
}

// TestRollbackDamagedJournal does not take a journal that cannot be read for one without entries.
func TestRollbackDamagedJournal(t *testing.T) {
	atRoot(t)
	reports := t.TempDir()
	dir := savedRun(t, reports)
	editManifest(t, dir, func(m *record.Manifest) { m.End, m.Ended, m.Rollback = nil, "", record.Rollback{} })
	write(t, filepath.Join(dir, record.JournalFile), "{broken\n")
	code, out, errs := squall(t, "rollback", "--reports", reports)
	want(t, 6, []string{"the journal is damaged"}, code, out, errs)
	rec, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := rec.Manifest(); err != nil || m.End != nil {
		t.Errorf("the run was marked as ended: %+v, %v", m, err)
	}
}

func connect(kubeconfig string) (*mesh.Objects, error) {
	cfg, err := mesh.Connect(kubeconfig, "")
	if err != nil {
		return nil, err
	}
	return mesh.NewObjects(cfg)
}
