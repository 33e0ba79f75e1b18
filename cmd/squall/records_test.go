package main

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestRunWrongPassword ends before anything is deployed: the code is that of a machine that lacks something, the sentence says what to do, and
// the password is nowhere.
func TestRunWrongPassword(t *testing.T) {
	atRoot(t)
	const secret = "hunter2-Hunter2"
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); name == "squall" && password == secret {
			asked.Add(1)
		}
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":{"type":"security_exception","reason":"unable to authenticate user [squall]"},"status":401}`))
	}))
	defer srv.Close()
	dir := t.TempDir()
	reports := filepath.Join(dir, "reports")
	store := write(t, filepath.Join(dir, "application.yaml"), "ds_driver: Elastic\nurl: "+srv.URL+"\nusername: squall\npassworld: "+secret+"\n")
	code, out, errs := squall(t, "run", "circuit", "--records", store, "--reports", reports)
	want(t, 3, []string{"ERROR", "the store of interface traffic: ", srv.URL, "does not know the user or the password (401)", "check username and password"}, code, out, errs)
	if asked.Load() != 1 {
		t.Errorf("the password was tried %d times", asked.Load())
	}
	if strings.Contains(out+errs, secret) {
		t.Errorf("the password is shown:\n%s%s", out, errs)
	}
	for _, never := range []string{"starting", "mesh ready"} {
		if strings.Contains(out+errs, never) {
			t.Errorf("%q: a mesh was started:\n%s%s", never, out, errs)
		}
	}
	err := filepath.WalkDir(reports, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), secret) {
			t.Errorf("%s has the password", path)
		}
		if strings.HasPrefix(filepath.Base(path), "envoy") || strings.HasPrefix(filepath.Base(path), "istiod") {
			t.Errorf("%s: a mesh was started", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
