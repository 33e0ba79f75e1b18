package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"squall/internal/check"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/record"
	"squall/internal/report"
	"squall/internal/toolchain"
)

// commands are all commands that Squall defines, in the order of their names.
func commands(c *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			out = append(out, commands(sub)...)
		}
	}
	return out
}

func TestHelp(t *testing.T) {
	for _, c := range commands((&app{stdout: io.Discard, stderr: io.Discard}).root()) {
		path := strings.Fields(c.CommandPath())
		code, out, errs := squall(t, append(path[1:], "--help")...)
		want(t, 0, nil, code, out, errs)
		golden(t, filepath.Join("testdata", "help", strings.Join(path, "-")+".txt"), out)
	}
	code, out, errs := squall(t)
	want(t, 0, []string{"Usage:\n  squall [command]", "Exit codes:"}, code, out, errs)
}

// TestReference compares docs/cli.md with the commands, and writes it with -update.
func TestReference(t *testing.T) {
	golden(t, filepath.Join("..", "..", "docs", "cli.md"), reference((&app{}).root()))
}

// reference is the page of all commands, flags and exit codes.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# The command line\n\n" +
		"Written from the program itself: `go test ./cmd/squall -run TestReference -update`.\n\n" +
		"stdout is the result, stderr the progress. `-o json` prints the result as JSON, of several runs one document each.\n" +
		"`NO_COLOR` turns colours off, `FORCE_COLOR` turns them on where stdout is no terminal. The state of `squall up` is in\n" +
		"`$XDG_STATE_HOME/squall` (`~/.local/state/squall`), what Squall builds and fetches in `$XDG_CACHE_HOME/squall` (`~/.cache/squall`).\n\n" +
		"## Exit codes\n\n| code | meaning |\n|---:|---|\n")
	table := exitCodes()
	slices.SortFunc(table, func(x, y exitCode) int { return x.code - y.code })
	for _, c := range table {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.meaning)
	}
	fmt.Fprintf(&b, "\nOf several runs the worst code is Squall's own: %s, the worst first. A run whose record or report could not\n"+
		"be written never passes. Commands that run and judge nothing use 0, 2 and 3, and `squall rollback` also 6.\n", worstFirst())
	b.WriteString("\n## Flags of every command\n\n")
	b.WriteString(flagTable(root.PersistentFlags()))
	for _, c := range commands(root)[1:] {
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s\n```\n\n%s\n", c.CommandPath(), c.UseLine(), text)
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
		}
		if table := flagTable(c.LocalNonPersistentFlags()); table != "" {
			b.WriteString("\n" + table)
		}
	}
	b.WriteString("\n## squall completion\n\n`squall completion bash|zsh|fish|powershell` prints the completion of that shell: commands, flags and their values,\n" +
		"scenarios, runs, fixtures and meshes.\n")
	return b.String()
}

func flagTable(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		switch {
		case kind != "" && f.NoOptDefVal != "":
			name += "[=" + kind + "]"
			usage += fmt.Sprintf(" (`%s` without a value)", f.NoOptDefVal)
		case kind != "":
			name += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			usage += fmt.Sprintf(" (default `%s`)", f.DefValue)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, usage)
	})
	if b.Len() == 0 {
		return ""
	}
	return "| flag | meaning |\n|---|---|\n" + b.String()
}

// TestJSON has every command with -o json print JSON and nothing else on stdout.
func TestJSON(t *testing.T) {
	atRoot(t)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	reports := t.TempDir()
	savedRun(t, reports)
	run := func(args string) string {
		t.Helper()
		code, out, errs := squall(t, append(strings.Fields(args), "-o", "json", "--reports", reports)...)
		want(t, 0, nil, code, out, errs)
		return out
	}
	if got := fromJSON[[]entry](t, run("list --label suite=httpbin")); len(got) == 0 || got[0].Labels["suite"] != "httpbin" || got[0].Hypothesis == "" {
		t.Errorf("list: %+v", got)
	}
	if got := fromJSON[map[string]any](t, run("describe circuit")); got["kind"] != "Scenario" {
		t.Errorf("describe: %v", got)
	}
	if got := fromJSON[plan.Document](t, run("plan circuit")); got.Scenario != "circuit" || len(got.Phases) != 3 || len(got.Restored) == 0 {
		t.Errorf("plan: %+v", got)
	}
	if got := fromJSON[[]validated](t, run("validate circuit delay")); len(got) != 2 || got[0].Scenario != "circuit" || got[0].Statements == 0 {
		t.Errorf("validate: %+v", got)
	}
	if got := fromJSON[map[string]string](t, run("version")); got["go"] == "" || got["squall"] == "" {
		t.Errorf("version: %v", got)
	}
	if got := fromJSON[check.Result](t, run("judge r1")); got.Verdict != check.Pass || got.RunID != "r1" {
		t.Errorf("judge: %+v", got)
	}
	if got := fromJSON[map[string]string](t, run("report r1")); got["verdict"] != "PASS" || got["html"] != filepath.Join(reports, "r1", record.ReportFile) {
		t.Errorf("report: %v", got)
	}
	if got := fromJSON[[]restored](t, run("rollback")); len(got) != 0 {
		t.Errorf("rollback: %v", got)
	}
	if got := fromJSON[[]downed](t, run("down --all")); len(got) != 0 {
		t.Errorf("down: %v", got)
	}
	if got := fromJSON[examination](t, run("doctor --image mine=/bin/true")); !got.OK || got.Environment != envLocal || len(got.Findings) == 0 ||
		!slices.Contains(got.Images, local.Image{Name: "mine", Program: "/bin/true"}) || !slices.ContainsFunc(got.Images, isLoad) {
		t.Errorf("doctor: %+v", got)
	}
	for args, id := range map[string]string{"schema": "scenario", "schema result": report.SchemaID} {
		code, out, errs := squall(t, strings.Fields(args)...)
		want(t, 0, nil, code, out, errs)
		if got := fromJSON[map[string]any](t, out); !strings.Contains(fmt.Sprint(got["$id"]), id) {
			t.Errorf("%s: $id %v", args, got["$id"])
		}
	}
}

// TestText has the commands that look print what a person asks for.
func TestText(t *testing.T) {
	atRoot(t)
	for args, texts := range map[string][]string{
		"list":             {"circuit ", "One connection is enough for one caller", "weights "},
		"describe circuit": {"hypothesis", "stage breaker", "circuitBreaker httpbin", "ratio(code == 503) in [0.1, 0.95] @95%", "suite=httpbin"},
		"plan circuit":     {"phase breaker", "kind: DestinationRule", "rollback\n  deleted DestinationRule squall/httpbin"},
		"version":          {"go go1.", "fortio"},
		"doctor":           {string(toolchain.Istiod), "mccutchen/go-httpbin", "ready for the environment local"},
	} {
		code, out, errs := squall(t, strings.Fields(args)...)
		want(t, 0, texts, code, out, errs)
	}
}

// TestColour colours only what is a terminal's or was asked for, and never against NO_COLOR.
func TestColour(t *testing.T) {
	atRoot(t)
	reports := t.TempDir()
	savedRun(t, reports)
	for _, tt := range []struct {
		force, no string
		colour    bool
	}{{"", "", false}, {"1", "", true}, {"1", "1", false}} {
		t.Setenv("FORCE_COLOR", tt.force)
		t.Setenv("NO_COLOR", tt.no)
		t.Setenv("TERM", "xterm")
		_, out, _ := squall(t, "judge", "r1", "--reports", reports)
		if strings.Contains(out, "\x1b[") != tt.colour {
			t.Errorf("FORCE_COLOR=%s NO_COLOR=%s: colours %v", tt.force, tt.no, !tt.colour)
		}
	}
}

func TestCompletion(t *testing.T) {
	atRoot(t)
	reports := t.TempDir()
	savedRun(t, reports)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	st, err := newMeshState("demo", "squall")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.claim(); err != nil {
		t.Fatal(err)
	}
	file := named(t, t.TempDir(), "vars", "spec:\n", "spec:\n  variables: {share: 50}\n")
	tests := []struct {
		args []string
		have []string
	}{
		{[]string{"run", ""}, []string{"circuit\tOne connection", "delay\t"}},
		{[]string{"describe", ""}, []string{"circuit\t"}},
		{[]string{"judge", ""}, []string{"r1"}},
		{[]string{"rollback", ""}, []string{"r1"}},
		{[]string{"run", "--env", ""}, []string{"local"}},
		{[]string{"run", "-o", ""}, []string{"text", "json"}},
		{[]string{"run", "--label", ""}, []string{"suite=httpbin"}},
		{[]string{"run", file, "--set", ""}, []string{"share="}},
		{[]string{"schema", ""}, []string{"scenario", "result"}},
		{[]string{"up", ""}, []string{"httpbin"}},
		{[]string{"up", "--mtls", ""}, []string{"STRICT"}},
		{[]string{"down", ""}, []string{"demo"}},
		{[]string{"ro"}, []string{"rollback\t"}},
		{[]string{"run", "--fail"}, []string{"--fail-fast"}},
	}
	for _, tt := range tests {
		code, out, errs := squall(t, append([]string{"__complete", "--reports", reports}, tt.args...)...)
		want(t, 0, nil, code, out, errs)
		for _, text := range tt.have {
			if !strings.Contains("\n"+out, "\n"+text) {
				t.Errorf("%q: no %q in:\n%s", tt.args, text, out)
			}
		}
	}
	code, out, errs := squall(t, "completion", "bash")
	want(t, 0, []string{"__start_squall"}, code, out, errs)
}

func isLoad(i local.Image) bool { return i.Name == local.LoadImage }
