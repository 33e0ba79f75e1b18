package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"squall/internal/mesh"
	"squall/internal/record"
	"squall/internal/run"
)

const contexts = `apiVersion: v1
kind: Config
current-context: staging
clusters:
- {name: stage-1, cluster: {server: "https://10.1.2.3:6443"}}
- {name: here, cluster: {server: "http://%s"}}
- {name: shop-production, cluster: {server: "https://10.1.2.4:6443"}}
users: [{name: me, user: {token: x}}]
contexts:
- {name: staging, context: {cluster: stage-1, user: me}}
- {name: tunnel, context: {cluster: here, user: me}}
- {name: shop, context: {cluster: shop-production, user: me}}
`

// nobody is an address at which nobody answers, and that counts who comes all the same.
func nobody(t *testing.T) (address string, calls *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	calls = &atomic.Int64{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), calls
}

// TestRefusedClusters names clusters that runs may not touch or that are not there. Nothing is sent to any of them.
func TestRefusedClusters(t *testing.T) {
	atRoot(t)
	address, calls := nobody(t)
	file := write(t, filepath.Join(t.TempDir(), "kubeconfig"), fmt.Sprintf(contexts, address))
	empty := filepath.Join(t.TempDir(), "config")
	run := "run circuit --env cluster --image squall/load=example.com/load:1 --kubeconfig " + file
	for name, c := range map[string]struct {
		args  string
		env   []string
		texts []string
	}{
		"no kubeconfig": {args: "run circuit --env cluster", texts: []string{"there is no kubeconfig: give --kubeconfig FILE"}},
		"no such file":  {args: "run circuit --env cluster --kubeconfig " + empty, texts: []string{empty + ": there is no such file"}},
		"no such context": {args: run + " --context tunel",
			texts: []string{`has no context "tunel"`, `did you mean "tunnel"?`}},
		"not a test cluster": {args: run, texts: []string{"circuit is refused; nothing was sent", "context  staging (cluster stage-1)", "https://10.1.2.3:6443",
			"in squall: EnvoyFilter squall-access", "DestinationRule httpbin (circuitBreaker httpbin)", "--yes runs there all the same"}},
		"protected":            {args: run + " --context shop --yes", texts: []string{"shop-production is protected by the pattern *prod*"}},
		"protected by a flag":  {args: run + " --context tunnel --protect-context tun*", texts: []string{"tunnel is protected"}},
		"protected by others":  {args: run + " --context tunnel", env: []string{protectedVar, "x,tunnel"}, texts: []string{"tunnel is protected"}},
		"another namespace":    {args: run + " --context tunnel --allow-namespace team-*", texts: []string{"squall is none of those that are allowed (team-*)"}},
		"by a variable":        {args: run + " --context tunnel", env: []string{allowedVar, "team-a, team-b"}, texts: []string{"(team-a, team-b)"}},
		"default":              {args: run + " --context tunnel --namespace default", texts: []string{"default is protected"}},
		"no namespace":         {args: run + " --context tunnel --namespace A", texts: []string{`--namespace "A": a lowercase RFC 1123 label`}},
		"Istio's namespace":    {args: strings.Replace(run, "circuit", "gateway-hosts", 1) + " --context tunnel", texts: []string{"in istio-system: EnvoyFilter squall-access", "--allow-namespace istio-system"}},
		"an image of ours":     {args: "run circuit --env cluster --context tunnel --kubeconfig " + file, texts: []string{"no registry has the images squall/load", "squall image push"}},
		"too short a life":     {args: run + " --context tunnel --ttl 1s", texts: []string{"--ttl 1s is shorter than the run's timeout"}},
		"several at a time":    {args: run + " --context tunnel --jobs 2", texts: []string{"leave --jobs out"}},
		"not for the local":    {args: "run circuit --yes", texts: []string{"--yes is for --env cluster alone, and these runs are on local"}},
		"falsified":            {args: strings.Replace(run, "run", "falsify", 1), texts: []string{"circuit is refused"}},
		"doctor, local":        {args: "doctor --context tunnel", texts: []string{"--context is for --env cluster alone"}},
		"rollback, everything": {args: "rollback --expired x", texts: []string{"leave RUN and --forget out"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", empty)
			t.Setenv("HOME", t.TempDir())
			if c.env != nil {
				t.Setenv(c.env[0], c.env[1])
			}
			reports := filepath.Join(t.TempDir(), "reports")
			code, out, errs := squall(t, append(strings.Fields(c.args), "--reports", reports)...)
			want(t, 2, c.texts, code, out, errs)
			if _, err := os.Stat(reports); err == nil {
				t.Error("a run was made")
			}
		})
	}
	if n := calls.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
}

// TestAllowedCluster goes as far as the cluster, which is not there.
func TestAllowedCluster(t *testing.T) {
	atRoot(t)
	file := write(t, filepath.Join(t.TempDir(), "kubeconfig"), fmt.Sprintf(contexts, "127.0.0.1:1"))
	for _, args := range []string{"", "--namespace team-a --allow-namespace team-*", "--protect-context other"} {
		reports := t.TempDir()
		args = "run circuit --env cluster --image squall/load=example.com/load:1 --context tunnel --kubeconfig " + file + " " + args
		code, out, errs := squall(t, append(strings.Fields(args), "--reports", reports)...)
		want(t, 3, []string{"ERROR circuit: mesh: the API server at http://127.0.0.1:1 does not answer"}, code, out, errs)
		code, out, errs = squall(t, "rollback", "--reports", reports)
		want(t, 0, []string{"no run was killed"}, code, out, errs)
	}
}

// TestDoctorOfAnAPIWithoutIstio looks at a cluster, and changes nothing there.
func TestDoctorOfAnAPIWithoutIstio(t *testing.T) {
	atRoot(t)
	server, kubeconfig := api(t)
	before := len(server.Snapshot())
	code, out, errs := squall(t, "doctor", "--env", "cluster", "--kubeconfig", kubeconfig, "-o", "json")
	x := fromJSON[examination](t, out)
	if code != 3 || x.OK || x.Environment != envCluster || !strings.Contains(out, "there is no istiod in istio-system") {
		t.Errorf("exit code %d: %s %s", code, out, errs)
	}
	if after := len(server.Snapshot()); after != before {
		t.Errorf("%d objects, before %d", after, before)
	}
}

// TestRollbackExpired cleans up after runs whose folders are elsewhere, and leaves those alone that have time.
func TestRollbackExpired(t *testing.T) {
	atRoot(t)
	server, kubeconfig := api(t)
	objects := objectsOf(t, kubeconfig)
	leave := func(id, namespace string, ends time.Time) {
		for _, u := range []string{"{apiVersion: v1, kind: Namespace, metadata: {name: " + namespace + "}}",
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: " + namespace + "}}"} {
			o := object(u)
			mesh.Stamp{RunID: id, Expires: ends}.Put(o, nil)
			if _, err := objects.Apply(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	leave("old-1", "one", time.Now().Add(-time.Minute))
	leave("new-2", "two", time.Now().Add(time.Hour))
	args := []string{"rollback", "--expired", "--reports", t.TempDir(), "--kubeconfig", kubeconfig}
	code, out, errs := squall(t, args...)
	want(t, 0, []string{"old-1: deleted ConfigMap one/a", "old-1: deleted Namespace one", "run new-2 has time until"}, code, out, errs)
	code, out, errs = squall(t, args...)
	want(t, 0, []string{"no run has left anything"}, code, out, errs)
	text := fmt.Sprint(server.Snapshot())
	if strings.Contains(text, "old-1") || !strings.Contains(text, "new-2") {
		t.Errorf("what is there: %s", text)
	}
}

// TestRollbackOnAnotherCluster restores nothing on a cluster that is not the run's, and can be given up.
func TestRollbackOnAnotherCluster(t *testing.T) {
	atRoot(t)
	server, kubeconfig := api(t)
	reports := t.TempDir()
	rec, err := record.Create(reports, "lost-1")
	if err != nil {
		t.Fatal(err)
	}
	journal, err := run.OpenJournal(rec.Path(record.JournalFile))
	if err != nil {
		t.Fatal(err)
	}
	err = journal.Add("breaker", "step", mesh.RefOf(object(beforeRule)), object(beforeRule))
	for _, e := range []error{
		err, journal.Close(),
		rec.WriteJSON(record.ManifestFile, record.Manifest{RunID: "lost-1", Scenario: "circuit", Env: "cluster", Start: time.Now().UTC()}),
		rec.WriteJSON(record.SpecFile, map[string]any{"scenario": "circuit", "namespace": "squall"}),
		rec.WriteJSON(run.OwnerFile, run.Owner{Cluster: &run.Cluster{Target: mesh.Target{Kubeconfig: kubeconfig}, UID: "gone", Namespace: "squall"}}),
	} {
		if e != nil {
			t.Fatal(e)
		}
	}
	before := snapshot(server)
	code, out, errs := squall(t, "rollback", "--reports", reports)
	want(t, 6, []string{"this is another cluster than that of the run", "--forget"}, code, out, errs)
	if len(snapshot(server)) != len(before) {
		t.Error("something was restored")
	}
	code, out, errs = squall(t, "rollback", "lost-1", "--forget", "--reports", reports)
	want(t, 0, []string{"lost-1: given up"}, code, out, errs)
	code, out, errs = squall(t, "rollback", "--reports", reports)
	want(t, 0, []string{"no run was killed"}, code, out, errs)
	code, out, errs = squall(t, "judge", "lost-1", "--reports", reports)
	want(t, 6, []string{"given up"}, code, out, errs)
}
