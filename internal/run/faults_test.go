package run_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"squall/internal/check"
	"squall/internal/load"
	"squall/internal/record"
	"squall/internal/run"
)

// TestCrashThatWasAskedFor takes the death of a pod for what a step did, and that of any other for the end of the mesh.
func TestCrashThatWasAskedFor(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		w := prepare(t, "crash.yaml")
		w.run()
		w.expect(check.Pass, 0, `replaced("httpbin") = 1`)
		proxies, err := w.out.Record.PhaseProxies("crash")
		if err != nil {
			t.Fatal(err)
		}
		ended, joined := 0, 0
		for _, p := range proxies {
			if p.Ended != "" {
				ended++
			}
			if p.Joined {
				joined++
			}
		}
		if ended != 1 || joined != 1 {
			t.Errorf("proxies of the phase: %+v", proxies)
		}
	})
	t.Run("and another", func(t *testing.T) {
		w := prepare(t, "crash.yaml")
		w.hooks.say = func(text string) {
			if strings.HasPrefix(text, "crash: live on") {
				w.kill("/httpbin-v2-0 ", "-port")
			}
		}
		w.run()
		w.expect(check.Error, 3, "httpbin of httpbin-v2-0 died: signal: killed")
	})
}

// A load shows nothing of changes that are live when it is over, whatever has become of the pods by the time that they are.
func TestChangesThatComeTooLate(t *testing.T) {
	w := prepare(t, "late.yaml")
	w.run()
	w.expect(check.Inconclusive, 4, "restart: ", "the load ended before its changes were live")
	effects, err := w.out.Record.Effects("restart")
	if err != nil || len(effects) != 1 || effects[0].Missing == "" {
		t.Errorf("%+v, %v", effects, err)
	}
	for _, p := range w.out.Result.Phases {
		if p.Name == "after" && p.Verdict != check.Pass {
			t.Errorf("the stage after it: %v: %s", p.Verdict, p.Reason)
		}
	}
}

// TestHeldProcesses stops a program and a proxy. The next stages and the rollback cope with them.
func TestHeldProcesses(t *testing.T) {
	deeds := func(w *whole) (out []string) {
		text, err := os.ReadFile(w.path(record.JournalFile))
		if err != nil {
			w.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			for _, pod := range []string{"httpbin-0", "ratings-v1-0"} {
				if strings.Contains(line, `"action":"`+run.Held+`","target":"`+pod) {
					out = append(out, pod)
				}
			}
		}
		return out
	}
	t.Run("to the end", func(t *testing.T) {
		w := prepare(t, "held.yaml")
		w.run()
		w.expect(check.Pass, 0)
		effects, err := w.out.Record.Effects("held")
		if err != nil || len(effects) != 2 || effects[0].Name != record.Stopped || effects[1].Name != record.Partitioned || len(effects[1].Pods) != 1 {
			t.Errorf("%+v, %v", effects, err)
		}
		if got := deeds(w); !slices.Equal(got, []string{"httpbin-0", "ratings-v1-0"}) {
			t.Errorf("in the journal: %v", got)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		w := prepare(t, "held.yaml")
		w.hooks.load = func(phase string, _ load.Snapshot) {
			if phase == "held" {
				w.end(&run.SignalError{Name: "SIGINT"})
			}
		}
		w.run()
		w.expect(check.Inconclusive, 130, "interrupted by SIGINT")
		if w.man.Rollback.Proxies != "ok" {
			t.Errorf("%+v", w.man.Rollback)
		}
	})
	t.Run("killed by somebody", func(t *testing.T) {
		w := prepare(t, "held.yaml")
		w.hooks.load = func(phase string, _ load.Snapshot) {
			if phase == "held" {
				w.kill("ratings-v1-0/envoy.json")
			}
		}
		w.run()
		w.expect(check.Error, 3, "envoy of ratings-v1-0 died: signal: killed")
	})
}
