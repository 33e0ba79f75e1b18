package run_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/traffic/elastic"
)

// A password that is wrong ends the run before anything is there, and is written nowhere.
func TestRecordsWrongPassword(t *testing.T) {
	const secret = "hunter2-hunter2"
	asked := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		asked = asked || password == secret
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer srv.Close()
	config, err := elastic.ParseConfig([]byte("ds_driver: Elastic\nurl: " + srv.URL + "\nusername: elastic\npassworld: " + secret + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	w := prepare(t, "answers.yaml")
	w.config.Records = &engine.RecordStore{Elastic: &config}
	w.run()
	w.expect(check.Error, 3, "the store of interface traffic: ", "does not know the user or the password", "check username and password")
	if !asked {
		t.Error("the password was not tried")
	}
	err = filepath.WalkDir(w.out.Record.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), secret) {
			t.Errorf("%s has the password", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// All that a run with records promises, on a mesh with sign-in, look-ups and a load from outside.
func TestRecords(t *testing.T) {
	w := prepare(t, "answers.yaml")
	w.config.Records = &engine.RecordStore{}
	w.run()
	w.expect(check.Pass, 0)
	for _, p := range w.out.Result.Phases {
		n := 0
		for _, o := range p.Outcomes {
			if o.Kind == check.KindRecords {
				n++
				if o.Verdict != check.Pass || !strings.Contains(o.Reason, "SQLite has the ") {
					t.Errorf("%s: %+v", p.Name, o)
				}
			}
		}
		if n != 1 {
			t.Errorf("%s has %d outcomes of records", p.Name, n)
		}
	}
	got, err := w.out.Record.Traffic("token")
	if err != nil || got.Complete != "ok" || len(got.Groups) == 0 || got.Groups[0].Interface != "/bearer" {
		t.Errorf("%+v, %v", got, err)
	}
}
