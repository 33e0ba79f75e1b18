package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/kubeapi"
	"squall/internal/mesh"
	"squall/internal/record"
	"squall/internal/run"
)

// changeElsewhere is a run that another machine has made on the API, with the copy of its journal there. It was killed; its time is not over.
func changeElsewhere(t *testing.T, server *kubeapi.Server, kubeconfig, id string) (before []map[string]any) {
	t.Helper()
	objects := objectsOf(t, kubeconfig)
	apply := func(u *unstructured.Unstructured) *unstructured.Unstructured {
		t.Helper()
		stored, err := objects.Apply(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		return stored
	}
	apply(mesh.Namespace("squall"))
	rule := apply(object(beforeRule))
	before = snapshot(server)
	entry := run.Entry{Seq: 1, Phase: "breaker", Step: "circuitBreaker httpbin", Ref: mesh.RefOf(rule), Before: rule.Object}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if err := errors.Join(json.NewEncoder(w).Encode(entry), w.Close()); err != nil {
		t.Fatal(err)
	}
	stamp := mesh.Stamp{RunID: id, Expires: time.Now().Add(time.Hour)}
	secret := mesh.Literal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "squall.dev/journal", "data": map[string]any{"journal": base64.StdEncoding.EncodeToString(packed.Bytes())},
		"metadata": map[string]any{"name": "squall-journal-" + id + "-1", "namespace": "squall", "labels": map[string]any{"squall.dev/journal": "1"}},
	})
	stamp.Put(secret, nil)
	apply(secret)
	changed := object(firstRule)
	stamp.Put(changed, rule)
	apply(changed)
	return before
}

// TestRollbackOfARunElsewhere takes a run back whose folder is on another machine, by the copy of its journal.
func TestRollbackOfARunElsewhere(t *testing.T) {
	atRoot(t)
	server, kubeconfig := api(t)
	before := changeElsewhere(t, server, kubeconfig, "circuit-9")
	reports := t.TempDir()
	code, out, errs := squall(t, "rollback", "circuit-9", "--reports", reports)
	want(t, 2, []string{"circuit-9 is not a run's folder", "if it ran on another machine, give its cluster by --kubeconfig or --context"}, code, out, errs)
	code, out, errs = squall(t, "rollback", "circuit-8", "--reports", reports, "--kubeconfig", kubeconfig)
	want(t, 2, []string{"circuit-8 has left nothing on squall"}, code, out, errs)
	code, out, errs = squall(t, "rollback", "circuit-9", "--forget", "--reports", reports, "--kubeconfig", kubeconfig)
	want(t, 2, []string{"circuit-9 is not a run's folder"}, code, out, errs)
	nobody := write(t, filepath.Join(t.TempDir(), "kubeconfig"), string(server.Kubeconfig("http://127.0.0.1:1", "squall")))
	code, out, errs = squall(t, "rollback", "circuit-9", "--reports", reports, "--kubeconfig", nobody)
	want(t, 3, []string{"connection refused"}, code, out, errs)

	code, out, errs = squall(t, "rollback", "circuit-9", "--reports", reports, "--kubeconfig", kubeconfig)
	want(t, 0, []string{"run circuit-9 has time until", "circuit-9: restored DestinationRule squall/httpbin", "what it left is taken back"}, code, out, errs)
	same(t, before, server)
	code, out, errs = squall(t, "rollback", "circuit-9", "--reports", reports, "--kubeconfig", kubeconfig)
	want(t, 2, []string{"circuit-9 has left nothing on squall"}, code, out, errs)
}

// TestRollbackWithoutItsJournal takes the copy on the cluster when the run's folder has lost its journal. An empty one is no proof that
// nothing was changed.
func TestRollbackWithoutItsJournal(t *testing.T) {
	for name, lose := range map[string]func(path string) error{"gone": os.Remove, "empty": func(path string) error { return os.Truncate(path, 0) }} {
		t.Run(name, func(t *testing.T) {
			atRoot(t)
			server, kubeconfig := api(t)
			before := changeElsewhere(t, server, kubeconfig, "circuit-9")
			reports := t.TempDir()
			rec, err := record.Create(reports, "circuit-9")
			if err != nil {
				t.Fatal(err)
			}
			path := write(t, rec.Path(record.JournalFile), "lost\n")
			if err := errors.Join(lose(path),
				rec.WriteJSON(record.ManifestFile, record.Manifest{RunID: "circuit-9", Scenario: "circuit", Env: "cluster", Start: time.Now().UTC()}),
				rec.WriteJSON(record.SpecFile, map[string]any{"scenario": "circuit", "namespace": "squall"}),
				rec.WriteJSON(run.OwnerFile, run.Owner{Cluster: &run.Cluster{Target: mesh.Target{Kubeconfig: kubeconfig}, Namespace: "squall"}})); err != nil {
				t.Fatal(err)
			}
			code, out, errs := squall(t, "rollback", "--reports", reports)
			want(t, 0, []string{"circuit-9: restored DestinationRule squall/httpbin", "by the copy of its journal on the cluster"}, code, out, errs)
			same(t, before, server)
			code, out, errs = squall(t, "judge", "circuit-9", "--reports", reports)
			want(t, 3, []string{"ERROR circuit: " + killedReason}, code, out, errs)
			code, out, errs = squall(t, "rollback", "--reports", reports)
			want(t, 0, []string{"no run was killed"}, code, out, errs)
		})
	}
}
