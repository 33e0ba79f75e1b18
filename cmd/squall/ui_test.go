package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"squall/internal/record"
	"squall/internal/traffic/sqlite"
	"squall/internal/traffic/traffictest"
)

// savedTraffic writes some records to a file.
func savedTraffic(t *testing.T, file string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), traffictest.Some(500, time.Minute, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestUIWrong has each wrong argument say what is wrong, where, and what would be right.
func TestUIWrong(t *testing.T) {
	atRoot(t)
	t.Setenv(tokenEnv, "")
	reports := t.TempDir()
	code, out, errs := squall(t, "ui", "--reports", reports)
	want(t, 2, []string{"no run below " + reports + " has interface traffic (records.db)", "application.yaml"}, code, out, errs)
	savedRun(t, reports)
	file := filepath.Join(reports, "some.db")
	savedTraffic(t, file)
	dir := t.TempDir()
	yaml := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		code  int
		args  []string
		texts []string
	}{
		{2, []string{"r1"}, []string{"the run r1 has no records.db"}},
		{2, []string{"r2"}, []string{"r2 is not a run's folder", "give a run's id or folder, a file of records, or an application.yaml"}},
		{2, []string{dir}, []string{"is not a run's folder"}},
		{2, []string{"none.db"}, []string{"the file of records none.db: ", "no such file"}},
		{3, []string{"README.md"}, []string{"records in README.md: it cannot be read as a database"}},
		{2, []string{"none.yaml"}, []string{"the store's configuration: open none.yaml"}},
		{2, []string{yaml("a.yaml", "url: nothing\n")}, []string{"a.yaml: the store's configuration: url number 1 is no http or https URL"}},
		{2, []string{yaml("b.yaml", "url: http://127.0.0.1:1\npassworld: hush\n")}, []string{"there is a password and no username"}},
		{3, []string{yaml("c.yaml", "url: http://127.0.0.1:1\n")}, []string{"http://127.0.0.1:1", "connection refused"}},
		{2, []string{file, "--listen", "8080"}, []string{`--listen "8080": `, "such as 127.0.0.1:8088"}},
		{3, []string{file, "--listen", "192.0.2.1:1"}, []string{"serve the page at 192.0.2.1:1: ", "give another address by --listen"}},
		{2, []string{file, "--token", "short"}, []string{"the token has 5 characters: give one of 16 at least"}},
		{2, []string{file, "--reporter", "me"}, []string{"there is destination and source"}},
		{2, []string{file, "more"}, []string{"accepts at most 1 arg"}},
	} {
		code, out, errs := squall(t, append([]string{"ui", "--reports", reports}, c.args...)...)
		want(t, c.code, c.texts, code, out, errs)
		if strings.Contains(out+errs, "hush") {
			t.Errorf("%v: a secret was shown", c.args)
		}
	}
}

// TestUINewest serves the run that began last and has records, until Ctrl-C.
func TestUINewest(t *testing.T) {
	atRoot(t)
	t.Setenv(tokenEnv, "")
	reports := t.TempDir()
	savedTraffic(t, filepath.Join(savedRun(t, reports), record.TrafficStore))
	for id, after := range map[string]time.Duration{"older": -time.Hour, "empty": time.Hour} {
		dir := filepath.Join(reports, id)
		if err := os.CopyFS(dir, os.DirFS("internal/check/testdata/circuit")); err != nil {
			t.Fatal(err)
		}
		editManifest(t, dir, func(m *record.Manifest) { m.RunID, m.Start = id, m.Start.Add(after) })
		if id == "older" {
			savedTraffic(t, filepath.Join(dir, record.TrafficStore))
		}
	}
	c := start(t, "squall", "ui", "--reports", reports)
	c.await(t, "serving; Ctrl-C ends it")
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	code, out, errs := c.wait(t)
	want(t, 0, []string{"Interface traffic of run r1: http://127.0.0.1:", "squall: SIGINT: closing the page"}, code, out, errs)
	if strings.Contains(out+errs, "Token") {
		t.Error("a token is needed on a loopback address")
	}
}

// TestUIToken has a page that others reach ask for the token that was printed.
func TestUIToken(t *testing.T) {
	atRoot(t)
	t.Setenv(tokenEnv, "")
	file := filepath.Join(t.TempDir(), "some.db")
	savedTraffic(t, file)
	for _, c := range []struct{ listen, flag, env, token string }{
		{"0.0.0.0:0", "", "", "made"}, {"127.0.0.1:0", "a token that was given", "", "a token that was given"}, {"0.0.0.0:0", "", "a token of the environment", "a token of the environment"}, {"localhost:0", "", "", ""},
	} {
		t.Setenv(tokenEnv, c.env)
		ctx, cancel := context.WithCancel(t.Context())
		out, in := io.Pipe()
		a := &app{stdout: in, stderr: io.Discard}
		ended := make(chan error, 1)
		go func() {
			ended <- a.ui(ctx, &uiFlags{admissionFlags: admissionFlags{listen: c.listen, token: c.flag}}, []string{file})
		}()
		lines := bufio.NewScanner(out)
		lines.Scan()
		port := regexp.MustCompile(`:(\d+)/$`).FindStringSubmatch(lines.Text())
		if port == nil {
			t.Fatalf("no address: %s", lines.Text())
		}
		token := c.token
		if token == "made" {
			lines.Scan()
			token = strings.TrimPrefix(lines.Text(), "Token: ")
			if len(token) < 20 {
				t.Errorf("the token is %q", token)
			}
		} else {
			go io.Copy(io.Discard, out)
		}
		for _, sent := range []string{"", token} {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port[1]+"/api/services", nil)
			if err != nil {
				t.Fatal(err)
			}
			if sent != "" {
				r.Header.Set("Authorization", "Bearer "+sent)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[sent == token]; resp.StatusCode != want {
				t.Errorf("%s with %q: %d, want %d", c.listen, sent, resp.StatusCode, want)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		in.Close()
	}
}
