package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/proc"
	"squall/internal/record"
	"squall/internal/run"
)

// named is the good scenario by another name, with replacements.
func named(t *testing.T, dir, name string, replacements ...string) string {
	t.Helper()
	r := strings.NewReplacer(append([]string{"name: probe", "name: " + name}, replacements...)...)
	return write(t, filepath.Join(dir, name+".yaml"), r.Replace(goodScenario))
}

// wrongCheck makes the stage's check fail.
func wrongCheck() []string {
	return []string{`40}
    checks: ["ratio(code == 200) >= 1"]`, `40}
    checks: ["ratio(code == 404) >= 1"]`}
}

// TestRunSeveral runs scenarios one of which fails, in GitHub Actions: a pass that comes last does not hide the failure.
func TestRunSeveral(t *testing.T) {
	atRoot(t)
	dir := t.TempDir()
	named(t, dir, "a")
	named(t, dir, "b", wrongCheck()...)
	named(t, dir, "c")
	reports, outputs, summary := filepath.Join(dir, "reports"), filepath.Join(dir, "output"), filepath.Join(dir, "summary.md")
	t.Setenv("GITHUB_ACTIONS", "true")
	t.Setenv("GITHUB_OUTPUT", outputs)
	t.Setenv("GITHUB_STEP_SUMMARY", summary)
	code, out, errs := squall(t, "run", dir, "--reports", reports)
	want(t, 1, []string{"::error title=squall b,file=" + dir + "/b.yaml,line=15::FAIL ratio(code == 404) >= 1"}, code, out, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := strings.Join(lines[max(0, len(lines)-4):], "\n")
	for _, text := range []string{"PASS         a: ", "\nFAIL         b: one: ratio(code == 404) = 0 %", "\nPASS         c: ", "\nFAIL: of 3 runs 1 FAIL, 2 PASS"} {
		if !strings.Contains(last, text) {
			t.Errorf("no %q in the last lines:\n%s", text, last)
		}
	}
	runs, err := os.ReadDir(reports)
	if err != nil || len(runs) != 3 {
		t.Fatalf("runs: %v, %v", runs, err)
	}
	text, err := os.ReadFile(outputs)
	if err != nil {
		t.Fatal(err)
	}
	ids := runs[0].Name() + "," + runs[1].Name() + "," + runs[2].Name()
	if got, want := string(text), fmt.Sprintf("verdict=FAIL\nrun-id=%s\nrun-ids=%s\nexit-code=1\n", runs[1].Name(), ids); got != want {
		t.Errorf("outputs:\n%s\nwant\n%s", got, want)
	}
	md, err := os.ReadFile(summary)
	if err != nil || strings.Count(string(md), "\n## ")+1 != 3 {
		t.Errorf("the summary has not the three runs: %v\n%s", err, md)
	}
}

// TestRunFailFast starts nothing after a run that did not pass, and says so. On stdout is one JSON document a run.
func TestRunFailFast(t *testing.T) {
	atRoot(t)
	dir := t.TempDir()
	named(t, dir, "b", append(wrongCheck(), "{name: b}", "{name: b, labels: {suite: x}}")...)
	named(t, dir, "c")
	reports := filepath.Join(dir, "reports")
	code, out, errs := squall(t, "run", dir, "--reports", reports, "--fail-fast")
	want(t, 1, []string{"NOT RUN      c: --fail-fast after b", "FAIL: of 2 runs 1 FAIL, 1 NOT RUN"}, code, out, errs)
	if runs, err := os.ReadDir(reports); err != nil || len(runs) != 1 {
		t.Errorf("runs: %v, %v", runs, err)
	}
	code, out, errs = squall(t, "run", "--all", "--scenarios", dir, "--reports", reports, "-o", "json")
	var got []string
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var r check.Result
		err := d.Decode(&r)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v in:\n%s\n%s", err, out, errs)
		}
		got = append(got, r.Scenario+" "+r.Verdict.String())
	}
	if code != 1 || !slices.Equal(got, []string{"b FAIL", "c PASS"}) {
		t.Errorf("exit code %d, %v", code, got)
	}
}

// TestRunTimeout overrides the scenario's timeout.
func TestRunTimeout(t *testing.T) {
	atRoot(t)
	dir := t.TempDir()
	file := named(t, dir, "slow", "requests: 20}", "qps: 2, requests: 200}")
	code, out, errs := squall(t, "run", file, "--reports", dir, "--timeout", "1500ms")
	want(t, 3, []string{"ERROR slow: ", "the run took longer than its timeout of 1.5s"}, code, out, errs)
}

// TestRunCrashingWorkload has a service whose program dies: the end of its log is in the reason.
func TestRunCrashingWorkload(t *testing.T) {
	atRoot(t)
	image := "mccutchen/go-httpbin=" + script(t, "echo out of cheese >&2; exit 3")
	code, out, errs := squall(t, "run", "circuit", "--reports", t.TempDir(), "--image", image)
	want(t, 3, []string{"ERROR circuit: ", "exit status 3", "out of cheese"}, code, out, errs)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	code, out, errs = squall(t, "up", "httpbin", "--name", "sad", "--image", image)
	want(t, 3, []string{"mesh sad: ", "out of cheese", "its logs are in "}, code, out, errs)
	code, out, errs = squall(t, "down")
	want(t, 0, []string{"mesh sad had ended: ", "out of cheese"}, code, out, errs)
}

// child is squall in a process of its own.
type child struct {
	cmd    *exec.Cmd
	stdout *strings.Builder
	stderr *bufio.Reader
	pipe   io.Closer // of stderr
	said   strings.Builder
}

func start(t *testing.T, role string, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(self, args...), stdout: &strings.Builder{}}
	c.cmd.Env = append(os.Environ(), roleEnv+"="+role)
	c.cmd.Stdout = c.stdout
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stderr, c.pipe = bufio.NewReader(stderr), stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // it has ended by then, unless the test failed
	return c
}

// await reads stderr until a line holds the text.
func (c *child) await(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := c.stderr.ReadString('\n')
		c.said.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("%v before %q:\n%s\n%s", err, text, c.said.String(), c.stdout)
		}
	}
}

// wait reads to the end and returns the exit code, -1 for a signal.
func (c *child) wait(t *testing.T) (code int, stdout, stderr string) {
	t.Helper()
	if _, err := io.Copy(&c.said, c.stderr); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // its error is the exit code
	return c.cmd.ProcessState.ExitCode(), c.stdout.String(), c.said.String()
}

// long is a scenario whose stage takes minutes.
func long(t *testing.T, dir string) string {
	return named(t, dir, "long", "requests: 40}", "qps: 20, duration: 4m}")
}

// onlyRun is the one run below a folder.
func onlyRun(t *testing.T, reports string) *record.Run {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(reports, "*", record.ManifestFile))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("runs: %v, %v", dirs, err)
	}
	rec, err := record.Open(filepath.Dir(dirs[0]))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// TestRunInterrupted sends a signal while the fault is live: the run rolls back, and its exit code is the signal's.
func TestRunInterrupted(t *testing.T) {
	atRoot(t)
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP) // so that the children do not inherit that it is ignored, when this is run by nohup
	t.Cleanup(func() { signal.Stop(caught) })
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		dir := t.TempDir()
		c := start(t, "squall", "run", long(t, dir), "circuit", "--reports", dir+"/reports")
		c.await(t, "one: live on 2/2 proxies")
		if err := c.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		got, out, errs := c.wait(t)
		want(t, code, []string{"restoring what was there", "rolled back after", "INCONCLUSIVE long: interrupted by ", "NOT RUN      circuit: interrupted by "}, got, out, errs)
		rec := onlyRun(t, dir+"/reports")
		m, err := rec.Manifest()
		if err != nil || !m.Rollback.Tried || m.Rollback.Objects != "ok" || m.Rollback.Proxies != "ok" {
			t.Errorf("%v: rollback %+v, %v", sig, m.Rollback, err)
		}
		got, out, errs = squall(t, "judge", rec.Dir())
		want(t, code, nil, got, out, errs)
	}
}

// TestRunWhoseReaderIsGone has nobody read what a run says, as when the same Ctrl-C has ended tee: it is rolled back all the same.
func TestRunWhoseReaderIsGone(t *testing.T) {
	atRoot(t)
	dir := t.TempDir()
	c := start(t, "squall", "run", long(t, dir), "--reports", dir+"/reports")
	c.await(t, "one: live on 2/2 proxies")
	if err := c.pipe.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // its error is the exit code
	if code := c.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d: %s", code, c.cmd.ProcessState)
	}
	m, err := onlyRun(t, dir+"/reports").Manifest()
	if err != nil || !m.Rollback.Tried || m.Rollback.Objects != "ok" || m.Signal != "SIGINT" {
		t.Errorf("rollback %+v by %q, %v", m.Rollback, m.Signal, err)
	}
}

// TestRunSideBySide runs several scenarios at a time and each several times, and keeps what did not pass.
func TestRunSideBySide(t *testing.T) {
	atRoot(t)
	dir := t.TempDir()
	code, out, errs := squall(t, "run", "abort", "mirror", "suites/testdata/mutations/abort-unmatched.yaml",
		"--jobs", "2", "--repeat", "2", "--keep", "failed", "--reports", dir)
	want(t, 4, []string{
		"6 of 6 ", "\nabort                                2     2 ", "\nmirror                               2     2 ", "\nabort-unmatched                      2     0 ",
		"INCONCLUSIVE: of 6 runs 2 INCONCLUSIVE, 4 PASS",
	}, code, out, errs)
	kept, err := os.ReadDir(dir)
	if err != nil || len(kept) != 2 {
		t.Errorf("the folders kept are %v: %v", kept, err)
	}
	for _, arg := range []string{"--jobs=0", "--repeat=0", "--keep=some"} {
		code, out, errs := squall(t, "run", "abort", arg)
		want(t, 2, nil, code, out, errs)
	}
}

// TestFalsify leaves steps out: of a scenario that needs its step, and of one that passes all the same.
func TestFalsify(t *testing.T) {
	atRoot(t)
	dir := t.TempDir()
	blind := dir + "/blind.yaml"
	text, err := os.ReadFile("scenarios/traffic/request-timeout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := filepath.Abs("scenarios/traffic/manifests/internal-callers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("name: request-timeout", "name: blind", "manifests/internal-callers.yaml", manifest,
		`- ratio(code == 504 && flag("UT")) >= 1`, "- ratio(code >= 200) >= 1", "- min() >= 240ms && max() < 490ms", "",
		"- timeouts(httpbin) == load.count", "").Replace(string(text))
	if err := os.WriteFile(blind, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errs := squall(t, "falsify", "circuit", "--reports", dir+"/reports")
	want(t, 0, []string{"ok          circuit without circuitBreaker httpbin in breaker: FAIL: ", "1 of 1 steps are needed for a PASS"}, code, out, errs)
	if kept, err := os.ReadDir(dir + "/reports"); err != nil || len(kept) > 0 {
		t.Errorf("the folders kept are %v: %v", kept, err)
	}
	code, out, errs = squall(t, "falsify", blind, "--reports", dir+"/reports")
	want(t, 1, []string{"FALSE GREEN blind without manifest internal-callers.yaml in impatient: PASS: ", "0 of 1 steps are needed for a PASS"}, code, out, errs)
	code, out, errs = squall(t, "falsify", "no-such")
	want(t, 2, []string{"no scenario"}, code, out, errs)
}

// A step whose run could not be made is an error of its own, and does not hide that what was there before is not back.
func TestDoubtThatFails(t *testing.T) {
	for _, c := range []struct {
		got  *engine.Outcome
		want int
	}{{nil, 3}, {&engine.Outcome{Result: check.Result{ExitCode: 1}}, 3}, {&engine.Outcome{Result: check.Result{ExitCode: 6}}, 6}} {
		d := doubt{Shown: true}
		d.fail(errors.New("no database"), c.got)
		if d.code != c.want || d.Shown || d.Verdict != "ERROR" || d.Reason != "no database" {
			t.Errorf("%+v", d)
		}
	}
}

// TestRunKilled kills a run while its fault is live. All processes end with it; rollback says so and closes the record.
func TestRunKilled(t *testing.T) {
	t.Run("with a changed object", func(t *testing.T) {
		testRunKilled(t, long, "one: live on 2/2 proxies", "the mesh, with 1 changed objects,")
	})
	t.Run("with a program that is stopped", func(t *testing.T) {
		stopped := func(t *testing.T, dir string) string {
			return named(t, dir, "long", "requests: 40}", "qps: 20, duration: 4m}",
				"delay: {host: httpbin, percent: 50, fixedDelay: 10ms}", "stop: {workload: httpbin}")
		}
		testRunKilled(t, stopped, "one: live on 2/2 proxies", "the mesh, with 1 pods that steps had killed or stopped,")
	})
}

func testRunKilled(t *testing.T, file func(*testing.T, string) string, live, left string) {
	t.Helper()
	atRoot(t)
	dir := t.TempDir()
	reports := dir + "/reports"
	c := start(t, "squall", "run", file(t, dir), "--reports", reports)
	c.await(t, live)
	rec := onlyRun(t, reports)
	var owner run.Owner
	if err := rec.ReadJSON(run.OwnerFile, &owner); err != nil {
		t.Fatal(err)
	}
	pids, err := proc.Within(owner.MeshDir)
	if err != nil || len(pids) < 4 { // istiod, two proxies, httpbin
		t.Fatalf("processes of the mesh in %s: %v, %v", owner.MeshDir, pids, err)
	}
	code, out, errs := squall(t, "rollback", "--reports", reports)
	want(t, 0, []string{"is under way", "no run was killed"}, code, out, errs)
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	code, out, errs = c.wait(t)
	want(t, -1, nil, code, out, errs)
	awaitGone(t, pids)
	code, out, errs = squall(t, "judge", rec.Dir())
	want(t, 3, []string{"the run was killed: run.json has no end"}, code, out, errs)

	code, out, errs = squall(t, "rollback", "--reports", reports)
	want(t, 0, []string{"nothing is left to restore: " + left + " ended with the run, and none of its processes is left"}, code, out, errs)
	if _, err := os.Stat(owner.MeshDir); !os.IsNotExist(err) {
		t.Errorf("the mesh's folder is still there: %v", err)
	}
	code, out, errs = squall(t, "judge", rec.Dir())
	want(t, 3, []string{"ERROR long: " + killedReason}, code, out, errs)
	for _, name := range []string{record.ReportFile, record.JUnitFile, record.ResultFile} {
		if _, err := os.Stat(rec.Path(name)); err != nil {
			t.Error(err)
		}
	}
	code, out, errs = squall(t, "rollback", "--reports", reports)
	want(t, 0, []string{"no run was killed"}, code, out, errs)
}

// TestRunDiskFull has no room for the records of a run: it says which file could not be written, and does not pass.
func TestRunDiskFull(t *testing.T) {
	atRoot(t)
	dir := t.TempDir()
	file := named(t, dir, "big", "connections: 1, requests: 40}", "connections: 8, requests: 5000}")
	c := start(t, "full", "run", file, "--reports", dir+"/reports")
	code, out, errs := c.wait(t)
	want(t, 3, []string{"ERROR big: ", "requests.ndjson", "file too large"}, code, out, errs)
}
