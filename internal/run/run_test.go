package run_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/load"
	"squall/internal/mesh"
	"squall/internal/record"
	"squall/internal/run"
	"squall/internal/scenario"
)

// inLoad has f called once in the middle of the load of the stage slow.
func (w *whole) inLoad(f func()) {
	w.hooks.load = func(p string, _ load.Snapshot) {
		if p == "slow" {
			f()
		}
	}
}

func TestSignalInMidLoad(t *testing.T) {
	for name, code := range map[string]int{"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, "long.yaml")
			var at time.Time
			w.inLoad(func() {
				at = time.Now()
				w.end(&run.SignalError{Name: name})
			})
			w.run()
			w.expect(check.Inconclusive, code, "interrupted by "+name)
			l := w.load("slow")
			stopped := w.man.Start.Add(time.Duration((l.Start + l.Seconds) * float64(time.Second)))
			if late := stopped.Sub(at); late > 200*time.Millisecond || l.Interrupted != "interrupted by "+name {
				t.Errorf("the load stopped %s after the signal: %+v", late, l)
			}
			if w.man.Signal != name || w.man.Rollback.Proxies != "ok" || w.man.Rollback.Baseline != "" {
				t.Errorf("%+v", w.man)
			}
			if w.load("breaker").Complete != "ok" {
				t.Errorf("%+v", w.load("breaker"))
			}
		})
	}
}

func TestSignalBeforeAnythingIsChanged(t *testing.T) {
	w := prepare(t, "long.yaml")
	w.hooks.say = func(text string) {
		if strings.HasPrefix(text, "starting") {
			w.end(&run.SignalError{Name: "SIGTERM"})
		}
	}
	w.run()
	w.expect(check.Inconclusive, 143, "interrupted by SIGTERM")
}

func TestTimeouts(t *testing.T) {
	w := prepare(t, "long.yaml")
	w.compiled.Scenario.Spec.Timeout = scenario.Duration(2500 * time.Millisecond)
	w.run()
	w.expect(check.Error, 3, "the run took longer than its timeout of 2.5s")

	w = prepare(t, "long.yaml")
	w.compiled.Plan.Phases[2].Timeout = 500 * time.Millisecond
	w.run()
	w.expect(check.Error, 3, "slow: ", "took longer than its timeout of 500ms")
	if l := w.load("slow"); l.Count == 0 || l.Interrupted == "" {
		t.Errorf("%+v", l)
	}
}

func TestHalt(t *testing.T) {
	w := prepare(t, "halt.yaml")
	w.run()
	w.expect(check.Halted, 5, "abort: ratio(code >= 500) > 0.9 for 200ms")
	if l := w.load(check.Recovery); l.Count != 20 || l.Complete != "ok" {
		t.Errorf("recovery: %+v", l)
	}
	if w.out.Result.Rollback.Verdict != check.Pass {
		t.Errorf("rollback: %+v", w.out.Result.Rollback)
	}
	if _, err := w.out.Record.Load("never"); err == nil {
		t.Error("a stage ran after the halt")
	}
}

func TestPanicIsRolledBack(t *testing.T) {
	for name, inject := range map[string]func(w *whole){
		"between phases": func(w *whole) {
			w.hooks.phase = func(name string) {
				if name == "slow" {
					panic("out of sails")
				}
			}
		},
		"beside a load": func(w *whole) { w.inLoad(func() { panic("out of sails") }) },
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, "long.yaml")
			inject(w)
			w.run()
			w.expect(check.Error, 3, "panic: out of sails")
			if w.man.Rollback.Proxies != "ok" {
				t.Errorf("%+v", w.man.Rollback)
			}
		})
	}
}

func TestDeathInMidLoad(t *testing.T) {
	for name, words := range map[string][]string{
		"istiod": {"discovery", "--kubeconfig"}, "envoy of httpbin-0": {"httpbin-0/envoy.json"}, "httpbin of httpbin-0": {"/httpbin-0 ", "-port"},
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, "long.yaml")
			w.inLoad(func() { w.kill(words...) })
			start := time.Now()
			w.run()
			w.expect(check.Error, 3, name)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestRejectedChange(t *testing.T) {
	w := prepare(t, "rejected.yaml")
	w.run()
	w.expect(check.Error, 3, "nonsense: ", "rejected Cluster: ", "ring hash: minimum_ring_size (4096) > maximum_ring_size (2)")
	if w.man.Rollback.Proxies != "ok" {
		t.Errorf("after the rollback: %+v", w.man.Rollback)
	}
}

// A change of a listener is live only when no connection from before is served by the old one.
func TestPolicyHoldsForOldConnections(t *testing.T) {
	w := prepare(t, "denied.yaml")
	w.run()
	w.expect(check.Pass, 0)
}

func TestResets(t *testing.T) {
	w := prepare(t, "resets.yaml")
	w.run()
	w.expect(check.Pass, 0)
	if l := w.load("reset"); l.Count != 50 || !strings.Contains(l.Errors["reset"], "connection reset by peer") {
		t.Errorf("%+v", l)
	}
}

func TestNeverReady(t *testing.T) {
	w := prepare(t, "unready.yaml")
	w.run()
	w.expect(check.Error, 3, "the run took longer than its timeout of 3s", "deployment idle (0 of 1 pods)", "still loading the model")
}

// A foreign change in mid-load makes what was measured say nothing, whoever made it and whether or not it was taken back.
func TestForeignChange(t *testing.T) {
	ref := mesh.Ref{APIVersion: "networking.istio.io/v1", Kind: "DestinationRule", Namespace: "squall", Name: "httpbin"}
	edit := func(w *whole, revert func(spec map[string]any)) func() {
		return func() {
			o := w.objects()
			u, err := o.Get(w.t.Context(), ref)
			if err != nil || u == nil {
				w.t.Errorf("%v, %v", u, err)
				return
			}
			revert(u.Object["spec"].(map[string]any))
			if err := o.Restore(w.t.Context(), ref, foreign(u)); err != nil {
				w.t.Error(err)
			}
		}
	}
	t.Run("reverted", func(t *testing.T) {
		w := prepare(t, "long.yaml")
		w.compiled.Plan.Phases[2].Load.Duration = 500 * time.Millisecond
		w.inLoad(edit(w, func(spec map[string]any) { delete(spec, "trafficPolicy") }))
		w.run()
		w.expect(check.Inconclusive, 4, "slow: the change was reverted by ", "DestinationRule squall/httpbin.spec.trafficPolicy is gone")
	})
	t.Run("deleted", func(t *testing.T) {
		w := prepare(t, "long.yaml")
		w.compiled.Plan.Phases[2].Load.Duration = 500 * time.Millisecond
		w.inLoad(func() {
			if err := w.objects().Delete(t.Context(), ref); err != nil {
				t.Error(err)
			}
		})
		w.run()
		w.expect(check.Inconclusive, 4, "slow: the change was reverted during the stage: somebody deleted DestinationRule squall/httpbin")
	})
}

// What somebody else makes of an object that was there before the run is not overwritten by the rollback, which goes on with the rest.
func TestForeignChangeIsLeftAlone(t *testing.T) {
	w := prepare(t, "cumulative.yaml")
	ref := mesh.Ref{APIVersion: "networking.istio.io/v1", Kind: "VirtualService", Namespace: "squall", Name: "httpbin"}
	w.theirs = ref
	w.hooks.load = func(phase string, _ load.Snapshot) {
		if phase != "as-before" {
			return
		}
		u, err := w.objects().Get(t.Context(), ref)
		if err != nil || u == nil {
			t.Errorf("%v, %v", u, err)
			return
		}
		routes, _, _ := unstructured.NestedSlice(u.Object, "spec", "http")
		routes[0].(map[string]any)["timeout"] = "5s"
		if err := errors.Join(unstructured.SetNestedSlice(u.Object, routes, "spec", "http"), w.objects().Restore(t.Context(), ref, foreign(u))); err != nil {
			t.Error(err)
		}
	}
	w.runDisturbed()
	errs := strings.Join(w.man.Rollback.Errors, "; ")
	if w.out.Result.ExitCode != 6 || !strings.Contains(errs, "VirtualService squall/httpbin is not what the run made of it (somebody changed spec.http)") ||
		!strings.Contains(w.man.Rollback.Objects, "VirtualService squall/httpbin.spec.http") || !strings.Contains(w.man.Rollback.Proxies, "not as before") {
		t.Errorf("exit code %d: %s: %s", w.out.Result.ExitCode, errs, w.man.Rollback.Objects)
	}
	var objects []record.Object
	if err := w.out.Record.ReadJSON("objects.json", &objects); err != nil {
		t.Fatal(err)
	}
	var restored []string
	for _, o := range objects {
		if o.Phase == "rollback" {
			restored = append(restored, o.Kind)
		}
	}
	if !slices.Equal(restored, []string{"DestinationRule"}) {
		t.Errorf("restored: %q", restored)
	}
}

// What somebody else puts back after the rollback is no rollback.
func TestForeignChangeAfterTheRollback(t *testing.T) {
	w := prepare(t, "long.yaml")
	w.compiled.Plan.Phases[2].Load.Duration = 500 * time.Millisecond
	ref := mesh.Ref{APIVersion: "networking.istio.io/v1", Kind: "DestinationRule", Namespace: "squall", Name: "httpbin"}
	var made *unstructured.Unstructured
	w.hooks.phase = func(name string) {
		var err error
		switch name {
		case "slow":
			made, err = w.objects().Get(t.Context(), ref)
		case check.Recovery:
			err = w.objects().Restore(t.Context(), ref, foreign(made))
		}
		if err != nil {
			t.Error(err)
		}
	}
	w.runDisturbed()
	if code := w.out.Result.ExitCode; code != 6 || w.man.Rollback.Objects != "changed again after the rollback: DestinationRule squall/httpbin is still there" {
		t.Errorf("exit code %d, %+v", code, w.man.Rollback)
	}
}

// foreign is the object as somebody else would write it.
func foreign(u *unstructured.Unstructured) *unstructured.Unstructured {
	u.SetManagedFields(slices.DeleteFunc(u.GetManagedFields(), func(metav1.ManagedFieldsEntry) bool { return true }))
	return u
}

func TestCumulativeStages(t *testing.T) {
	w := prepare(t, "cumulative.yaml")
	before := ""
	w.hooks.phase = func(name string) {
		if name != check.Baseline && name != check.Recovery {
			return
		}
		u, err := w.objects().Get(t.Context(), mesh.Ref{APIVersion: "networking.istio.io/v1", Kind: "VirtualService", Namespace: "squall", Name: "httpbin"})
		if err != nil || u == nil {
			t.Errorf("%s: %v, %v", name, u, err)
			return
		}
		spec, err := u.MarshalJSON()
		if err != nil {
			t.Error(err)
		}
		text := string(spec[strings.Index(string(spec), `"spec"`):])
		if before == "" {
			before = text
		} else if text != before || !strings.Contains(text, `"9s"`) || u.GetLabels()["team"] != "payments" {
			t.Errorf("after the rollback:\n%s\nbefore:\n%s", text, before)
		}
	}
	w.run()
	w.expect(check.Pass, 0)
	marks := map[string]bool{}
	for _, p := range w.compiled.Plan.Phases {
		for _, c := range p.Changes {
			for _, m := range c.Marks {
				if marks[m.Name] {
					t.Errorf("%s: the mark %s was live before", p.Name, m.Name)
				}
				marks[m.Name] = true
			}
		}
	}
	var objects []record.Object
	if err := w.out.Record.ReadJSON("objects.json", &objects); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range objects {
		got = append(got, o.Phase+" "+o.Action+" "+o.Kind)
		if o.Before == o.After {
			t.Errorf("%s %s %s changed nothing", o.Phase, o.Action, o.Kind)
		}
	}
	want := []string{
		"most created DestinationRule", "most changed VirtualService", "half changed DestinationRule", "half changed VirtualService",
		"none changed DestinationRule", "none changed VirtualService", "rollback restored DestinationRule", "rollback restored VirtualService",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("objects\n%q\nwant\n%q", got, want)
	}
}

func TestWorkloadsComeAndGo(t *testing.T) {
	w := prepare(t, "scale.yaml")
	w.run()
	w.expect(check.Pass, 0)
	proxies, err := w.out.Record.Proxies()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range proxies {
		names = append(names, p.Pod)
	}
	if want := []string{"httpbin-0", "httpbin-1", "squall-load-0"}; !slices.Equal(names, want) {
		t.Errorf("proxies %q, want %q", names, want)
	}
}

func TestFullDisk(t *testing.T) {
	w := prepare(t, "long.yaml")
	path := w.path("phases", "breaker", "requests.ndjson")
	w.hooks.phase = func(name string) {
		if name != "breaker" {
			return
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink("/dev/full", path)); err != nil {
			t.Error(err)
		}
	}
	w.hooks.say = func(text string) {
		if !strings.HasPrefix(text, "rolled back") {
			return
		}
		if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil { // as a full disk leaves it
			t.Error(err)
		}
	}
	w.run()
	w.expect(check.Error, 3, "breaker: ", path, "no space left on device")
}

func TestSideBySide(t *testing.T) {
	var all []*whole
	for range 2 {
		w := prepare(t, "halt.yaml")
		all = append(all, w)
	}
	done := make(chan struct{})
	for _, w := range all {
		go func() {
			defer func() { done <- struct{}{} }()
			out, err := w.config.Run(w.ctx, w.compiled, &w.hooks)
			if err != nil {
				t.Error(err)
				return
			}
			w.out = out
		}()
	}
	<-done
	<-done
	for _, w := range all {
		if w.out != nil {
			w.expect(check.Halted, 5)
		}
	}
	if all[0].compiled.RunID == all[1].compiled.RunID {
		t.Errorf("both are called %s", all[0].compiled.RunID)
	}
}
