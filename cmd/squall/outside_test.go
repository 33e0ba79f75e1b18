package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"squall/fixtures/es-flowcontrol/app/standin"
	"squall/internal/flowcontrol"
	"squall/internal/flowcontrol/flowcontroltest"
	"squall/internal/mesh"
	"squall/internal/record"
	"squall/internal/run"
)

// TestRollbackOutside restores the flow control of a service that outlives the mesh of a local run, from the journal alone: the password is
// where the journal says, and nowhere else.
func TestRollbackOutside(t *testing.T) {
	atRoot(t)
	t.Setenv("SQUALL_TEST_PASSWORD", "dont-tell")
	site := flowcontroltest.Serve(t, standin.New(t).URL)
	at := flowcontrol.Place{Name: "search", URL: site.Admin, Credentials: flowcontrol.Credentials{
		Username: "squall", Password: flowcontrol.Secret{Env: "SQUALL_TEST_PASSWORD"},
	}}
	client, err := flowcontrol.New(flowcontrol.Options{URL: site.Admin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	ctx := t.Context()
	was := flowcontrol.Change{Persistent: map[string]any{"flowcontrol.http.concurrent": 77, "flowcontrol.http.enabled": nil}}
	made := flowcontrol.Change{Persistent: map[string]any{"flowcontrol.http.concurrent": 5, "flowcontrol.http.enabled": true}}
	if err := client.Apply(ctx, was); err != nil {
		t.Fatal(err)
	}
	before, err := client.Undo(ctx, made)
	if err != nil {
		t.Fatal(err)
	}
	reports := t.TempDir()
	dir := savedRun(t, reports)
	editManifest(t, dir, func(m *record.Manifest) { m.Env, m.End, m.Ended, m.Rollback = "local", nil, "", record.Rollback{} })
	journal, err := run.OpenJournal(filepath.Join(dir, record.JournalFile))
	if err != nil {
		t.Fatal(err)
	}
	deed := run.Deed{Action: run.Set, Target: "search", Settings: &run.Settings{At: at, Before: before, Made: made}}
	if err := journal.AddDeed("one", "flowControl search", mesh.Ref{APIVersion: "flowcontrol/v1", Kind: "Settings", Name: at.URL}, deed); err != nil {
		t.Fatal(err)
	}
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	if err := client.Apply(ctx, made); err != nil {
		t.Fatal(err)
	}

	site.Stop()
	code, out, errs := squall(t, "rollback", "--reports", reports)
	want(t, 6, []string{"connection refused", "run 'squall rollback r1' again when the cause is gone"}, code, out, errs)
	site.Again(t, standin.New(t).URL) // it has forgotten all settings, and somebody makes others
	if err := client.Apply(ctx, flowcontrol.Change{Persistent: map[string]any{"flowcontrol.http.concurrent": 9, "flowcontrol.http.enabled": true}}); err != nil {
		t.Fatal(err)
	}
	code, out, errs = squall(t, "rollback", "--reports", reports)
	want(t, 6, []string{"somebody changed flowcontrol.http.concurrent: it is 9, and the run made it 5", "--force"}, code, out, errs)
	code, out, errs = squall(t, "rollback", "r1", "--force", "--reports", reports)
	want(t, 0, []string{"what the run set of services outside of the mesh is as before", "restored the settings of flow control of search"}, code, out, errs)
	if err := client.Holds(ctx, was); err != nil {
		t.Error(err)
	}
	code, out, errs = squall(t, "rollback", "--reports", reports)
	want(t, 0, []string{"no run was killed"}, code, out, errs)
	text, err := os.ReadFile(filepath.Join(dir, record.JournalFile))
	if err != nil || strings.Contains(string(text), "dont-tell") {
		t.Errorf("the journal: %v\n%s", err, text)
	}
}
