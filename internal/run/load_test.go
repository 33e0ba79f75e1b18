package run_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"squall/internal/check"
	"squall/internal/scenario"
)

// TestAnswers signs in by a form of cookies and by a token, and finds nothing of the token in the record of the run.
func TestAnswers(t *testing.T) {
	w := prepare(t, "answers.yaml")
	w.run()
	w.expect(check.Pass, 0)
	err := filepath.WalkDir(w.out.Record.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "tell-no-one") {
			t.Errorf("the token is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNoLoadWithoutItsSession: a sign-in that is refused ends the run, and says what was answered.
func TestNoLoadWithoutItsSession(t *testing.T) {
	for login, want := range map[string]string{
		"/status/418": "sign in at http://httpbin:8000/status/418: it answered 418",
		"/get?a=b":    "sign in at http://httpbin:8000/get: it answered 200 OK without a cookie",
	} {
		w := prepareWith(t, "answers.yaml", scenario.Options{Set: map[string]string{"login": login}})
		w.run()
		w.expect(check.Error, 3, "baseline: ", want)
		if _, err := w.out.Record.Load("baseline"); err == nil {
			t.Errorf("%s: there is a load", login)
		}
	}
}
