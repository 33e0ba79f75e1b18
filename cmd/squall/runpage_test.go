package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"squall/internal/engine"
	"squall/internal/plan"
	"squall/internal/record"
)

// TestRunPageWrong refuses what cannot be, before anything is deployed: no run's folder is made.
func TestRunPageWrong(t *testing.T) {
	atRoot(t)
	t.Setenv(tokenEnv, "")
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.Addr().String()
	reports := filepath.Join(t.TempDir(), "reports")
	for _, c := range []struct {
		code  int
		args  []string
		texts []string
	}{
		{3, []string{"circuit", "--ui=" + taken}, []string{"serve the page at " + taken + ": ", "address already in use", "give another address by --ui"}},
		{2, []string{"circuit", "--ui=8080"}, []string{`--ui "8080": `, "such as 127.0.0.1:8088"}},
		{2, []string{"circuit", "--ui="}, []string{`--ui "": `, "such as 127.0.0.1:8088"}},
		{2, []string{"circuit", "--ui", "127.0.0.1:8088"}, []string{`"127.0.0.1:8088" is taken for a scenario`, "--ui=127.0.0.1:8088"}},
		{2, []string{"circuit", "--ui", "--ui-token", "short"}, []string{"the token has 5 characters: give one of 16 at least by --ui-token or SQUALL_UI_TOKEN"}},
		{2, []string{"circuit", "--ui-token", "a token that was given"}, []string{"--ui-token is for --ui"}},
		{2, []string{"circuit", "--ui", "--repeat", "3"}, []string{"--ui shows one run, and these are 3", "leave --repeat out"}},
		{2, []string{"circuit", "canary", "--ui", "--jobs", "2"}, []string{"--ui shows one run, and these are 2", "'squall ui RUN'"}},
	} {
		code, out, errs := squall(t, append([]string{"run", "--reports", reports}, c.args...)...)
		want(t, c.code, c.texts, code, out, errs)
		if strings.Contains(out+errs, "http://") {
			t.Errorf("%v: a page was announced: %s", c.args, errs)
		}
	}
	if _, err := os.Stat(reports); err == nil {
		t.Error("a run was begun")
	}
}

// visitor looks at the page of a run.
type visitor struct {
	t           *testing.T
	home, token string
}

func (v *visitor) get(path string) *http.Response {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.home+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+v.token)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = a.Body.Close() })
	return a
}

// requests is how many there are; none while the page has no store.
func (v *visitor) requests(run string) uint64 {
	v.t.Helper()
	a := v.get("/api/services?run=" + run)
	var got struct {
		Total struct {
			Requests uint64 `json:"requests"`
		} `json:"total"`
		Error string `json:"error"`
	}
	if err := json.NewDecoder(a.Body).Decode(&got); err != nil {
		v.t.Fatal(err)
	}
	if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusServiceUnavailable {
		v.t.Fatalf("%s: %s", a.Status, got.Error)
	}
	return got.Total.Requests
}

// TestRunPage looks at a run on the local mesh while it goes on, with the token that was printed: its requests grow, and its stream ends
// with the run and says where its traffic is.
func TestRunPage(t *testing.T) {
	atRoot(t)
	t.Setenv(tokenEnv, "")
	dir := t.TempDir()
	reports := filepath.Join(dir, "reports")
	file := named(t, dir, "watched", "requests: 40}", "qps: 50, duration: 8s}")
	c := start(t, "squall", "run", file, "--reports", reports, "--ui=0.0.0.0:0")
	c.await(t, "Token: ")
	said := regexp.MustCompile(`(?m)^Interface traffic of run (\S+): http://\S+:(\d+)/\?run=(\S+)\nToken: (\S+)$`).FindStringSubmatch(c.said.String())
	if said == nil || said[1] != said[3] {
		t.Fatalf("no address: %s", c.said.String())
	}
	run, v := said[1], &visitor{t: t, home: "http://127.0.0.1:" + said[2]}
	if a := v.get("/"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the token: %s", a.Status)
	}
	v.token = said[4]
	stream := v.get("/events")
	c.await(t, "== one")
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	grown := 0
	for last := v.requests(run); grown < 2; <-tick.C {
		now := v.requests(run) // which fails the test when the run is over
		if now > last {
			grown++
		}
		last = now
	}
	text, err := io.ReadAll(bufio.NewReader(stream.Body))
	if err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	code, out, errs := c.wait(t)
	want(t, 0, []string{"PASS watched: "}, code, out, errs)
	if strings.Contains(out, "Interface traffic of") || strings.Contains(errs, "the page: ") {
		t.Errorf("stdout:\n%s\nstderr:\n%s", out, errs)
	}
	rec := onlyRun(t, reports)
	page := rec.Path(record.TrafficPage)
	if !strings.Contains(string(text), "event: records\n") || !strings.Contains(string(text), "event: ended\ndata: \"The run has ended. Its traffic is in "+page+"; 'squall ui "+rec.Dir()) {
		t.Errorf("the stream: %s", text)
	}
	for _, name := range []string{record.TrafficPage, record.TrafficStore} {
		if _, err := os.Stat(rec.Path(name)); err != nil {
			t.Error(err)
		}
	}
}

// TestAfterRun has the page name, at its end, only what will be there.
func TestAfterRun(t *testing.T) {
	a := &app{reports: "reports"}
	const ended = "The run has ended. Its traffic is in reports/r1/traffic.html"
	own, elsewhere := &engine.Config{}, &engine.Config{Records: &engine.RecordStore{}}
	for want, c := range map[string]struct {
		flags  runFlags
		stores string
		config *engine.Config
	}{
		ended + "; 'squall ui reports/r1' shows this page again.":                                   {runFlags{}, "", own},
		ended + ", unless it passed (--keep failed); 'squall ui reports/r1' shows this page again.": {runFlags{keep: keepFailed}, "", own},
		ended + ".": {runFlags{}, "elasticsearch.yaml", own},
		ended + "; 'squall ui application.yaml' shows what Elasticsearch has.": {runFlags{records: recordsIn{text: "application.yaml"}}, "elasticsearch.yaml", elsewhere},
	} {
		k := &engine.Compiled{RunID: "r1", Plan: &plan.Plan{Records: &plan.Records{File: c.stores}}}
		if got := a.afterRun(&c.flags, k, c.config); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
