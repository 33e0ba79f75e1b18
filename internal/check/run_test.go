package check

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"squall/internal/record"
)

var update = flag.Bool("update", false, "write the golden files")

// copyRun copies the saved run of the circuit scenario, which passes, to a folder of the test's own.
func copyRun(t *testing.T) (string, *record.Run) {
	t.Helper()
	return copyOf(t, "circuit")
}

func copyOf(t *testing.T, name string) (string, *record.Run) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.CopyFS(dir, os.DirFS("testdata/"+name)); err != nil {
		t.Fatal(err)
	}
	run, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, run
}

func editJSON(t *testing.T, dir, name string, edit func(map[string]any)) {
	t.Helper()
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	edit(v)
	if b, err = json.Marshal(v); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, dir, name, old, by string, n int) {
	t.Helper()
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s has no %q", name, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), old, by, n)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// TestSavedRuns judges a saved run as it is and with one thing changed. All but the first must not pass.
func TestSavedRuns(t *testing.T) {
	const overflow = `upstream_rq_pending_overflow": 24`
	manifest := func(edit func(m map[string]any)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { editJSON(t, dir, "run.json", edit) }
	}
	rollback := func(key string, v any) func(*testing.T, string) {
		return manifest(func(m map[string]any) { m["rollback"].(map[string]any)[key] = v })
	}
	spec := func(old, by string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { replace(t, dir, "spec.json", old, by, -1) }
	}
	tests := []struct {
		name    string
		edit    func(*testing.T, string)
		verdict Verdict
		code    int
		reason  string
	}{
		{"circuit", func(*testing.T, string) {}, Pass, 0, "6 checks held, fault proven (overflow(httpbin) = 24, "},
		{"check-fails", spec("[0.1, 0.95]", "[0.7, 0.95]"), Fail, 1, "breaker: ratio(code == 503) = 40 %"},
		{"too-few", spec("[0.1, 0.95]", "[0.35, 0.95]"), Inconclusive, 4, "too few requests to tell"},
		{"fault-not-injected", func(t *testing.T, dir string) {
			replace(t, dir, "phases/breaker/stats/squall-load-5c9d.after.json", overflow, `upstream_rq_pending_overflow": 0`, 1)
			replace(t, dir, "spec.json", "overflow(httpbin) == count(code == 503)", "count() > 0", 1)
		}, Inconclusive, 4, "fault not proven: overflow(httpbin) = 0"},
		{"fails-and-not-proven", func(t *testing.T, dir string) {
			replace(t, dir, "phases/breaker/stats/squall-load-5c9d.after.json", overflow, `upstream_rq_pending_overflow": 0`, 1)
		}, Fail, 1, "; and breaker: fault not proven"},
		{"counter-absent", func(t *testing.T, dir string) {
			for _, when := range []string{"before", "after"} {
				replace(t, dir, "phases/breaker/stats/squall-load-5c9d."+when+".json", "pending_overflow", "pending_total", 1)
			}
		}, Inconclusive, 4, "neither before nor after"},
		{"no-proof", spec(`"proofs": [`+"\n", `"proofsOfOld": [`+"\n"), Inconclusive, 4, "there is no proof for circuitBreaker httpbin"},
		{"unprovable", spec(`"expr": "overflow(httpbin) > 0 &&`, `"was": "overflow(httpbin) > 0 &&`), Inconclusive, 4,
			"breaker: fault not proven: there is no proof for circuitBreaker httpbin: the breaker shed calls"},
		{"no-stage-ran", func(t *testing.T, dir string) { remove(t, dir, "phases/breaker/load.json") }, Inconclusive, 4, "the load of breaker did not run to its end"},
		{"no-check", func(t *testing.T, dir string) {
			editJSON(t, dir, "spec.json", func(s map[string]any) {
				for _, p := range s["phases"].([]any) {
					delete(p.(map[string]any), "checks")
				}
			})
		}, Inconclusive, 4, "baseline has no check"},
		{"no-phase", func(t *testing.T, dir string) {
			editJSON(t, dir, "spec.json", func(s map[string]any) { delete(s, "phases") })
		}, Inconclusive, 4, "nothing was judged"},
		{"broken-check", spec("ratio(code == 503) in", "rato(code == 503) in"), Error, 3, "unknown function"},
		{"load-interrupted", func(t *testing.T, dir string) {
			editJSON(t, dir, "phases/breaker/load.json", func(l map[string]any) { l["interrupted"] = "time-out after 5m" })
		}, Inconclusive, 4, "the load was interrupted: time-out after 5m"},
		{"record-cut", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "phases/breaker/requests.ndjson")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b[:len(b)-20], 0o644); err != nil {
				t.Fatal(err)
			}
		}, Inconclusive, 4, "the client's records are incomplete"},
		{"killed", manifest(func(m map[string]any) { delete(m, "end"); delete(m, "ended"); m["rollback"] = map[string]any{} }), Error, 3, "the run was killed"},
		{"error", manifest(func(m map[string]any) { m["ended"], m["error"] = "error", "istiod ended with exit status 1" }), Error, 3, "istiod ended"},
		{"unknown-end", manifest(func(m map[string]any) { m["ended"] = "fine" }), Error, 3, `"fine"`},
		{"halted", func(t *testing.T, dir string) {
			editJSON(t, dir, "run.json", func(m map[string]any) { m["ended"], m["error"] = "halted", "ratio(code >= 500) > 0.99 for 5s held" })
			editJSON(t, dir, "phases/breaker/load.json", func(l map[string]any) { l["interrupted"] = "halted" })
		}, Halted, 5, "held"},
		{"sigint", manifest(func(m map[string]any) { m["ended"], m["signal"] = "interrupted", "SIGINT" }), Inconclusive, 130, "interrupted by SIGINT"},
		{"sigterm", manifest(func(m map[string]any) { m["ended"], m["signal"] = "interrupted", "SIGTERM" }), Inconclusive, 143, "interrupted by SIGTERM"},
		{"rollback-not-tried", rollback("tried", false), Inconclusive, 4, "the rollback was not tried"},
		{"rollback-not-verified", rollback("proxies", ""), Inconclusive, 4, "rollback: not verified"},
		{"rollback-failed", rollback("objects", "DestinationRule httpbin differs"), Fail, 6, "rollback: DestinationRule httpbin differs"},
		{"rollback-error", rollback("errors", []string{"delete DestinationRule httpbin: refused"}), Fail, 6, "refused"},
		{"not-recovered", func(t *testing.T, dir string) {
			replace(t, dir, "phases/recovery/requests.ndjson", `"code":200`, `"code":503`, 1)
		}, Fail, 6, "recovery: ratio(code == 200) = 95 % (19 of 20)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, run := copyRun(t)
			tt.edit(t, dir)
			res, err := JudgeRun(run)
			if err != nil {
				t.Fatal(err)
			}
			if res.Verdict != tt.verdict || res.ExitCode != tt.code || !strings.Contains(res.Reason, tt.reason) {
				t.Errorf("%v, exit code %d: %s\nwant %v, %d: …%s…", res.Verdict, res.ExitCode, res.Reason, tt.verdict, tt.code, tt.reason)
			}
			golden(t, tt.name, strings.ReplaceAll(marshal(t, res), dir, "RUN"))
		})
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s", path, got)
	}
}

func TestJudgeRunTwice(t *testing.T) {
	_, run := copyRun(t)
	a, err := JudgeRun(run)
	if err != nil {
		t.Fatal(err)
	}
	b, err := JudgeRun(run)
	if err != nil {
		t.Fatal(err)
	}
	if marshal(t, a) != marshal(t, b) {
		t.Error("the same files gave two results")
	}
}

func TestJudgeRunNeedsItsFiles(t *testing.T) {
	for _, name := range []string{record.ManifestFile, record.SpecFile} {
		dir, run := copyRun(t)
		remove(t, dir, name)
		if _, err := JudgeRun(run); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestExitCode(t *testing.T) {
	tests := []struct {
		run, rollback Verdict
		signal        string
		want          int
	}{
		{Pass, Pass, "", 0},
		{Fail, Pass, "", 1},
		{Error, Pass, "", 3},
		{Inconclusive, Pass, "", 4},
		{Halted, Pass, "", 5},
		{Pass, Fail, "", 6},
		{Fail, Fail, "", 6},
		{Error, Fail, "", 6},
		{Halted, Fail, "", 6},
		{Inconclusive, Fail, "SIGINT", 6},
		{Pass, Error, "", 6},
		{Error, Inconclusive, "", 3},
		{Inconclusive, Inconclusive, "", 4},
		{Inconclusive, Pass, "SIGINT", 130},
		{Inconclusive, Inconclusive, "SIGTERM", 143},
		{Fail, Pass, "SIGTERM", 143},
		{Verdict(42), Pass, "", 4},
	}
	for _, tt := range tests {
		got := ExitCode(Result{Verdict: tt.run, Rollback: PhaseResult{Verdict: tt.rollback}}, record.Manifest{Signal: tt.signal})
		if got != tt.want {
			t.Errorf("run %v, rollback %v, signal %q: %d, want %d", tt.run, tt.rollback, tt.signal, got, tt.want)
		}
	}
	if got := ExitCode(Result{}, record.Manifest{}); got != 4 {
		t.Errorf("nothing judged: %d, want 4", got)
	}
}

func TestVerdictText(t *testing.T) {
	for _, v := range []Verdict{Inconclusive, Pass, Fail, Error, Halted} {
		b, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Verdict
		if err := back.UnmarshalText(b); err != nil || back != v {
			t.Errorf("%s became %v: %v", b, back, err)
		}
	}
	v := Pass
	if err := v.UnmarshalText([]byte("GREEN")); err == nil {
		t.Error("GREEN was read as a verdict")
	}
}

// million is a phase of 1,000,000 requests as a load of httpbin makes them.
func million() *memory {
	m := breaker()
	const n = 1_000_000
	list := make([]record.Sample, 0, n)
	flags := []string{"UO"}
	for i := range n {
		s := record.Sample{
			Request: record.Request{Start: float64(i) / 10000, Latency: 0.001 + float64(i*7919%100003)/1e6, Code: 200, Conn: i % 64},
			Route:   "default", Upstream: "127.0.0.2:8080", Pod: server1, Answered: "v1", Attempts: 1, Joined: true,
		}
		switch {
		case i%10 < 3:
			s.Code, s.Flags, s.Upstream, s.Pod, s.Answered = 503, flags, "", "", ""
		case i%10 == 9:
			s.Upstream, s.Pod, s.Answered = "127.0.0.3:8080", server2, "v2"
		}
		list = append(list, s)
	}
	m.samples["breaker"] = list
	m.loaded("breaker")
	return m
}

func BenchmarkJudgeMillion(b *testing.B) {
	m := million()
	var phase PhaseSpec
	phase.Name = "breaker"
	for _, s := range []string{
		"ratio(code == 503) in [0.1, 0.95] @95%", `count(flag("UO")) == count(code == 503)`, "p99 < 250ms @95%", "p50(code == 200) < 100ms",
		`ratio(version == "v2") in [0.05, 0.2] @99%`, "count(latency > 50ms && code == 200) > 0", "mean < 1s",
	} {
		phase.Checks = append(phase.Checks, Stmt{Expr: s})
	}
	end := time.Unix(100, 0)
	m.files["run.json"] = record.Manifest{Start: time.Unix(0, 0), End: &end, Ended: "completed"}
	m.files["spec.json"] = Spec{Namespace: "squall", Services: services(), Phases: []PhaseSpec{phase}}
	for b.Loop() {
		res, err := JudgeRun(m)
		if err != nil {
			b.Fatal(err)
		}
		if res.Phases[0].Verdict != Pass {
			b.Fatalf("%v: %s", res.Phases[0].Verdict, res.Phases[0].Reason)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := Compile("ratio(code == 503) in [0.1, 0.95] @95%", nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHaltAdd(b *testing.B) {
	h, err := CompileHalt("ratio(code >= 500) > 0.99 for 5s", nil)
	if err != nil {
		b.Fatal(err)
	}
	w := h.Watch()
	at := 0.0
	for b.Loop() {
		w.Add(record.Request{Start: at, Latency: 0.001, Code: 200})
		if at += 1e-5; int(at*1e5)%10000 == 0 {
			w.Check(at)
		}
	}
}

func TestRollbackOfASkippedBaseline(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    record.Rollback
		want Verdict
	}{
		{"skipped", record.Rollback{Tried: true, Objects: "ok", Proxies: "ok", Baseline: Skipped + "no traffic yet"}, Pass},
		{"forgotten", record.Rollback{Tried: true, Objects: "ok", Proxies: "ok"}, Inconclusive},
		{"skipped, proxies differ", record.Rollback{Tried: true, Objects: "ok", Proxies: "differ", Baseline: Skipped + "x"}, Fail},
	} {
		got := rollback(record.Manifest{Rollback: tt.r}, nil)
		if got.Verdict != tt.want {
			t.Errorf("%s: %v (%s), want %v", tt.name, got.Verdict, got.Reason, tt.want)
		}
		if tt.want == Pass && !strings.Contains(got.Reason, "no traffic yet") {
			t.Errorf("%s: the reason %q lacks the author's", tt.name, got.Reason)
		}
	}
}
